"""What all ranks have to agree on before the first step."""

import json
from collections.abc import Mapping
from typing import Any

from ..checks.messages import MOST_CHARACTERS, shortened, shown
from .communicators import Communicator, gather


class Disagreement(ValueError):
    """Ranks do not agree; raised on all of them."""


def require_agreement(communicator: Communicator, values: Mapping[str, Any]) -> None:
    """Refuse values that are not the same on all ranks, on all of them.

    values : what the training is, by names.

    Raises
    ------
    Disagreement
        It names what is different, and two ranks.

    Examples
    --------
    >>> from fastbp.distributed import in_threads
    >>> def compare(communicator):
    ...     try:
    ...         require_agreement(communicator, {"batch_size": 32 + communicator.rank})
    ...     except Disagreement as error:
    ...         return str(error)
    >>> in_threads(compare, 2)[1]
    'batch_size: expected the same on all ranks, found 32 on rank 0 and 33 on rank 1'
    """
    texts = {name: json.dumps(value, ensure_ascii=False, default=shown) for name, value in values.items()}
    first, *others = gather(communicator, texts)
    for rank, other in enumerate(others, 1):
        for name in [*first, *other]:
            if first.get(name) != other.get(name):
                found = (shortened(str(texts.get(name)), MOST_CHARACTERS) for texts in (first, other))
                raise Disagreement(f"{name}: expected the same on all ranks, found {next(found)} on rank 0 and "
                                 f"{next(found)} on rank {rank}")
