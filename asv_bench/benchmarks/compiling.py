"""What the first call waits for, in fresh processes: importing, compiling, and reading kernels from disk."""

import subprocess
import sys

#: A first training; the rest of the process, with its imports, comes before it and is not in the time.
FIT = "net.fit(X, d, batch_size=32, epochs=1, progress=False)"

NETWORK = """
import numpy as np
import fastbp
fastbp.set_num_threads(1)
rng = np.random.default_rng(0)
X, d = rng.standard_normal((64, 20)).astype(np.float32), rng.integers(0, 5, 64)
net = fastbp.MLP([20, 30, 5], seed=0, backend='{backend}')
"""

EMPTY_CACHE = """
import os, tempfile
folder = tempfile.TemporaryDirectory()
os.environ['NUMBA_CACHE_DIR'] = folder.name
"""

#: The default is in the middle: where only the first and the last are run, `history` compiles it.
BACKENDS = ["loops", "tiled", "blas"]


class Import:
    """``import fastbp``; NumPy and Numba take most of it."""

    number, repeat, warmup_time = 1, 5, 0

    def timeraw_fastbp(self) -> str:
        return "import fastbp"

    def timeraw_fastbp_after_numba(self) -> tuple[str, str]:
        return "import fastbp", "import numba"

    def timeraw_numba(self) -> str:
        return "import numba"


class FirstFit:
    """The first training of a process, 20-30-5 in float32, where nothing is in the kernel cache."""

    params = BACKENDS
    param_names = ("backend",)
    rounds, number, repeat, warmup_time = 1, 1, 2, 0

    def timeraw_compiling(self, backend: str) -> tuple[str, str]:
        return FIT, EMPTY_CACHE + NETWORK.format(backend=backend)


class FirstFitFromCache:
    """The same where an earlier process has left its kernels in the user's kernel cache."""

    params = BACKENDS
    param_names = ("backend",)
    number, repeat, warmup_time = 1, 5, 0

    def setup_cache(self) -> None:
        for backend in BACKENDS:
            subprocess.run([sys.executable, "-c", NETWORK.format(backend=backend) + FIT], check=True)

    def timeraw_reading(self, backend: str) -> tuple[str, str]:
        return FIT, NETWORK.format(backend=backend)
