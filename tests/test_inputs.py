"""What users pass in: refused by name with the network untouched, or used exactly as the plain array would be."""

import copy
import re

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import fastbp
from fastbp.checks import samples
from fastbp.checks.samples import as_input, as_samples

# Small whole numbers, the same in every dtype.
rng = np.random.default_rng(0)
X = rng.integers(-8, 8, (12, 3)).astype(np.float32)
WEIGHT = rng.integers(0, 4, 12).astype(np.float32)
LABELS = np.arange(12) % 2
VALUES = rng.integers(-8, 8, (12, 2)).astype(np.float32)
BITS = rng.integers(0, 2, (12, 2)).astype(np.float32)
HALVES = np.full((12, 2), 0.5)
COUNTS = np.abs(VALUES)
TARGETS = {"softmax_cross_entropy": LABELS, "squared_error": VALUES, "binary_cross_entropy": BITS, "poisson": COUNTS}

CALLS = {
    "forward": lambda net, X, d, weight: net.forward(X),
    "loss_value": lambda net, X, d, weight: net.loss_value(X, d, weight),
    "evaluate": lambda net, X, d, weight: net.evaluate(X, d, weight),
    "accumulate_gradient": lambda net, X, d, weight: net.accumulate_gradient(X, d, weight),
    "input_gradient": lambda net, X, d, weight: net.input_gradient(X, d, weight),
    "fit": lambda net, X, d, weight: net.fit(X, d, sample_weight=weight, epochs=1),
    "validation": lambda net, X_, d, weight: net.fit(X, TARGETS[net.loss], epochs=1, validation_data=(X_, d, weight)),
}
CALLS_WITH_TARGETS = {name: call for name, call in CALLS.items() if name != "forward"}


def network(loss="softmax_cross_entropy", outputs=2, **settings):
    net = fastbp.MLP([3, 4, outputs], activation="tanh", loss=loss, seed=1, **settings)
    net.grad[:] = np.arange(net.grad.size)
    return net


def changed(array, place, value):
    array = np.array(array)
    array[place] = value
    return array


def assert_refused(net, error, message, call):
    """The error says what it should, at its beginning, and the parameters and the gradient are as they were."""
    before = net.theta.tobytes(), net.grad.tobytes()
    with pytest.raises(error, match=f"^{message}"):
        call()
    assert (net.theta.tobytes(), net.grad.tobytes()) == before


def rows(cases):
    return [pytest.param(*case, id=name) for name, case in cases.items()]


WRONG_X = {
    "too few features": (X[:, :2], ValueError, "expected 3 features, found shape (12, 2)"),
    "too many features": (np.ones((12, 4)), ValueError, "expected 3 features, found shape (12, 4)"),
    "no features": (np.ones((12, 0)), ValueError, "expected 3 features, found shape (12, 0)"),
    "no samples": (X[:0], ValueError, "expected at least one sample, found shape (0, 3)"),
    "scalar": (1.0, ValueError, "expected 2 dimensions, found shape ()"),
    "one dimension": (X[0], ValueError, "expected 2 dimensions, found shape (3,) (one sample is X[None, :])"),
    "three dimensions": (X.reshape(2, 6, 3), ValueError, "expected 2 dimensions, found shape (2, 6, 3)"),
    "NaN": (changed(X, (7, 2), np.nan), ValueError, "found nan at [7, 2], expected finite numbers"),
    "inf": (changed(X, (0, 1), np.inf), ValueError, "found inf at [0, 1], expected finite numbers"),
    "-inf": (changed(X, (11, 0), -np.inf), ValueError, "found -inf at [11, 0], expected finite numbers"),
    "NaN in Fortran order": (np.asfortranarray(changed(X, (7, 2), np.nan)), ValueError, "found nan at [7, 2]"),
    "beyond float32": (changed(X.astype(float), (2, 1), 1e300), ValueError, "found 1e+300 at [2, 1], which is beyond"),
    "object": (X.astype(object), TypeError, "expected real numbers, found dtype object"),
    "complex": (X.astype(complex), TypeError, "expected real numbers, found dtype complex128"),
    "strings": (X.astype(str), TypeError, "expected real numbers, found dtype <U"),
    "dates": (X.astype("M8[D]"), TypeError, "expected real numbers, found dtype datetime64"),
    "None": (None, TypeError, "expected real numbers, found dtype object"),
    "masked": (np.ma.masked_array(X, X > 0), TypeError, "found a masked array"),
    "list with a masked row": ([*X[:11], np.ma.masked_array(X[11], X[11] > 0)], TypeError, "found a masked array"),
    "ragged": ([[1.0, 2.0, 3.0], [4.0, 5.0]], ValueError, "expected an array of numbers, found rows of"),
    "frame with names": (pd.DataFrame({"a": X[:, 0], "b": X[:, 1], "c": ["x"] * 12}), TypeError, "expected real numb"),
    "frame with a gap": (pd.DataFrame(X).astype("Float32").mask(changed(X < -99, (4, 1), True)), ValueError,
                         "found nan at [4, 1]"),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(("wrong", "error", "words"), rows(WRONG_X))
def test_wrong_X(call, wrong, error, words):
    net = network()
    message = "validation_data: X: " if call == "validation" else "X: "
    assert_refused(net, error, message + re.escape(words), lambda: CALLS[call](net, wrong, LABELS, None))


CLASSES, SQUARED, BINARY, POISSON = TARGETS
WRONG_D = {
    "too short": (CLASSES, LABELS[:7], ValueError, "expected as many targets as X has samples, 12, found shape (7,)"),
    "scalar": (CLASSES, 1, ValueError, "expected as many targets as X has samples, 12, found shape ()"),
    "values too short": (SQUARED, VALUES[:11], ValueError, "expected as many targets"),
    "label -1": (CLASSES, changed(LABELS, 3, -1), ValueError, "expected labels from 0 to 1, found -1 at [3]"),
    "label K": (CLASSES, changed(LABELS, 5, 2), ValueError, "expected labels from 0 to 1, found 2 at [5]"),
    "huge label": (CLASSES, changed(LABELS.astype(np.uint64), 0, 2**64 - 1), ValueError, "expected labels from 0 to 1"),
    "float labels": (CLASSES, LABELS.astype(float), TypeError, "expected integer labels, found dtype float64"),
    "bool labels": (CLASSES, LABELS.astype(bool), TypeError, "expected integer labels, found dtype bool"),
    "string labels": (CLASSES, np.array(["cat", "dog"])[LABELS], TypeError, "expected real numbers, found dtype <U3"),
    "column of labels": (CLASSES, LABELS[:, None], ValueError, "expected shape (12, 2) or (12,) integer labels"),
    "rows too wide": (CLASSES, np.full((12, 3), 1 / 3), ValueError, "expected shape (12, 2) or (12,) integer labels"),
    "rows beyond 1": (CLASSES, np.full((12, 2), 0.6), ValueError, "expected rows that sum to 1, found 1.2 in row 0"),
    "row of zeros": (CLASSES, changed(HALVES, 4, 0), ValueError, "expected rows that sum to 1, found 0 in row 4"),
    "negative row": (CLASSES, changed(HALVES, 4, (-0.5, 1.5)), ValueError, "expected numbers from 0 to 1"),
    "NaN row": (CLASSES, changed(BITS, (1, 1), np.nan), ValueError, "found nan at [1, 1]"),
    "bit below 0": (BINARY, changed(BITS, (2, 1), -0.1), ValueError, "expected numbers from 0 to 1, found -0.1"),
    "bit above 1": (BINARY, changed(BITS, (2, 1), 2), ValueError, "expected numbers from 0 to 1, found 2.0 at [2, 1]"),
    "bit that rounds to 1": (BINARY, changed(BITS.astype(float), (2, 1), 1 + 1e-9), ValueError,
                             "expected numbers from 0 to 1, found 1.000000001 at [2, 1]"),
    "one-dimensional bits": (BINARY, BITS[:, 0], ValueError, "expected shape (12, 2), found (12,)"),
    "negative count": (POISSON, changed(COUNTS, (3, 1), -1), ValueError,
                       "expected numbers of at least 0, found -1.0 at [3, 1]"),
    "count that rounds to 0": (POISSON, changed(COUNTS.astype(float), (3, 1), -1e-60), ValueError,
                               "expected numbers of at least 0, found -1e-60 at [3, 1]"),
    "NaN count": (POISSON, changed(COUNTS, (1, 1), np.nan), ValueError, "found nan at [1, 1], expected finite numbers"),
    "infinite count": (POISSON, changed(COUNTS, (1, 0), np.inf), ValueError, "found inf at [1, 0]"),
    "one-dimensional counts": (POISSON, COUNTS[:, 0], ValueError, "expected shape (12, 2), found (12,)"),
    "values too wide": (SQUARED, X, ValueError, "expected shape (12, 2), found (12, 3)"),
    "values in 3-D": (SQUARED, VALUES[:, :, None], ValueError, "expected shape (12, 2), found (12, 2, 1)"),
    "NaN": (SQUARED, changed(VALUES, (9, 0), np.nan), ValueError, "found nan at [9, 0], expected finite numbers"),
    "inf": (SQUARED, changed(VALUES, (9, 1), np.inf), ValueError, "found inf at [9, 1], expected finite numbers"),
    "-inf": (SQUARED, changed(VALUES, (0, 0), -np.inf), ValueError, "found -inf at [0, 0], expected finite numbers"),
    "beyond float32": (SQUARED, np.full((12, 2), 1e300), ValueError, "found 1e+300 at [0, 0], which is beyond float32"),
    "object": (SQUARED, VALUES.astype(object), TypeError, "expected real numbers, found dtype object"),
    "complex": (SQUARED, VALUES.astype(complex), TypeError, "expected real numbers, found dtype complex128"),
    "masked": (SQUARED, np.ma.masked_array(VALUES, VALUES > 0), TypeError, "found a masked array"),
    "ragged": (SQUARED, [[1.0, 2.0]] * 11 + [[1.0]], ValueError, "expected an array of numbers, found rows of"),
}


@pytest.mark.parametrize("call", CALLS_WITH_TARGETS)
@pytest.mark.parametrize(("loss", "wrong", "error", "words"), rows(WRONG_D))
def test_wrong_d(call, loss, wrong, error, words):
    net = network(loss)
    message = "validation_data: d: " if call == "validation" else "d: "
    assert_refused(net, error, message + re.escape(words), lambda: CALLS[call](net, X, wrong, None))


WRONG_WEIGHT = {
    "negative": (changed(WEIGHT, 6, -0.5), ValueError, "expected no negative weight, found -0.5 at [6]"),
    "NaN": (changed(WEIGHT, 6, np.nan), ValueError, "found nan at [6], expected finite numbers"),
    "inf": (changed(WEIGHT, 0, np.inf), ValueError, "found inf at [0], expected finite numbers"),
    "-inf": (changed(WEIGHT, 11, -np.inf), ValueError, "found -inf at [11], expected finite numbers"),
    "beyond float32": (np.full(12, 1e300), ValueError, "found 1e+300 at [0], which is beyond float32"),
    "too short": (WEIGHT[:5], ValueError, "expected one for each of 12 samples, found shape (5,)"),
    "all too small": (np.full(12, 1e-46), ValueError, "expected weights that are not all 0 in float32, found 1e-46"),
    "negative, too small": (np.full(12, -1e-46), ValueError, "expected no negative weight, found -1e-46 at [0]"),
    "too long": (np.ones(13), ValueError, "expected one for each of 12 samples, found shape (13,)"),
    "empty": ([], ValueError, "expected one for each of 12 samples, found shape (0,)"),
    "column": (WEIGHT[:, None], ValueError, "expected 1 dimensions, found shape (12, 1)"),
    "scalar": (1.0, ValueError, "expected 1 dimensions, found shape ()"),
    "strings": (WEIGHT.astype(str), TypeError, "expected real numbers"),
    "object": (WEIGHT.astype(object), TypeError, "expected real numbers, found dtype object"),
    "masked": (np.ma.masked_array(WEIGHT, WEIGHT > 1), TypeError, "found a masked array"),
}


@pytest.mark.parametrize("call", CALLS_WITH_TARGETS)
@pytest.mark.parametrize(("wrong", "error", "words"), rows(WRONG_WEIGHT))
def test_wrong_sample_weight(call, wrong, error, words):
    net = network()
    message = "validation_data: sample_weight: " if call == "validation" else "sample_weight: "
    assert_refused(net, error, message + re.escape(words), lambda: CALLS[call](net, X, LABELS, wrong))


@pytest.mark.parametrize(("name", "wrong", "error"), [
    ("batch_size", 0, ValueError), ("batch_size", -1, ValueError), ("batch_size", 2.5, TypeError),
    ("batch_size", True, TypeError), ("batch_size", None, TypeError), ("epochs", 0, ValueError),
    ("epochs", -3, ValueError), ("epochs", 1.0, TypeError), ("epochs", True, TypeError), ("epochs", "10", TypeError),
    ("optimizer", "adam", TypeError), ("optimizer", 0.1, TypeError), ("optimizer", fastbp.Adam, TypeError),
    ("optimizer", fastbp.Optimizer(), TypeError), ("optimizer_state", fastbp.History(), TypeError),
    ("callbacks", [3], TypeError), ("callbacks", None, TypeError), ("callbacks", [fastbp.EarlyStopping], TypeError),
    ("shuffle", "no", TypeError), ("replacement", 1, TypeError), ("weighted_mean", np.ones(2), TypeError),
    ("progress", "yes", TypeError), ("metrics", {1: len}, TypeError),
    ("optimizer", fastbp.Adam(epsilon=1e-46), ValueError), ("optimizer", fastbp.RMSprop(epsilon=1e-46), ValueError),
    ("callbacks", fastbp.EarlyStopping("loss"), TypeError), ("metrics", {"mine": 3}, TypeError),
    ("metrics", sparse.dok_array(np.ones((2, 2))), TypeError),  # a mapping
    ("metrics", [len], TypeError), ("metrics", {"loss": len}, ValueError), ("seed", -1, ValueError),
    ("seed", 0.5, TypeError), ("validation_data", X, TypeError), ("validation_data", (X,), TypeError),
    ("validation_data", (X, LABELS, WEIGHT, 0), TypeError), ("validation_data", {"X": X, "d": LABELS}, TypeError),
    ("validation_data", "0.2", TypeError), ("validation_data", (X, None), TypeError),
])
def test_wrong_argument_of_fit(name, wrong, error):
    net = network()
    assert_refused(net, error, f"{name}: ", lambda: net.fit(X, LABELS, **{name: wrong}))


def test_a_nan_that_signals_is_refused_without_a_warning():
    """The processor notes when such a one becomes a float32."""
    signalling = np.full((5, 3), 0x7FF0000000000001, np.uint64).view(np.float64)
    net = network()
    assert_refused(net, ValueError, "X: ", lambda: net.forward(signalling))


def test_a_metric_that_is_no_number():
    with pytest.raises(TypeError, match=r"^metrics: expected a number from 'mine', found None$"):
        network().fit(X, LABELS, metrics={"mine": lambda d, Y: None})


@pytest.mark.parametrize("state", [
    fastbp.Adam().start(np.zeros(5, np.float32)), fastbp.Adam().start(network(dtype="float64").theta),
    fastbp.SGD(momentum=0.5).start(network().theta)], ids=["other size", "other dtype", "other optimizer"])
def test_optimizer_state_of_another_network(state):
    net = network()
    assert_refused(net, ValueError, "state: expected averages of shape",
                   lambda: net.fit(X, LABELS, optimizer=fastbp.Adam(), optimizer_state=state))


ADAM = fastbp.Adam().start(network().theta)
FROZEN = ADAM.averages.copy()
FROZEN.flags.writeable = False
WRONG_STATES = {
    "updates of floats": (ADAM._replace(updates=np.zeros(1)), "updates of shape"),
    "updates in other bytes": (ADAM._replace(updates=np.zeros(1, ">i8")), "updates of shape"),
    "no updates": (ADAM._replace(updates=np.zeros(0, np.int64)), "updates of shape"),
    "a number": (ADAM._replace(updates=2), "updates of shape"),
    "negative updates": (ADAM._replace(updates=np.array([-1])), "a number of updates of at least 0"),
    "read-only": (ADAM._replace(averages=FROZEN), "averages as a contiguous array that can be"),
    "broadcast": (ADAM._replace(averages=np.broadcast_to(np.float32(0), ADAM.averages.shape)), "averages as a contig"),
    "Fortran order": (ADAM._replace(averages=np.asfortranarray(ADAM.averages)), "averages as a contiguous array"),
    "strided": (ADAM._replace(averages=np.zeros((2, 2 * ADAM.averages.shape[1]), np.float32)[:, ::2]), "averages as a"),
    "lists": (ADAM._replace(averages=ADAM.averages.tolist()), "averages of shape"),
}


@pytest.mark.parametrize(("state", "words"), rows(WRONG_STATES))
def test_optimizer_state_that_kernels_cannot_update(state, words):
    net = network()
    assert_refused(net, ValueError, f"state: expected {words}",
                   lambda: net.fit(X, LABELS, optimizer=fastbp.Adam(), optimizer_state=state))
    with pytest.raises(ValueError, match=f"^state: expected {words}"):
        fastbp.Adam().step(net.theta, net.grad, state)


def test_optimizer_state_that_is_not_finite():
    net, state = network(), fastbp.Adam().start(network().theta)
    state.averages[1, 3] = np.nan
    assert_refused(net, ValueError, "optimizer_state: expected finite averages",
                   lambda: net.fit(X, LABELS, optimizer=fastbp.Adam(), optimizer_state=state))


def test_frozen_parameters_are_not_trained():
    net = network()
    net.accumulate_gradient(X, LABELS)
    net.theta.flags.writeable = False
    for call in (lambda: net.fit(X, LABELS), lambda: net.step(0.1), lambda: fastbp.fit_many([net], X, LABELS)):
        assert_refused(net, ValueError, r"(nets\[0\]: )?theta: expected parameters that can be written", call)


def test_labels_changed_while_they_are_trained_on():
    """They are places in memory for a kernel: it goes by those that were checked."""
    labels, net, expected = LABELS.copy(), network(), network()

    def relabel(net, history):
        labels[:] = 10**9

    net.fit(X, labels, epochs=3, callbacks=[relabel], validation_data=(X, labels))
    expected.fit(X, LABELS, epochs=3)
    assert net.theta.tobytes() == expected.theta.tobytes()


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int64, np.uint64])
def test_seeds_of_numpy(kind):
    nets = [network() for _ in range(3)]
    for net, seed in zip(nets, (3, kind(3)), strict=False):
        net.fit(X, LABELS, epochs=2, batch_size=5, seed=seed)
    fastbp.fit_many(nets[2:], X, LABELS, epochs=2, batch_size=5, seeds=np.array([3], kind))
    assert len({net.theta.tobytes() for net in nets}) == 1


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_no_training_from_parameters_that_are_not_finite(value):
    net = network()
    net.theta[4] = value
    assert_refused(net, ValueError, "theta: expected finite parameters", lambda: net.fit(X, LABELS))


@pytest.mark.parametrize(("rate", "error"), [(-0.1, ValueError), (np.nan, ValueError), (np.inf, ValueError),
                                             ("0.1", TypeError), (None, TypeError), (True, TypeError)])
def test_wrong_learning_rate_of_a_step(rate, error):
    net = network()
    assert_refused(net, error, "learning_rate: ", lambda: net.step(rate))


def test_refused_training_does_not_use_up_random_numbers():
    net = network()
    untouched = copy.deepcopy(net)
    with pytest.raises(ValueError, match="epochs"):
        net.fit(X, LABELS, epochs=0)
    net.fit(X, LABELS, epochs=1, batch_size=2)
    untouched.fit(X, LABELS, epochs=1, batch_size=2)
    assert net.theta.tobytes() == untouched.theta.tobytes()


# ---- what works ------------------------------------------------------------------------------------------------------

def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


def unaligned(array):
    found = np.frombuffer(b"\0" + array.tobytes(), array.dtype, offset=1).reshape(array.shape)
    assert not found.flags.aligned
    return found


def memory_mapped(array, path):
    array.tofile(path)
    return np.memmap(path, array.dtype, "r", shape=array.shape)


FORMS = {
    "Fortran order": np.asfortranarray,
    "every second row": lambda array: np.repeat(array, 2, axis=0)[::2],
    "reversed": lambda array: array[::-1].copy()[::-1],
    "part of wider rows": lambda array: np.stack([array, array + 1], axis=-1)[..., 0],
    "read-only": read_only,
    "unaligned": unaligned,
    "list": np.ndarray.tolist,
    "big-endian": lambda array: array.astype(array.dtype.newbyteorder(">")),
    "pandas": lambda array: pd.DataFrame(array) if array.ndim == 2 else pd.Series(array),
    "read-only Fortran order": lambda array: read_only(np.asfortranarray(array)),
} | {f"dtype {code}": lambda array, code=code: array.astype(code)
     for code in ("f2", "f8", "g", "i1", "i8", ">i2", ">f8")}
LABEL_FORMS = {name: form for name, form in FORMS.items() if not name.startswith("dtype")} | {
    f"dtype {code}": lambda array, code=code: array.astype(code)
    for code in ("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", ">i4", ">u8")}


def everything(net, X, d, weight):
    """The bits of all that comes of the arrays."""
    net = copy.deepcopy(net)
    Y, E, e_0 = net.forward(X), net.accumulate_gradient(X, d, weight), net.input_gradient(X, d, weight)
    grad = net.grad.copy()
    history = net.fit(X, d, sample_weight=weight, epochs=2, batch_size=5, seed=3, validation_data=(X, d, weight))
    return [np.asarray(part).tobytes() for part in (Y, E, e_0, grad, net.theta, *history.records.values())]


def assert_same(net, plain, forms):
    copies = [np.array(form) for form in forms]
    assert everything(net, *forms) == everything(net, *plain)
    for form, before in zip(forms, copies, strict=True):
        assert np.array(form).tobytes() == before.tobytes(), "the input was written to"


@pytest.mark.parametrize("form", FORMS)
def test_any_form_of_numbers(form):
    plain = X, VALUES, WEIGHT
    assert_same(network(SQUARED), plain, [FORMS[form](array) for array in plain])


@pytest.mark.parametrize("form", LABEL_FORMS)
def test_any_form_of_labels(form):
    assert_same(network(), (X, LABELS, WEIGHT), (X, LABEL_FORMS[form](LABELS), WEIGHT))


def test_labels_are_one_hot_rows():
    assert_same(network(), (X, LABELS, WEIGHT), (X, np.eye(2)[LABELS], WEIGHT))


@pytest.mark.parametrize(("loss", "d"), [(SQUARED, VALUES[:, 0]), (BINARY, BITS[:, 0]), (BINARY, BITS[:, 0] > 0),
                                         (POISSON, COUNTS[:, 0]), (POISSON, COUNTS[:, 0].astype(np.uint8))])
def test_one_output_takes_a_column_or_a_vector(loss, d):
    assert_same(network(loss, outputs=1), (X, d[:, None], WEIGHT), (X, d, WEIGHT))


def test_frames_of_numbers_and_bools():
    mixed = np.column_stack([X[:, :2], X[:, 2] > 0])
    frame = pd.DataFrame({"a": mixed[:, 0], "b": mixed[:, 1], "c": mixed[:, 2] > 0})
    assert np.asarray(frame).dtype == object
    for same in (frame, frame.convert_dtypes()):  # those have places for missing values
        assert everything(network(), same, LABELS, WEIGHT) == everything(network(), mixed, LABELS, WEIGHT)


def test_numbers_that_vanish_are_no_error_whatever_numpy_is_set_to():
    with np.errstate(all="raise"):
        assert np.array_equal(network().forward(np.full((2, 3), 1e-50)), network().forward(np.zeros((2, 3))))


def test_float64_is_rounded_to_a_float32_network():
    fine = [np.random.default_rng(1).uniform(size=array.shape) for array in (X, VALUES, WEIGHT)]
    assert_same(network(SQUARED), [array.astype(np.float32) for array in fine], fine)


def test_memory_maps_and_read_only_arrays_are_used_where_they_lie(tmp_path):
    for loss, d in ((SQUARED, VALUES), (CLASSES, LABELS)):
        plain = X, d, WEIGHT
        mapped = [memory_mapped(array, tmp_path / f"{loss}{i}") for i, array in enumerate(plain)]
        for forms in (plain, mapped, [read_only(array) for array in plain]):
            samples = as_samples(*forms, X.dtype, 3, 2, "values" if loss == SQUARED else "classes")
            assert np.shares_memory(as_input(forms[0], X.dtype, 3)[0], forms[0])
            assert np.shares_memory(samples.X, forms[0])
            assert np.shares_memory(samples.targets if loss == SQUARED else samples.labels, forms[1])
            assert np.shares_memory(samples.weights, forms[2])
        assert_same(network(loss), plain, mapped)


def test_what_a_kernel_cannot_read_is_copied(monkeypatch):
    """As small arrays are that it could read."""
    for form, small in (("unaligned", 0), ("big-endian", 0), ("Fortran order", 2**20), ("every second row", 2**20)):
        monkeypatch.setattr(samples, "SMALL_COPY", small)
        array, _, _ = as_input(FORMS[form](X), X.dtype, 3)
        assert array.flags.aligned
        assert array.flags.c_contiguous
        assert array.dtype.isnative
