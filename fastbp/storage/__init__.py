"""Files: how they are written, what is believed of them when they are read, and what is in them.

`writing.py` replaces a file as a whole, `archive.py` is the container of all of them, and `networks.py` the format of a
network.
"""

from .networks import read, save

__all__ = ["read", "save"]
