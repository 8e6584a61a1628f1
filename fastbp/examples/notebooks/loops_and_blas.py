# %% [markdown]
# # Loops against BLAS, on this machine
#
# One layer, a = W h + b for a batch of samples, by loops that are written better and better, and by the matrix product
# of a library. The measure is what the core could do if it did nothing but multiply and add.
# asv_bench/LOOPS_AND_BLAS.md explains every step; `fastbp compare --steps` measures all three products, with care.
#
#     python -m fastbp.examples.notebooks.loops_and_blas

# %%
import inspect
import time
from contextlib import nullcontext
from typing import Any

import numpy as np

from fastbp.backends.tiles.ceiling import fma_ceiling
from fastbp.compare.steps import accumulators, register_tile, unit_stride, wrong_order

N, S = 256, 128  # units before and behind the layer, and samples
rng = np.random.default_rng(0)
W, b, H = (rng.standard_normal(shape).astype(np.float32) for shape in ((N, N), N, (S, N)))
A = np.empty((S, N), np.float32)
reference = np.einsum("ij,sj->si", W.astype(np.float64), H.astype(np.float64)) + b

# %% [markdown]
# ## The formula as a loop

# %%
print(inspect.getsource(unit_stride.forward.py_func))

# %% [markdown]
# ## The contestants
#
# Each is first held against the formula in float64. `np.matmul` calls the BLAS of NumPy, which would take all cores:
# `threadpoolctl`, where it is installed, holds it to one, as the loops have one.


# %%
def matmul(W, b, H, A):
    """A = H Wᵀ + b."""
    np.matmul(H, W.T, out=A)
    np.add(A, b, out=A)


contestants: dict[str, Any] = {"wrong order": wrong_order.forward, "unit stride": unit_stride.forward,
                               "accumulators": accumulators.forward, "register tile": register_tile.forward,
                               "np.matmul": matmul}
errors = {}
for name, forward in contestants.items():
    A[:] = np.nan
    forward(W, b, H, A)
    errors[name] = float(np.abs(A - reference).max() / np.abs(reference).max())
    assert errors[name] < 1e-5, f"{name} is wrong: {errors[name]:.2g}"

# %% [markdown]
# ## Times
#
# The best of some rounds, in turn: whatever else the machine does makes a round slower, never faster.

# %%
try:
    from threadpoolctl import threadpool_limits
except ImportError:
    print("np.matmul may take all cores: pip install threadpoolctl")
    threadpool_limits = nullcontext

seconds = dict.fromkeys(contestants, float("inf"))
with threadpool_limits(1):
    for _ in range(5):
        for name, forward in contestants.items():
            begin = time.perf_counter()
            forward(W, b, H, A)
            seconds[name] = min(seconds[name], time.perf_counter() - begin)

ceiling = fma_ceiling("float32")
operations = 2 * N * N * S
print(f"the ceiling of one core: {1e-9 * ceiling:.0f} GFLOP/s\n")
print(f"{'':15}{'µs':>8}{'GFLOP/s':>10}{'of the ceiling':>16}")
for name, taken in seconds.items():
    print(f"{name:15}{1e6 * taken:8.0f}{1e-9 * operations / taken:10.1f}{operations / taken / ceiling:16.0%}")

# %% [markdown]
# ## What to look at
#
# - *wrong order* and *unit stride* do the same operations. In the sum of the latter each addition waits for the one
#   before it.
# - *accumulators* is the same loop. Its decorator allows partial sums, which do not wait for each other.
# - *register tile* uses each number that it loads four times.
# - Change N to 64 or to 2000, or S to 1, and run it again. Which of them changes most, and why?

# %%
try:
    import matplotlib.pyplot as plt
except ImportError:
    print("no picture: pip install 'fastbp[plot]'")
else:
    figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
    axes.barh(list(seconds), [1e-9 * operations / taken for taken in seconds.values()])
    axes.axvline(1e-9 * ceiling, color="black", linestyle="--")
    axes.invert_yaxis()
    axes.set_xlabel("GFLOP/s; dashed: the ceiling of one core")
