"""One training step by `fit` with one of its options, in float32 on one thread, batches in order; "tiled"."""

from typing import Any

from .repeating import OWN_TIME, Timed, use_threads
from .steps import BY_NAME, Steps

OPTIONS: dict[str, dict[str, Any]] = {
    "none": {}, "clip_norm": {"clip_norm": 1.0}, "clip_sample_norm": {"clip_sample_norm": 1.0},
    "dropout": {"dropout": 0.2}, "l2_penalty": {"l2_penalty": 1e-4}}

#: Of a call, which is several steps.
CALL_SECONDS = 0.05


class Option(Timed):
    """What an option costs is its time beside that of none."""

    params = (list(OPTIONS), ["mnist-128", "mnist-128-adam", "tabular-32"])
    param_names = ("option", "workload")

    def setup(self, option: str, workload: str) -> None:
        use_threads(1)
        self.calls = Steps(BY_NAME[workload], "tiled", CALL_SECONDS, OWN_TIME, **OPTIONS[option])
        self.calls.reset()

    def time_step(self, option: str, workload: str) -> None:
        self.calls.run()
