"""Prints constraints for pip: of all packages that fastbp names with a lower bound, the oldest that it allows."""

import re
import tomllib

with open("pyproject.toml", "rb") as file:
    project = tomllib.load(file)["project"]
extras = project["optional-dependencies"]
needed = [*project["dependencies"], *(package for packages in extras.values() for package in packages)]
bounds = (re.fullmatch(r"([\w-]+)(?:\[\w+\])?>=([\d.]+)", package) for package in needed)
print("\n".join(sorted({f"{bound[1]}=={bound[2]}" for bound in bounds if bound})))
