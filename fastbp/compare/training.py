"""Training steps of a workload as a row of the comparison: what contestants get, and what is right."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from ..mlp import MLP
from .workers import numpy_formulas
from .workers.worker import Training
from .workloads import Workload


@dataclass(frozen=True)
class TrainingRow:
    """A few steps are compared with the formulas in float64; see `measuring.Row`."""

    workload: Workload

    kind = "training"

    #: The steps after which contestants are compared with the formulas.
    checked_steps = 3

    #: |ΔW_k - ΔW_ref| / |ΔW_ref| of these steps at the most, in the 2-norm, and the same for every b_k. Float32
    #: rounding makes some 10^-4, and where Adam meets a relu whose sum is near 0, 0.006 (a row of W_1 in `wide-adam`);
    #: the place where scikit-learn adds Adam's ε, less than 10^-3; another formula, several 10^-1.
    agreement = 0.05

    @property
    def name(self) -> str:
        """The workload's, and that it is shuffled: the same network in order is another row."""
        return self.workload.name + (", shuffled" if self.workload.shuffle else "")

    def about(self) -> dict[str, Any]:
        """The workload as JSON can hold it."""
        workload = self.workload
        return {**asdict(workload), "name": self.name, "samples": workload.samples, "flops": workload.flops}

    def problem(self, dtype: str) -> Training:
        """The workload, with initial parameters of an `MLP` and biases that are not all the same."""
        workload = self.workload
        net = MLP(workload.widths, activation=workload.activation, loss=workload.loss, dtype=dtype, seed=0)
        rng = np.random.default_rng(0)
        for b in net.biases:
            b[:] = 0.1 * rng.standard_normal(b.size)
        X, d = workload.draw(dtype)
        return Training(list(workload.widths), workload.activation, workload.loss, workload.batch_size,
                        workload.optimizer, workload.learning_rate, 1, {}, X, d, net.theta, workload.shuffle)

    def expected(self, problem: Training) -> np.ndarray:
        """θ - θ_0 after the checked steps by the formulas in float64."""
        cut = problem.checked(self.checked_steps)
        d = cut.d if cut.d.dtype.kind == "i" else cut.d.astype(np.float64)
        exact = cut._replace(X=cut.X.astype(np.float64), d=d, theta=cut.theta.astype(np.float64))
        reference = numpy_formulas.Trainer(exact, numpy_formulas.VARIANTS[0])
        reference.reset()
        reference.train(-(-self.checked_steps // cut.steps))
        return np.asarray(reference.result() - exact.theta)

    def disagreement(self, theta: np.ndarray, expected: np.ndarray, problem: Training) -> float:
        """The error of a contestant's change of θ; see `disagreement_of`."""
        if theta.shape != expected.shape:
            return float("inf")
        return disagreement_of(theta - problem.theta, expected, problem.widths)

    def complaint(self, disagreement: float) -> str:
        """A sentence that says what is wrong."""
        return (f"wrong: in {self.checked_steps} steps its change of a W_k or b_k is off that of the formulas by "
                f"{disagreement:.2g} of its norm")


def disagreement_of(change: np.ndarray, expected: np.ndarray, widths: Sequence[int]) -> float:
    """The largest |ΔW_k - ΔW_ref| / |ΔW_ref|, or the same of a b_k; NaN where one is."""
    sizes = [size for n_in, n_out in pairwise(widths) for size in (n_out * n_in, n_out)]
    parts = [np.split(values, np.cumsum(sizes)[:-1]) for values in (change, expected)]
    return float(np.max([np.linalg.norm(own - reference) / np.linalg.norm(reference)
                         for own, reference in zip(*parts, strict=True)]))
