"""Ratios inside one process: the figures that survive a noisy machine, and so the ones to watch.

What is compared takes turns, a fraction of a second each; of the ratios of all rounds the median counts. asv takes what
is larger for worse, and so all of them are times of ours over another time.
"""

from fastbp.backends.tiles.ceiling import fma_ceiling

from .repeating import ratio, use_threads
from .steps import BY_NAME, steps_of

#: Of one turn.
TURN_SECONDS = 0.04


class OverCeiling:
    """A training step of "tiled" over what its fused multiply-adds alone would take: 1 / the share of the ceiling.

    1.25 says that a step reaches 80 % of the ceiling of one core, measured in turn with it.
    """

    params = tuple(BY_NAME)
    param_names = ("workload",)
    unit = "times the ceiling's time"

    def setup(self, workload: str) -> None:
        use_threads(1)
        self.steps = steps_of(workload, "tiled", TURN_SECONDS)

    def track_tiled(self, workload: str) -> float:
        flops = BY_NAME[workload].flops
        # The best of tries that are shorter than the turns in which programs share a core.
        return ratio(self.steps.measure, lambda: flops / fma_ceiling("float32", seconds=0.001, tries=20))


class OverBlas:
    """A training step over that of "blas", both on one thread."""

    params = (["tiled", "loops"], list(BY_NAME))
    param_names = ("backend", "workload")
    unit = "times the time of blas"

    def setup(self, backend: str, workload: str) -> None:
        use_threads(1)
        self.steps = steps_of(workload, backend, TURN_SECONDS)
        self.blas = steps_of(workload, "blas", TURN_SECONDS)

    def track_step(self, backend: str, workload: str) -> float:
        return ratio(self.steps.measure, self.blas.measure)


class Standardising:
    """A training step of "tiled" that standardises X while it is read, over one that takes X as it is."""

    params = tuple(BY_NAME)
    param_names = ("workload",)
    unit = "times the time without"

    def setup(self, workload: str) -> None:
        use_threads(1)
        self.plain = steps_of(workload, "tiled", TURN_SECONDS)
        self.standardising = steps_of(workload, "tiled", TURN_SECONDS, standardizes=True)

    def track_step(self, workload: str) -> float:
        return ratio(self.standardising.measure, self.plain.measure)
