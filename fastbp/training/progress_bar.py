"""The progress bar: tqdm's, on standard error, and only where that is a terminal."""

import sys
from types import TracebackType
from typing import Any


class ProgressBar:
    """A count and a text on a terminal; nothing where it is not wanted.

    Parameters
    ----------
    wanted : bool or None
        None shows a bar if tqdm is installed, True insists on tqdm, False shows none. There is none outside a terminal.
    total : int or None
        The count at the end, where it is known.
    unit : str
        What is counted.
    """

    def __init__(self, wanted: bool | None, total: int | None, unit: str) -> None:
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
        self._bar = tqdm(total=total, unit=f" {unit}", unit_scale=True, disable=None, delay=0.5, leave=False)

    def show(self, done: int, text: str, total: int | None = None) -> None:
        """Set the count and the text, and the count at the end where that has become known."""
        if self._bar is None:
            return
        self._bar.total = self._bar.total if total is None else total
        self._bar.set_description_str(text, refresh=False)
        self._bar.update(done - self._bar.n)

    def __enter__(self) -> "ProgressBar":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.close()
