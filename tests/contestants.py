"""Contestants that tests make up, each a file of its own, and a problem that tells in what order samples were taken."""

import os
from dataclasses import replace

import numpy as np

from fastbp.compare.contestants import Contestant, backend_contestant
from fastbp.compare.workers.worker import Training
from fastbp.compiling.processor import target_features

CEILING = 2e9

#: Whether NumPy takes part a second time, with kernels that end the process on other processors.
AVX512 = "avx512f" in target_features()
NUMPYS = {"numpy", "numpy skylakex"} if AVX512 else {"numpy"}


def contestant_in(folder, name, text, **settings):
    path = folder / f"{name}.py"
    path.write_text(text, encoding="utf-8")
    return Contestant(name, path, **settings)


def without_scipy(folder):
    """The backend blas where SciPy is not installed."""
    (folder / "scipy").mkdir()
    (folder / "scipy" / "__init__.py").write_text("raise ModuleNotFoundError('no SciPy', name='scipy')\n")
    own = backend_contestant("blas")
    path = os.pathsep.join([str(folder), own.environment["PYTHONPATH"]])
    return replace(own, environment={"PYTHONPATH": path})


def ceiling_in(folder):
    return contestant_in(folder, "ceiling", f"def fma_ceiling(dtype):\n    return {CEILING}\n")


def telling(shuffle, **options):
    """A linear network of which every sample has a weight of its own for each output: the change of W_{·s} tells when s
    had its turn, and with what targets."""
    n = 24
    targets = np.stack([np.ones(n), np.arange(n) % 7 - 3.0], axis=1)
    return Training([n, 2], "identity", "squared_error", 4, "sgd", 0.1, 1, options, np.eye(n), targets,
                    np.zeros(2 * n + 2), shuffle)


def batches_taken(problem, before, after):
    """The batches of the epoch that led from θ to θ, rows of each; ΔW_{·s} = γ / |S| (d_s - W_{·s} - b) tells b."""
    n, outputs = problem.widths[0], problem.widths[-1]
    W, b = before[: outputs * n].reshape(outputs, n), before[outputs * n :].copy()
    change = after[: outputs * n].reshape(outputs, n) - W
    met = problem.d.T - W - change * problem.batch_size / problem.learning_rate
    batches = []
    for _ in range(problem.steps):
        batches.append([s for s in range(n) if np.allclose(met[:, s], b, rtol=0, atol=1e-10)])
        b += change[:, batches[-1]].sum(axis=1)
    np.testing.assert_allclose(b, after[outputs * n :], rtol=0, atol=1e-10)
    return batches


def assert_epochs_are_ordered_as_asked(problem, trainer, epochs=3):
    """Every sample once an epoch: in an order that no epoch before had, or as they lie."""
    trainer.reset()
    after, found = problem.theta, []
    for _ in range(epochs):
        trainer.train(1)
        before, after = after, np.array(trainer.result())
        found.append(batches_taken(problem, before, after))
    in_order = np.arange(len(problem.X)).reshape(-1, problem.batch_size).tolist()
    if problem.shuffle:
        for batches in found:
            assert [len(rows) for rows in batches] == [problem.batch_size] * problem.steps
            assert {s for rows in batches for s in rows} == set(range(len(problem.X)))
        assert len({str(batches) for batches in (in_order, *found)}) == 1 + epochs
    else:
        assert found == [in_order] * epochs
