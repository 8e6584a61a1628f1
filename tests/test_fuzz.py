"""A short run of the fuzzer on cases that stay the same; `python tests/fuzz.py` runs others for as long as you like."""

import warnings

import pytest
from fuzzing import runner

pytest.importorskip("pandas")
pytest.importorskip("sklearn")
pytest.importorskip("pyarrow")

SEED = 1


@pytest.fixture
def warnings_as_before():
    with warnings.catch_warnings():
        yield


@pytest.mark.parametrize("name", ["calls", "estimators", "data", "shards", "checkpoints"])
def test_cases_work_or_are_refused_by_one_clear_error(name, tmp_path, warnings_as_before):
    kind = runner.kind_named(name)
    runner.prepare(kind, tmp_path)
    for number in range(40):
        word, *finding = runner.outcome(kind, runner.rng_of(name, SEED, number))
        assert word != "wrong", f"--only {name} --seed {SEED} --number {number}: {finding}"
