"""Files: how they are written, what is believed of them when they are read, and what is in them.

`writing.py` replaces a file as a whole, `archive.py` is the container of all of them, `networks.py` the format of a
network, and `checkpoints.py` that of a training.
"""

from .networks import read, save

__all__ = ["read", "save"]
