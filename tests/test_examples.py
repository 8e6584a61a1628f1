"""Every example runs in seconds and does what it says."""

import ast
import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

from fastbp import MLP
from fastbp.examples import adjoint, cart_pole, contrastive, ensemble, notebooks, pendulum


def test_ensemble(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    path = tmp_path / "bands.png"
    monkeypatch.setattr("sys.argv", ["ensemble", str(path)])
    bands = ensemble.main()
    among, gap = np.abs(bands.x - 1.3) < 0.4, np.abs(bands.x - 0.1) < 0.2
    assert bands.deviation[gap].mean() > 4 * bands.deviation[among].mean()
    assert np.abs(bands.mean - np.sin(3 * bands.x))[among].mean() < 0.15
    assert path.read_bytes().startswith(b"\x89PNG")


def test_cart_pole(capsys):
    lengths = cart_pole.main()
    assert lengths[:10].mean() < 100 < 400 < lengths[-100:].mean()
    assert "status 0" in capsys.readouterr().out


def test_the_cart_pole_falls_without_a_policy():
    state, steps = np.array([0.0, 0.0, 0.01, 0.0]), 0
    while cart_pole.move(state, 1):
        steps += 1
    assert steps < 15
    assert state[0] > 0  # pushed to the right, the pole falls to the left
    assert state[2] < -0.2


def test_pendulum(capsys):
    assert pendulum.main() < 0.05
    assert "status 0" in capsys.readouterr().out


def test_contrastive(capsys):
    before, after = contrastive.main()
    assert after < 0.2 < 1 < before
    assert "are of the same ring" in capsys.readouterr().out


def test_the_gradient_of_the_loss_over_pairs():
    Y, labels = np.random.default_rng(0).standard_normal((7, 2)), np.array([0, 0, 1, 1, 1, 2, 0])
    _, dE_dY = contrastive.pair_loss(Y, labels)
    for place in np.ndindex(Y.shape):
        step = np.zeros_like(Y)
        step[place] = 1e-6
        slope = (contrastive.pair_loss(Y + step, labels)[0] - contrastive.pair_loss(Y - step, labels)[0]) / 2e-6
        assert dE_dY[place] == pytest.approx(slope, rel=1e-6, abs=1e-8)


def test_adjoint(capsys):
    before, after = adjoint.main()
    assert after < 0.2 < 0.5 < before
    assert "never observed" in capsys.readouterr().out


def test_the_adjoint_is_the_gradient_of_the_end_of_a_path():
    net = MLP([2, 4, 1], activation="tanh", loss="squared_error", dtype="float64", seed=0)
    start = np.random.default_rng(0).standard_normal((3, 2))

    def end(z):
        return adjoint.integrate(lambda z: adjoint.slope(net, z), z)

    back, grad = adjoint.path_back(net, end(start), np.ones((3, 2))), net.grad.copy()
    for j, step in enumerate(1e-6 * np.eye(2)):
        slope = (end(start + step)[-1] - end(start - step)[-1]).sum(axis=1) / 2e-6
        np.testing.assert_allclose(back[:, j], slope, rtol=1e-6)
    for p in (0, 9, 16):
        ends = []
        for step in (1e-6, -2e-6, 1e-6):
            net.theta[p] += step
            ends.append(end(start)[-1].sum())
        assert grad[p] == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-6)


def test_lbfgs():
    pytest.importorskip("scipy")
    from fastbp.examples import lbfgs

    assert lbfgs.main() < 0.05


def test_lbfgs_trains_any_network():
    pytest.importorskip("scipy")
    from fastbp.examples import lbfgs

    X = np.random.default_rng(0).normal(size=(60, 3))
    net = MLP([3, 5, 2], dtype="float64", seed=0)
    labels = (X[:, 0] > 0).astype(int)
    before = net.loss_value(X, labels)
    result = lbfgs.train(net, X, labels, steps=50)
    assert net.loss_value(X, labels) / 60 == pytest.approx(result.fun)
    assert net.loss_value(X, labels) < 0.1 * before
    assert not net.grad.any()


def test_clipped_steps():
    from fastbp.examples import clipped_steps

    difference, accuracy = clipped_steps.main()
    assert difference < 1e-5
    assert accuracy > 0.9


def test_drop_in(capsys):
    pytest.importorskip("sklearn")
    from fastbp.examples import drop_in

    outcomes = drop_in.main(["--seeds", "2", "--data", "wine,diabetes", "--max-iter", "30"])
    assert [outcome.data for outcome in outcomes] == ["wine", "diabetes"]
    for outcome in outcomes:
        assert (outcome.seconds > 0).all()
        np.testing.assert_allclose(*outcome.scores.T, atol=0.1)
    assert "geometric mean" in capsys.readouterr().out
    for wrong in (["--seeds", "1"], ["--data", "iris"]):
        with pytest.raises(SystemExit):
            drop_in.main(wrong)


@pytest.fixture
def run_notebook(monkeypatch):
    """Run a script as a user does, and give its names; pictures stay in memory."""
    monkeypatch.setenv("MPLBACKEND", "Agg")
    yield lambda name: runpy.run_module(f"fastbp.examples.notebooks.{name}", run_name="__main__")
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


def test_xor_by_hand(run_notebook, capsys):
    names = run_notebook("xor")
    assert set(names["differences"]) == {"E", "y", "gradient", "e_0", "parameters"}
    assert max(names["differences"].values()) < 1e-12
    np.testing.assert_allclose(names["outputs"][:, 0], [0, 1, 1, 0], atol=0.1)
    assert "∂E/∂W₁ = δ₁ h₀ᵀ" in capsys.readouterr().out


def test_digits_from_pixels_to_the_confusion_matrix(run_notebook):
    pytest.importorskip("sklearn")
    names = run_notebook("digits")
    assert names["accuracy"] > 0.94
    assert names["matrix"].sum() == 360
    assert names["matrix"].trace() == 360 - len(names["wrong"])


def test_loops_against_blas(run_notebook, capsys):
    names = run_notebook("loops_and_blas")
    assert max(names["errors"].values()) < 1e-6
    assert set(names["seconds"]) == set(names["contestants"])
    assert "of the ceiling" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["xor", "digits", "loops_and_blas"])
def test_notebooks_are_cells(name):
    text = Path(notebooks.__file__).with_name(f"{name}.py").read_text(encoding="utf-8")
    first, *cells = re.split(r"^# %%", text, flags=re.M)
    assert not first
    assert cells[0].startswith(" [markdown]\n# # ")
    for cell in cells:
        kind, _, body = cell.partition("\n")
        assert kind in ("", " [markdown]")
        if kind:
            assert all(line.startswith("#") for line in body.strip().splitlines())
        else:
            ast.parse(body)
