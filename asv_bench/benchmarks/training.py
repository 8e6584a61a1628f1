"""One training step of every workload of `fastbp compare`, by `fit`: in float32, batches in order."""

from .repeating import WALL_TIME, Timed, use_threads
from .steps import BY_NAME, steps_of

#: Of a call, which is several steps.
CALL_SECONDS = 0.1


class Training(Timed):
    """On one thread."""

    params = (["tiled", "loops", "blas"], list(BY_NAME))
    param_names = ("backend", "workload")

    def setup(self, backend: str, workload: str) -> None:
        use_threads(1)
        self.calls = steps_of(workload, backend, CALL_SECONDS)
        self.calls.reset()

    def time_step(self, backend: str, workload: str) -> None:
        self.calls.run()


class TrainingOnTwoThreads(Timed):
    """With two threads allowed, of which `fit` uses the second where it finds that it pays; "tiled"."""

    params = tuple(BY_NAME)
    param_names = ("workload",)

    def setup(self, workload: str) -> None:
        use_threads(2)
        self.calls = steps_of(workload, "tiled", CALL_SECONDS, WALL_TIME)
        self.calls.reset()

    def time_step(self, workload: str) -> None:
        self.calls.run()
