"""What the tests of `fastbp.compiling` look into: programs in processes of their own, and what was compiled."""

import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

import llvmlite.binding
import numba

import fastbp
from fastbp.compiling import addresses

PACKAGE = Path(fastbp.__file__).parent
VERSIONS = f"numba {numba.__version__}, llvmlite {llvmlite.__version__}"


def run(script, **environment):
    """What a program prints, in a process of its own, which a broken promise may end."""
    finished = subprocess.run([sys.executable, "-P", "-W", "error", "-c", script], capture_output=True, text=True,
                              env=os.environ | {"PYTHONPATH": str(PACKAGE.parent)} | environment)
    return finished.returncode, finished.stdout.strip(), finished.stderr


class Uncached(str):
    """A setting with which nothing is kept on disk: what comes from there cannot be looked into."""

    is_cached = False


def called_by_address(name, function, *arguments):
    """(LLVM's function, its module, the address) of what `address_of` makes of a function."""
    def made(_):
        return function, arguments

    found, compiled_function = [], addresses.compiled_function
    with mock.patch.object(addresses, "compiled_function", lambda *given: found.append(compiled_function(*given))
                           or found[0]):
        address = addresses.address_of(made, Uncached(name))
    module = llvmlite.binding.parse_assembly(found[0]._library.get_llvm_str())
    return module.get_function(found[0].native_name.removeprefix("cfunc.")), module, address


def version_of(compiled):
    """The only version of a function that was compiled so far."""
    (version,) = compiled.overloads.values()
    return version


def llvm_of(compiled):
    return version_of(compiled).library.get_llvm_str()
