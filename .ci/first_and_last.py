"""Prints options of `asv run` that choose, of every benchmark, the first values of all its parameters and the last.

    python .ci/first_and_last.py asv_bench/benchmarks
"""

import re
import sys
from pathlib import Path

from asv_runner.discovery import disc_benchmarks

folder = Path(sys.argv[1]).resolve()
sys.path.insert(0, str(folder.parent))
for benchmark in disc_benchmarks(folder.name):
    for place in (0, -1) if benchmark.params else (0,):
        values = f"({', '.join(values[place] for values in benchmark.params)})" if benchmark.params else ""
        print(f"--bench=^{re.escape(benchmark.name + values)}$")
