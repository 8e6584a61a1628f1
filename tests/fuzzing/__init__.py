"""A fuzzer: random calls and damaged files, each of which has to work or to be refused by one clear error.

`kind.py` says what a kind of cases is, and what an outcome may be. The kinds are `calls.py`, `estimators.py`,
`compiled.py`, `models.py`, `data.py` and `cache.py`; `values.py` and `mutation.py` make what they pass in. `runner.py`
runs cases in processes of their own. A kind to come, such as one of checkpoints, is a class like those in `models.py`,
and a line in `runner.KINDS`.
"""
