"""The progress bar of training: tqdm's, on standard error, and only where that is a terminal."""

import sys
from types import TracebackType
from typing import Any


class ProgressBar:
    """Counts samples and shows the epoch and its loss; does nothing where it is not wanted.

    Parameters
    ----------
    wanted : bool or None
        None shows a bar if tqdm is installed, True insists on tqdm, False shows none. There is none outside a terminal.
    epochs, samples : int
        How many epochs there will be, and samples in each.
    """

    def __init__(self, wanted: bool | None, epochs: int, samples: int) -> None:
        self._epochs, self._samples = epochs, samples
        self._bar: Any = None
        if wanted is False or sys.stderr is None or (wanted is None and not sys.stderr.isatty()):
            return
        try:
            from tqdm import tqdm
        except ImportError as error:
            if wanted is None:
                return
            raise ImportError("progress=True needs tqdm: pip install 'fastbp[progress]'") from error
        # disable=None is tqdm's "only on a terminal"; the delay keeps short trainings quiet.
        self._bar = tqdm(total=epochs * samples, unit=" samples", unit_scale=True, disable=None, delay=0.5, leave=False)

    def show(self, epoch: int, position: int, loss: float | None) -> None:
        """Move to a sample of an epoch (counted from 0), with the mean loss of the last whole epoch."""
        if self._bar is None:
            return
        shown = min(epoch + 1, self._epochs)
        text = f"epoch {shown}/{self._epochs}"
        self._bar.set_description_str(text if loss is None else f"{text}, loss {loss:.4g}", refresh=False)
        self._bar.update(epoch * self._samples + position - self._bar.n)

    def __enter__(self) -> "ProgressBar":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.close()
