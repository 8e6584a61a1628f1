"""The performance history in asv_bench: what is read of asv's results, how old it is, and its picture."""

import importlib.util
import json
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "asv_bench" / "history.py"
spec = importlib.util.spec_from_file_location("performance_history", SCRIPT)
history = importlib.util.module_from_spec(spec)
spec.loader.exec_module(history)

BENCHMARK = "history.Training.track_over_numpy"


def clone_with(folder, commits):
    """A repository with that many commits, and their hashes from the first on."""
    stream = "".join(f"commit refs/heads/main\nmark :{number}\ncommitter A <a@b.c> {number} +0000\ndata 1\n.\n"
                     for number in range(1, commits + 1))
    subprocess.run(["git", "init", "--quiet", "--initial-branch=main", folder], check=True)
    subprocess.run(["git", "-C", folder, "fast-import", "--quiet"], input=stream, text=True, check=True)
    return history.git(folder, "rev-list", "--reverse", "main").split()


def write_result(folder, commit, values=(0.5, None), version="1", machine="some-machine"):
    (folder / machine).mkdir(exist_ok=True, parents=True)
    (folder / "benchmarks.json").write_text(json.dumps({BENCHMARK: {"version": "1"}, "version": 2}))
    (folder / machine / "machine.json").write_text("{}")
    (folder / machine / f"{commit[:8]}-environment.json").write_text(json.dumps({
        "commit_hash": commit, "result_columns": ["result", "params", "version", "started_at"],
        "results": {BENCHMARK: [list(values), [["'online'", "'digits'"]], version, 0],
                    "ratios.OverBlas.track_step": [[1.0], [], "1", 0]}}))


def test_results_of_asv_are_read(tmp_path):
    write_result(tmp_path, "a" * 40, (0.5, 0.25))
    write_result(tmp_path, "b" * 40, (None, float("nan")))
    write_result(tmp_path, "c" * 40, (0.5, 0.25), version="of another benchmark")
    assert history.entries(tmp_path) == [
        history.Entry("some-machine", "a" * 40, {BENCHMARK: {"online": 0.5, "digits": 0.25}})]


def test_the_age_of_the_history(tmp_path):
    commits = clone_with(tmp_path / "clone", history.COMMITS + 3)
    late, sentence = history.age(tmp_path / "clone", tmp_path / "results")
    assert late
    assert "no entry among the last 33 commits" in sentence
    write_result(tmp_path / "results", commits[1])
    late, sentence = history.age(tmp_path / "clone", tmp_path / "results")
    assert late
    assert "31 commits behind, more than 30" in sentence
    write_result(tmp_path / "results", commits[2])
    assert history.age(tmp_path / "clone", tmp_path / "results") == (
        False, "history: its last entry is 30 commits behind")


@pytest.mark.parametrize(("depth", "late", "words"), [
    (1, False, "not known how old its last entry is, because this clone has 1 commits"),
    (31, True, "no entry among the last 31 commits"), (33, True, "its last entry is 32 commits behind")])
def test_the_age_in_a_shallow_clone(depth, late, words, tmp_path):
    commits = clone_with(tmp_path / "clone", 40)
    write_result(tmp_path / "results", commits[40 - 33])
    subprocess.run(["git", "clone", "--quiet", f"--depth={depth}", (tmp_path / "clone").as_uri(), tmp_path / "shallow"],
                   check=True)
    found = history.age(tmp_path / "shallow", tmp_path / "results")
    assert words in found[1]
    assert found[0] is late


def test_without_a_repository_the_age_is_not_known(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    late, sentence = history.age(tmp_path, tmp_path)
    assert not late
    assert "not known how old its last entry is, because this is no clone" in sentence


def test_the_results_under_version_control_make_the_picture(tmp_path):
    found = history.entries()
    machines = {entry.machine for entry in found}
    assert "zen4-2core" in machines
    assert len(found) >= 15
    for entry in found:
        assert set(entry.results) == {benchmark for benchmark, *_ in history.PANELS}
    numbers = {entry.commit: number for number, entry in enumerate(found)}
    history.draw(found, numbers, tmp_path / "history.png")
    assert (tmp_path / "history.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="git fetch --unshallow"):
        history.draw(found, dict(list(numbers.items())[1:]), tmp_path / "history.png")
