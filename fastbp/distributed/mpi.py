"""Ranks as processes of MPI, by mpi4py: the extra ``fastbp[mpi]``.

All waiting is a loop that asks MPI whether a message has come. So Ctrl-C is heard meanwhile, and so is a rank that
failed: it sends its reason to all others on a communicator of its own. What a killed rank leaves behind is for the
launcher: mpiexec ends all others then.
"""

import atexit
import functools
import os
import sys
import time
from typing import Any

import numpy as np

from ..compiling.interrupts import hear_now, is_noted
from .communicators import RankError, failure_of

#: A rank that waits asks MPI this many times in a row, for up to a millisecond. Then it gives the core away in between,
#: and after some seconds it sleeps for that long. To give the core away sooner let a step of 784-128-10 in 128 wait for
#: 1.0 ms instead of 0.1 where other programs ran too. Where a machine has more ranks than cores, another rank may be in
#: need of this very core.
EAGER, EAGER_ON_SHARED_CORES, SLEEP_AFTER, NAP = 2000, 200, 2.0, 0.0005

#: How often it asks MPI before it looks for failures and Ctrl-C.
LOOK_EVERY = 64

#: Seconds that a rank which ends after a failure waits for the others to end too, and that Ctrl-C waits for a place
#: where all ranks can stop together.
PATIENCE = 2.0

#: The tag of reasons of failures, on their own communicator.
_REASON = 1


def is_mpi(given: Any) -> bool:
    """Whether something is a communicator of mpi4py, which is not imported for the answer."""
    MPI = sys.modules.get("mpi4py.MPI")
    return MPI is not None and isinstance(given, MPI.Comm)


class MPICommunicator:
    """A `Communicator` on one of mpi4py; `MLP.fit` makes one of whatever communicator it is given.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm, optional
        An intracommunicator, which is duplicated; ``MPI.COMM_WORLD`` if not given.

    Raises
    ------
    ImportError
        If mpi4py is not installed.
    """

    def __init__(self, comm: Any = None) -> None:
        MPI = _imported()
        comm = MPI.COMM_WORLD if comm is None else comm
        if not isinstance(comm, MPI.Intracomm):
            raise TypeError(f"communicator: expected an intracommunicator of MPI, found {type(comm).__name__}")
        self._MPI, self._messages, self._failures = MPI, comm.Dup(), comm.Dup()
        self.rank, self.size = comm.Get_rank(), comm.Get_size()
        here = comm.Split_type(MPI.COMM_TYPE_SHARED)
        self._eager = EAGER if here.Get_size() <= (os.cpu_count() or 1) else EAGER_ON_SHARED_CORES
        here.Free()
        self._failure: RankError | None = None
        self._sent: list[Any] = []  # reasons that may be on their way
        self._left: list[Any] = []  # requests that nobody waits for any more

    def exchange(self, partner: int, sent: np.ndarray, received: np.ndarray) -> None:
        """See `Communicator.exchange`."""
        self._raise_failure()
        requests = []
        if len(received):
            requests.append(self._messages.Irecv([received, self._MPI.BYTE], partner))
        if len(sent):
            requests.append(self._messages.Isend([sent, self._MPI.BYTE], partner))
        self._wait(requests)

    def all_reduce(self, vector: np.ndarray) -> None:
        """vector = the sum of the vectors of all ranks, in an order that MPI chooses."""
        self._raise_failure()
        self._wait([self._messages.Iallreduce(self._MPI.IN_PLACE, vector)])

    def abort(self, reason: str) -> None:
        """See `Communicator.abort`."""
        if self._failure is None:
            self._fail(failure_of(self.rank, reason))
            for other in range(self.size):
                if other != self.rank:
                    self._sent.append(self._failures.isend(reason, other, _REASON))

    def _wait(self, requests: list[Any]) -> None:
        """Wait until all requests are done."""
        test, begin, pressed, asked = self._MPI.Request.Testall, 0.0, 0.0, 0
        try:
            while not test(requests):
                asked += 1
                if asked % LOOK_EVERY == 0:
                    now = time.monotonic()
                    begin = begin or now
                    self._raise_failure()
                    if is_noted():
                        pressed = pressed or now
                        if now > pressed + PATIENCE:
                            hear_now()
                    if asked > self._eager:
                        time.sleep(0.0 if now < begin + SLEEP_AFTER else NAP)
        except BaseException:
            self._left.extend(requests)  # with their memory
            raise

    def _raise_failure(self) -> None:
        """Raise the error of a rank that has failed, if there is one."""
        if self._failure is None and self._failures.Iprobe(self._MPI.ANY_SOURCE, _REASON):
            status = self._MPI.Status()
            reason = self._failures.recv(source=self._MPI.ANY_SOURCE, tag=_REASON, status=status)
            self._fail(failure_of(status.Get_source(), reason))
        if self._failure is not None:
            raise RankError(str(self._failure), self._failure.rank)

    def _fail(self, failure: RankError) -> None:
        """Note a failure: MPI may not end in order any more, if messages are on their way that nobody takes."""
        self._failure = failure
        atexit.register(self._end)

    def _end(self) -> None:
        """Wait some seconds for the others to come to their end, and end all ranks if they do not."""
        sys.stdout.flush()
        sys.stderr.flush()
        barrier, begin = self._failures.Ibarrier(), time.monotonic()
        while not barrier.Test() and time.monotonic() < begin + PATIENCE:
            time.sleep(NAP)
        if self._left or not barrier.Test():
            self._MPI.COMM_WORLD.Abort(1)


def communicator_of(comm: Any) -> MPICommunicator:
    """The communicator on one of mpi4py, made once, and kept with it: all ranks together make a duplicate."""
    made = comm.Get_attr(_key())
    if made is None:
        made = MPICommunicator(comm)
        comm.Set_attr(_key(), made)
    return made


def world() -> MPICommunicator:
    """The communicator of all ranks that mpiexec has started.

    Raises
    ------
    ImportError
        If mpi4py is not installed.
    """
    return communicator_of(_imported().COMM_WORLD)


def _imported() -> Any:
    try:
        from mpi4py import MPI
    except ImportError as error:
        raise ImportError("MPI needs mpi4py: pip install 'fastbp[mpi]'") from error
    return MPI


@functools.cache
def _key() -> int:
    """The key under which a communicator of mpi4py keeps what was made of it."""
    return int(_imported().Comm.Create_keyval())
