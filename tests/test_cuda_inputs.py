"""Arrays that are on the GPU already: taken where they lie, converted there, or refused as NumPy's are."""

import numpy as np
import pytest
from tolerances import CUDA, CUDA_MARKS, SIMULATED, on_host

from fastbp import MLP

if not CUDA:
    pytest.skip("no GPU, and not in Numba's simulator", allow_module_level=True)

# None of it can be imported without numba.cuda.
from fastbp.backends.gpu import memory
from fastbp.backends.gpu.driver import cuda

pytestmark = CUDA_MARKS

# Small whole numbers, the same in every dtype.
rng = np.random.default_rng(0)
X = rng.integers(-8, 8, (7, 3)).astype(np.float32)
WEIGHT = rng.integers(0, 4, 7).astype(np.float32)
LABELS = np.arange(7) % 2
ROWS = np.eye(2, dtype=np.float32)[LABELS]
VALUES = rng.integers(-8, 8, (7, 2)).astype(np.float32)
CLASSES, SQUARED, BINARY, POISSON = "softmax_cross_entropy", "squared_error", "binary_cross_entropy", "poisson"
TARGETS = {CLASSES: LABELS, SQUARED: VALUES, BINARY: ROWS, POISSON: abs(VALUES)}


def network(loss=CLASSES, **settings):
    net = MLP([3, 4, 2], activation="tanh", loss=loss, seed=1, backend="cuda", **settings)
    net.grad[:] = np.arange(net.grad.size)
    return net


@pytest.fixture
def converted(monkeypatch):
    """How many arrays are converted on the device."""
    found = []

    class Counted:
        def __init__(self, kernel):
            self.kernel = kernel

        def __getitem__(self, launch):
            found.append(launch)
            return self.kernel[launch]

    for name in ("convert", "convert_vector"):
        monkeypatch.setattr(memory, name, Counted(getattr(memory, name)))
    return found


def everything(net, X, d, weight):
    """The bits of all that comes of the arrays."""
    net.zero_grad()
    parts = [net.forward(X), net.input_gradient(X, d, weight), net.gradient_norms(X, d, weight)]
    E, grad = net.accumulate_gradient(X, d, weight), on_host(net.grad)
    history = net.fit(X, d, sample_weight=weight, epochs=1, batch_size=5, seed=3, validation_data=(X, d, weight))
    return [on_host(part).tobytes() for part in (*parts, E, grad, net.theta, *history.records.values())]


@pytest.mark.parametrize("loss", TARGETS)
def test_arrays_on_the_device_are_taken_where_they_lie(loss, converted):
    given = X, TARGETS[loss], WEIGHT
    there = [cuda.to_device(array) for array in given]
    assert everything(network(loss), *there) == everything(network(loss), *given)
    assert converted == []
    samples = network(loss).checked_samples(*there)
    there[0].copy_to_device(changed(X, (0, 0), 99))
    assert on_host(samples.X)[0, 0] == 99


@pytest.mark.parametrize("fits", [True, False])
@pytest.mark.parametrize("place", range(3))
def test_some_on_the_device_and_some_not(place, fits, monkeypatch):
    """Where not all fit, all go to the processor's memory."""
    monkeypatch.setattr(memory, "RESIDENT_SHARE", 0.5 if fits else -1.0)
    for loss in (CLASSES, SQUARED):
        given = X, TARGETS[loss], WEIGHT
        mixed = [cuda.to_device(array) if i == place else array for i, array in enumerate(given)]
        assert everything(network(loss), *mixed) == everything(network(loss), *given)


FORMS = {
    "float64": lambda array: cuda.to_device(array.astype(float)),
    "int32": lambda array: cuda.to_device(array.astype(np.int32)),
    "uint8": lambda array: cuda.to_device(array.astype(np.uint8)),
    "bool": lambda array: cuda.to_device(array.astype(bool)),
    "Fortran order": lambda array: cuda.to_device(np.asfortranarray(array)),
    "every second row": lambda array: cuda.to_device(np.repeat(array, 2, axis=0))[::2],
    "part of wider rows": lambda array: cuda.to_device(np.repeat(array, 2, axis=-1))[
        (slice(None, None, 2),) if array.ndim == 1 else (slice(None), slice(None, None, 2))],
}


@pytest.mark.parametrize("form", FORMS)
def test_other_forms_are_converted_on_the_device(form, converted):
    given = abs(X), abs(VALUES), WEIGHT
    if form == "bool":
        given = [(array > 0).astype(np.float32) for array in given]
    there = [FORMS[form](array) for array in given]
    before = [on_host(array) for array in there]
    assert everything(network(POISSON), *there) == everything(network(POISSON), *given)
    assert converted
    assert all(np.array_equal(on_host(array), old) for array, old in zip(there, before, strict=True))


@pytest.mark.parametrize("dtype", ["u1", "i4", "u8"])
def test_labels_of_any_integer_dtype(dtype):
    there = [cuda.to_device(array) for array in (X, LABELS.astype(dtype), WEIGHT)]
    assert everything(network(), *there) == everything(network(), X, LABELS, WEIGHT)


def test_results_lie_where_X_does():
    net = network(dtype="float64")
    for given in (X, cuda.to_device(X)):
        results = net.forward(given), net.input_gradient(given, LABELS), net.gradient_norms(given, LABELS)
        assert all(type(result) is type(given) for result in results)
        assert [result.dtype for result in results] == ["float64"] * 3
    assert isinstance(net.loss_value(cuda.to_device(X), LABELS), float)
    seen = []
    for given, d in ((X, LABELS), (cuda.to_device(X), cuda.to_device(LABELS))):
        net.fit(given, d, epochs=1, metrics={"mine": lambda d, Y: seen.append((type(d), type(Y))) or 0.0})
    assert seen == [(np.ndarray, np.ndarray), (type(cuda.to_device(X)),) * 2]


def changed(array, place, value):
    array = np.array(array)
    array[place] = value
    return array


HALVES = np.full((7, 2), 0.5)
REFUSED = {
    "NaN in X": (CLASSES, {"X": changed(X, (5, 2), np.nan)}, r"X: .*found nan at \[5, 2\]"),
    "infinity in X": (CLASSES, {"X": changed(X, (0, 1), -np.inf)}, r"X: .*found -inf at \[0, 1\]"),
    "X beyond float32": (CLASSES, {"X": changed(X.astype(float), (2, 1), 1e300)}, r"X: .*found 1e\+300 at \[2, 1\]"),
    "too few features": (CLASSES, {"X": X[:, :2].copy()}, r"X: expected 3 features, found shape \(7, 2\)"),
    "one sample": (CLASSES, {"X": X[0]}, r"X: expected 2 dimensions, found shape \(3,\) \(one sample is X\[None, :\]"),
    "no samples": (CLASSES, {"X": X[:0]}, r"X: expected at least one sample, found shape \(0, 3\)"),
    "complex X": (CLASSES, {"X": X.astype(complex)}, "X: expected real numbers, found dtype complex128"),
    "too few labels": (CLASSES, {"d": LABELS[:3]}, "d: expected as many targets as X has samples, 7"),
    "label -1": (CLASSES, {"d": changed(LABELS, 3, -1)}, r"d: expected labels from 0 to 1, found -1 at \[3\]"),
    "label K": (CLASSES, {"d": changed(LABELS, 4, 2)}, r"d: expected labels from 0 to 1, found 2 at \[4\]"),
    "float labels": (CLASSES, {"d": LABELS.astype(float)}, "d: expected integer labels, found dtype float64"),
    "bool labels": (CLASSES, {"d": LABELS.astype(bool)}, "d: expected integer labels, found dtype bool"),
    "rows beyond 1": (CLASSES, {"d": np.full((7, 2), 0.6)}, "d: expected rows that sum to 1, found 1.2 in row 0"),
    "negative row": (CLASSES, {"d": changed(HALVES, 4, (-0.5, 1.5))}, "d: expected numbers from 0 to 1, found -0.5"),
    "bit above 1": (BINARY, {"d": changed(ROWS, (2, 1), 2)}, r"d: expected numbers from 0 to 1, found 2.0 at \[2, 1\]"),
    "negative count": (POISSON, {"d": changed(abs(VALUES), (3, 1), -1)}, "d: expected numbers of at least 0, found"),
    "NaN target": (SQUARED, {"d": changed(VALUES, (6, 0), np.nan)}, r"d: .*found nan at \[6, 0\]"),
    "targets too wide": (SQUARED, {"d": X}, r"d: expected shape \(7, 2\), found \(7, 3\)"),
    "negative weight": (CLASSES, {"sample_weight": changed(WEIGHT, 6, -0.5)},
                        r"sample_weight: expected no negative weight, found -0.5 at \[6\]"),
    "NaN weight": (CLASSES, {"sample_weight": changed(WEIGHT, 1, np.nan)}, r"sample_weight: .*found nan at \[1\]"),
    "too few weights": (CLASSES, {"sample_weight": WEIGHT[:5]}, "sample_weight: expected one for each of 7 samples"),
    "a column of weights": (CLASSES, {"sample_weight": WEIGHT[:, None]}, "sample_weight: expected 1 dimensions"),
}
if not SIMULATED:  # there numbers are NumPy's, which raise where those of a GPU wrap around
    REFUSED["huge label"] = (CLASSES, {"d": changed(LABELS.astype(np.uint64), 0, 2**64 - 1)}, "d: expected labels from")


CALLS = {
    "loss_value": MLP.loss_value, "accumulate_gradient": MLP.accumulate_gradient, "input_gradient": MLP.input_gradient,
    "fit": MLP.fit, "validation": lambda net, **there: net.fit(X, TARGETS[net.loss], epochs=1,
                                                               validation_data=tuple(there.values()))}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(("loss", "change", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused(loss, change, message, call):
    """By the same error as NumPy's arrays, with the parameters and the gradient as they were."""
    net, good = network(loss), {"X": X, "d": TARGETS[loss], "sample_weight": WEIGHT}
    before = on_host(net.theta).tobytes(), on_host(net.grad).tobytes()
    on_processor = good | change
    there = {name: cuda.to_device(array) for name, array in on_processor.items()}
    with pytest.raises((TypeError, ValueError), match=f"^{message}") as expected:
        net.loss_value(**on_processor)
    kind = TypeError if issubclass(expected.type, TypeError) else ValueError
    with pytest.raises(kind, match=f"^validation_data: {message}" if call == "validation" else f"^{message}"):
        CALLS[call](net, **there)
    assert (on_host(net.theta).tobytes(), on_host(net.grad).tobytes()) == before


def test_a_sparse_matrix_is_refused():
    sparse = pytest.importorskip("scipy.sparse")
    for call in (lambda net, X: net.forward(X), lambda net, X: net.fit(X, LABELS, epochs=1)):
        with pytest.raises(TypeError, match=r"^X: expected a dense array for this backend, found a sparse matrix"):
            call(network(), sparse.csr_array(X))
