"""Benchmarks of fastbp, run by asv: a file for each subject, a class for each object that is measured.

What they keep to:

- `setup` draws seeded arrays, whose memory is thereby touched, and makes the call once: compiling, or reading kernels
  from disk, is over before the clock runs. Only `compiling` measures that, in fresh processes.
- Calls too short for the clock are repeated, and reported as one. What one thread does is timed by the clock of that
  thread, so that other programs lengthen it less (`repeating`).
- fastbp uses one thread, or as many as the parameter "threads" says: `fastbp.set_num_threads`.
- BLAS always uses one thread. Its libraries read the variables below when NumPy or SciPy load them; those that asv has
  loaded before this file are told.
"""

import os

from threadpoolctl import threadpool_limits

os.environ.update(dict.fromkeys(
    ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "BLIS_NUM_THREADS"), "1"))
threadpool_limits(1, user_api="blas")
