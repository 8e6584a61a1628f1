"""Compiling in two processes: a second one of fastbp's own fills the kernel cache meanwhile.

LLVM and Numba compile on one thread at a time. So where the cache lacks what a first training calls, a process beside
this one compiles functions that are called by address, the longest first, and this one the loop over batches, and then
functions from the other end of the list. Nothing of the program that trains is imported there. Without a second core, a
cache on disk, or leave to start processes, all is compiled here, as it is where the environment variable
FASTBP_COMPILE_PROCESSES is 1.
"""

import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numba

from .addresses import Piece, address_of, is_cached
from .cache import may_store
from .interrupts import held_back

_config: Any = numba.config

#: Fewer functions are compiled before a second process has started.
FEWEST = 6

#: The seconds in which the second process ends the function that it is compiling.
LAST_PIECE = 10.0

#: What the second process runs, with the folder of the package and the number of bytes that follow.
_PROGRAM = """
import sys
sys.path[0] = sys.argv[1]
from fastbp.compiling.side_by_side import compile_pieces
compile_pieces(sys.stdin.buffer.read())
"""


def processes() -> int:
    """How many processes may compile: FASTBP_COMPILE_PROCESSES, or as many as Numba starts threads.

    Raises
    ------
    ValueError
        If the variable is not a whole number of at least 1.
    """
    given = os.environ.get("FASTBP_COMPILE_PROCESSES", "")
    if not given:
        return int(_config.NUMBA_NUM_THREADS)
    if not given.isdecimal() or int(given) < 1:
        raise ValueError(f"FASTBP_COMPILE_PROCESSES: expected a whole number of at least 1, found {given!r}")
    return int(given)


def compile_side_by_side(pieces: Sequence[Piece], here: Callable[[], None]) -> None:
    """Compile functions for `address_of`, and what `here` compiles.

    pieces : the longest first; all settings are fastbp's own.
    """
    is_filled = is_cached(*pieces[0])  # then too little is missing
    missing = [] if is_filled or not _may_start_processes() else [piece for piece in pieces if not is_cached(*piece)]
    with held_back():  # a process that is being started has to be known, to be ended
        helper = _started(missing)
    try:
        here()
        if helper is not None:
            for piece in reversed(pieces):
                address_of(*piece)
            helper.wait(LAST_PIECE)
    except subprocess.TimeoutExpired:
        pass
    finally:
        with held_back():
            if helper is not None and helper.poll() is None:
                helper.kill()
                helper.wait()


def _may_start_processes() -> bool:
    """Whether there is a cache that processes can fill, another core, and a Python to start.

    In a program that embeds Python, `sys.executable` may be that program.
    """
    executable = Path(sys.executable or "")
    is_python = executable.name.lower().startswith(("python", "pypy")) and executable.is_file()
    return processes() > 1 and is_python and not getattr(sys, "frozen", False) and may_store()


def _started(pieces: list[Piece]) -> "subprocess.Popen[bytes] | None":
    """A process that compiles the functions; None if they are few, or it cannot be started."""
    if len(pieces) < FEWEST:
        return None
    folder = str(Path(__file__).parents[2])
    try:
        helper = subprocess.Popen([sys.executable, "-c", _PROGRAM, folder], stdin=subprocess.PIPE,
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                  creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0))
    except OSError:
        return None
    assert helper.stdin is not None
    try:
        with helper.stdin as pipe:
            pipe.write(pickle.dumps(pieces))
    except OSError:  # it has ended already
        pass
    return helper


def compile_pieces(pickled: bytes) -> None:
    """Compile the functions of a pickled list, which become part of the cache; what the second process does."""
    for piece in pickle.loads(pickled):
        if not is_cached(*piece):
            address_of(*piece)
