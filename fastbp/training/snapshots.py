"""`Snapshots`: the values of many networks for one checkpoint, while threads train some of them."""

import copy
import threading
from collections.abc import Sequence
from typing import Any

from ..checks.saved import Saved
from .checkpoints import Checkpoints
from .history import History
from .session import Session


class Snapshots:
    """What a checkpoint has of each network: its parameters, and once it is begun, all of its training.

    Of a network that is being trained this is a copy. Its thread makes one between two slices when a checkpoint is due;
    the thread that waits for the others writes the file when there are all of them.

    Parameters
    ----------
    checkpoints : Checkpoints
    identities : sequence of dict
        What each network and its training are, and its seed; empty where there are no checkpoints.
    values : sequence of dict
        The values of each network before any is trained.
    """

    def __init__(self, checkpoints: Checkpoints, identities: Sequence[dict[str, Any]],
                 values: Sequence[dict[str, Any]]) -> None:
        self._checkpoints, self._identities, self._values = checkpoints, identities, list(values)
        self._writing = threading.Lock()     # while values are replaced, or written to a file
        self._wanted, self._is_due = 0, False
        self._copied: dict[int, int] = {}    # how many copies were made of each network that is being trained

    def begin(self, epochs: int) -> None:
        """Write the first checkpoint; see `Checkpoints.begin`."""
        self._checkpoints.begin(self._all, epochs)

    def after_slice(self, place: int, session: Session) -> None:
        """Copy the values of a network, if they are wanted; called by the thread that trains it."""
        if self._copied.get(place) != self._wanted:
            self.copy(place, session)

    def copy(self, place: int, session: Session) -> None:
        """Copy the values of a network, which is begun or ends."""
        if self._checkpoints.are_wanted:
            wanted = self._wanted
            self.put(place, copy.deepcopy(session.values()), session.history)
            self._copied[place] = wanted

    def put(self, place: int, training: dict[str, Any], history: History) -> None:
        """Take the values of a network's training, which are not copied."""
        with self._writing:
            self._values[place] = {"training": training, "history": history.state()}

    def end(self, place: int, session: Session) -> None:
        """Copy the values of a network that is not trained any more."""
        self.copy(place, session)
        self._copied.pop(place, None)

    def write_if_due(self, epochs: int) -> None:
        """Ask for copies where a checkpoint is due, and write it when there are all of them."""
        if not self._is_due and self._checkpoints.is_due(epochs):
            self._wanted, self._is_due = self._wanted + 1, True
        elif self._is_due and all(count == self._wanted for count in list(self._copied.values())):
            self._is_due = False
            self.write(epochs)

    def write(self, epochs: int) -> None:
        """Write a checkpoint of the values as they are."""
        self._checkpoints.write(self._all, epochs)

    def _all(self) -> dict[str, Any]:
        with self._writing:
            return {"networks": {str(place): identity | values for place, (identity, values)
                                 in enumerate(zip(self._identities, self._values, strict=True))}}


def saved_networks(saved: Saved, count: int) -> list[Saved]:
    """The parts of a checkpoint, one for each network.

    Raises
    ------
    ValueError
        If they are of another number of networks.
    """
    networks = saved.part("networks")
    if set(networks.values) != {str(place) for place in range(count)}:
        raise ValueError(f"nets: expected {len(networks.values)} networks as in the checkpoint {saved.origin}, found "
                         f"{count}")
    return [networks.part(str(place)) for place in range(count)]


def is_begun(saved: Saved) -> bool:
    """Whether a network's part of a checkpoint has more than its parameters."""
    return "training" in saved
