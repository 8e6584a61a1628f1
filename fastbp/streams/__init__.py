"""Training data that come in chunks: where they come from, and how whole batches are made of them.

A source gives chunks (`sources.py`, `shards.py`, `parquet.py`). Their rows are checked, and put together to blocks of
whole batches (`blocks.py`), by a thread that is some blocks ahead of training (`reader.py`).
"""

from .parquet import Parquet
from .shards import Shards

__all__ = ["Parquet", "Shards"]
