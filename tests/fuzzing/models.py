"""Files of networks that are damaged, or made by hand."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import fastbp

from . import mutation, values
from .kind import Wrong, outcome_of
from .values import one_of


class Case(NamedTuple):
    """The bytes of a file."""

    made: str
    content: bytes
    net: Any = None  # that a file with changed bytes holds, if it holds any

    def __str__(self) -> str:
        return f"a file of {len(self.content)} bytes, {self.made}"


class Models:
    """`fastbp.load` of damaged files."""

    name, seconds = "models", 30.0

    def prepare(self, folder: Path) -> None:
        self.path = folder / "net.npz"
        self.good: list[bytes] = []
        self.nets: list[Any] = []
        self.members: list[dict[str, Any]] = []
        for standardizes in (False, True):
            net = fastbp.MLP([3, 4, 2], activation="tanh", backend="loops", seed=0)
            net.metadata = {"classes": ["a", "b"]}
            if standardizes:
                net.standardize(mean=[1.0, 2.0, 3.0], scale=2.0)
            net.forward(np.ones((1, 3)))
            net.save(self.path)
            self.good.append(self.path.read_bytes())
            self.nets.append(net)
            with np.load(self.path) as archive:
                self.members.append(dict(archive))

    def case(self, rng: np.random.Generator) -> Case:
        place = int(rng.integers(2))
        if rng.random() < 0.5:
            return Case("with changed bytes", mutation.damaged(rng, self.good[place]), self.nets[place])
        members = {f"{name}.npy": mutation.npy(array) for name, array in self.members[place].items()}
        changed = [one_of(rng, list(members)) for _ in range(int(rng.integers(1, 3)))]
        for name in changed:
            match int(rng.integers(5)):
                case 0:
                    members.pop(name, None)
                case 1:
                    members[name] = mutation.odd_npy(rng)
                case 2:
                    members[name] = mutation.damaged(rng, members.get(name, b""))
                case 3:
                    members[name] = members[one_of(rng, list(members))] if members else b""
                case 4:
                    odd = values.odd_array(rng, one_of(rng, [(), (3,), (26,), (3, 2), (0,)]))
                    members[name] = mutation.npy(odd) if isinstance(odd, np.ndarray) else b""
        return Case(f"with other {' and '.join(changed)}", mutation.archive(rng, members))

    def run(self, case: Case) -> str:
        self.path.write_bytes(case.content)
        loaded: list[Any] = []
        word = outcome_of(lambda: loaded.append(fastbp.load(self.path, backend="loops")))
        for net in loaded:
            if not np.isfinite(net.theta).all():
                raise Wrong("theta of a loaded network is not finite")
            if case.net is not None and _content(net) != _content(case.net):
                raise Wrong(f"changed bytes gave another network, {net!r}", "another network")
            if net.widths[0] == 3 and net.theta.size < 1000 and net.is_built_in:
                outcome_of(lambda net=net: net.forward(np.ones((1, 3))))
        return word


def _content(net: Any) -> tuple[Any, ...]:
    """What a file holds of a network."""
    numbers = net.standardization and net.standardization.key
    return net.widths, net.activations, net.loss, net.theta.tobytes(), numbers, net.metadata
