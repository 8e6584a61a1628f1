"""How the backend "cuda" goes through samples: in one launch or layer by layer, in tiles, slices and chunks."""

import copy
import signal

import naive
import numpy as np
import pytest
from tolerances import CUDA, CUDA_MARKS, ROUNDING, SIMULATED, assert_close, on_host

import fastbp
from fastbp import MLP, SGD, Adam, fit_many, jit
from fastbp.pace import Pace

if not CUDA:
    pytest.skip("no GPU, and not in Numba's simulator", allow_module_level=True)

# None of it can be imported without numba.cuda.
from fastbp.backends.gpu import feed, fused, graphs, memory, products, propagation, shape, steps, training

pytestmark = CUDA_MARKS


def network(widths=(3, 5, 2), backend="cuda", **settings):
    return MLP(widths, **{"activation": "tanh", "dtype": "float64", "seed": 0, "backend": backend} | settings)


def drawn(widths=(3, 5, 2), n=11, dtype="float64"):
    inputs = naive.draw_inputs(widths, n, dtype=dtype)
    return inputs["X"], inputs["labels"], inputs["weights"]


@pytest.fixture
def fused_steps(monkeypatch):
    """How many steps each launch has, where a training is one slice."""
    monkeypatch.setattr(Pace, "next_slice", lambda pace, threads: (1, 10**6))
    found, launch = [], propagation.Propagation.launch

    def counted(work, kernel, blocks, threads, *arguments):
        if kernel in [kept._kernel for kept in work.kept.values() if isinstance(kept, fused.FusedSteps)]:
            found.append(arguments[10])
        launch(work, kernel, blocks, threads, *arguments)

    monkeypatch.setattr(propagation.Propagation, "launch", counted)
    return found


def assert_same_results(net, other, X, d, weight, tolerance=ROUNDING["float64"]):
    """All that a network computes for samples."""
    assert_close(net.forward(X), other.forward(X), tolerance)
    net.zero_grad()
    other.zero_grad()
    assert net.accumulate_gradient(X, d, weight) == pytest.approx(other.accumulate_gradient(X, d, weight), rel=1e-12)
    assert_close(net.grad, other.grad, tolerance)
    assert_close(net.input_gradient(X, d, weight), other.input_gradient(X, d, weight), tolerance)
    assert_close(net.gradient_norms(X, d, weight), other.gradient_norms(X, d, weight), tolerance)
    assert net.evaluate(X, d, weight) == pytest.approx(other.evaluate(X, d, weight), rel=1e-12)


# ---- trainings in one launch ---------------------------------------------------------------------------------------

@pytest.mark.parametrize("enough_tiles", [shape.ENOUGH_TILES, 1])
@pytest.mark.parametrize(("widths", "n", "batch_size"), [
    ((3, 5, 2), 11, 4), ((3, 5, 2), 25, 20), ((4, 3), 5, 1), ((1, 1, 2), 9, 100), ((2, 1, 9, 3), 7, 5),
    ((11, 10, 5), 21, 21)])
def test_steps_in_one_launch_are_those_of_the_layers(widths, n, batch_size, enough_tiles, fused_steps, monkeypatch):
    """Ragged last batches, batches smaller than a tile and of several, one layer, layers of one unit; tiles of few
    samples and of many."""
    monkeypatch.setattr(shape, "ENOUGH_TILES", enough_tiles)
    X, d, weight = drawn(widths, n)
    fit = {"optimizer": Adam(0.05), "epochs": 2, "batch_size": batch_size, "seed": 1, "sample_weight": weight}
    taken = 2 * -(-n // batch_size)
    in_one, by_layers, plain = network(widths), network(widths), network(widths, "loops")
    histories = [in_one.fit(X, d, **fit), plain.fit(X, d, **fit)]
    assert sum(fused_steps) == taken
    monkeypatch.setattr(training, "shape_of", lambda layout, batch_size: None)
    histories.append(by_layers.fit(X, d, **fit))
    assert sum(fused_steps) == taken
    for net, history in zip((in_one, by_layers), histories[::2], strict=True):
        assert_close(net.theta, plain.theta, 1e-12)
        assert history["loss"] == pytest.approx(histories[1]["loss"], rel=1e-12)
        assert history["accuracy"] == histories[1]["accuracy"]
        assert history.optimizer_state.updates[0] == taken
        assert_close(history.optimizer_state.averages, histories[1].optimizer_state.averages, 1e-12)


def test_more_tiles_than_parts_of_the_gradient(fused_steps, monkeypatch):
    monkeypatch.setattr(shape, "MOST_SLOTS", 2)
    nets = network(), network(backend="loops")
    for net in nets:
        net.fit(*drawn(n=21)[:2], optimizer=SGD(0.1, momentum=0.5), epochs=1, batch_size=19, seed=1)
    assert fused_steps == [2]
    assert_close(nets[0].theta, nets[1].theta, 1e-12)


@pytest.mark.parametrize(("settings", "is_plain"), [
    ({}, True), ({"optimizer": SGD(0.1, momentum=0.9, weight_decay=0.1)}, True), ({"sample_weight": np.ones(11)}, True),
    ({"dropout": 0.0}, True), ({"optimizer": SGD(0.1, clip_norm=1.0)}, False), ({"clip_sample_norm": 1.0}, False),
    ({"dropout": 0.5}, False), ({"l2_penalty": 0.1}, False), ({"weighted_mean": True}, False)], ids=str)
def test_only_plain_batches_are_taken_in_one_launch(settings, is_plain, fused_steps):
    network().fit(*drawn()[:2], epochs=1, batch_size=6, **settings)
    assert fused_steps == ([2] if is_plain else [])


def test_networks_beyond_shared_memory_go_layer_by_layer(fused_steps, monkeypatch):
    X, d, _ = drawn()
    wide = propagation.DeviceLayout(network((2000, 2000, 2), initializer="zeros")._layout, (), None, np.dtype("f8"))
    assert shape.shape_of(wide, 128) is None
    monkeypatch.setattr(shape, "SHARED_BYTES", 64)
    nets = network(), network(backend="loops")
    for net in nets:
        net.fit(X, d, epochs=1, batch_size=6, seed=1)
    assert fused_steps == []
    assert_close(nets[0].theta, nets[1].theta, 1e-12)


@pytest.mark.parametrize("optimizer", [Adam(0.1), SGD(0.1, clip_norm=0.1)], ids=["in one launch", "layer by layer"])
def test_the_same_bits_in_every_run_and_for_any_number_of_blocks(optimizer, monkeypatch):
    X, d, weight = drawn(n=25)
    results = set()
    for blocks in (None, None, 1, 2):
        if blocks and not SIMULATED:  # in the simulator one block runs after another
            monkeypatch.setattr(fused.FusedSteps, "_most_blocks", lambda steps, arguments, blocks=blocks: blocks)
        net = network(dtype="float32")
        history = net.fit(X, d, sample_weight=weight, optimizer=optimizer, epochs=2, batch_size=18, seed=3)
        results.add((net.theta_on_host().tobytes(), tuple(history["loss"]), net.forward(X).tobytes(),
                     net.accumulate_gradient(X, d), on_host(net.grad).tobytes()))
    assert len(results) == 1


@pytest.mark.parametrize("clip_norm", [None, 1e6], ids=["in one launch", "layer by layer"])
@pytest.mark.parametrize("most", [1, 2, 3, 4096])
def test_slices_of_any_length(most, clip_norm, fused_steps, monkeypatch):
    """Six steps of an epoch, in launches of so many."""
    monkeypatch.setattr(training, "MAX_STEPS", most)
    sliced, expected = network(), network(backend="loops")
    for net in (sliced, expected):
        net.fit(*drawn()[:2], optimizer=SGD(0.1, momentum=0.5, clip_norm=clip_norm), epochs=2, batch_size=2, seed=1)
    assert fused_steps == ({1: [1] * 12, 2: [2] * 6, 3: [3] * 4, 4096: [6] * 2}[most] if clip_norm is None else [])
    assert_close(sliced.theta, expected.theta, 1e-12)


@pytest.mark.parametrize("clip_norm", [None, 1e6], ids=["in one launch", "layer by layer"])
@pytest.mark.parametrize(("orders", "most"), [(1, 4), (2, 4), (3, 4096)])
def test_orders_of_so_many_epochs_beside_each_other(orders, most, clip_norm, monkeypatch, fused_steps):
    """Each epoch has its own, also where a launch ends within one."""
    monkeypatch.setattr(steps, "ORDER_BYTES", orders * 11 * 8)
    monkeypatch.setattr(training, "MAX_STEPS", most)
    nets = network(), network(backend="loops")
    for net in nets:
        net.fit(*drawn()[:2], optimizer=SGD(0.1, clip_norm=clip_norm), epochs=5, batch_size=4, seed=1)
    assert_close(nets[0].theta, nets[1].theta, 1e-12)
    if clip_norm is None:
        assert fused_steps == {(1, 4): [3] * 5, (2, 4): [3, 1, 2, 2, 1, 3, 3], (3, 4096): [3, 6, 3, 3]}[orders, most]


@pytest.mark.parametrize("clip_norm", [None, 1e300], ids=["in one launch", "layer by layer"])
@pytest.mark.parametrize("step", range(4))
def test_divergence_in_any_step_of_a_launch(step, clip_norm, fused_steps):
    """θ lies in two copies there, by turns."""
    X, d = np.ones((4, 1)), np.ones(4)
    d[step] = 1e200
    optimizer = SGD(0.1, clip_norm=clip_norm)
    diverging, expected = (network((1, 1), name, loss="squared_error", initializer="zeros")
                           for name in ("cuda", "loops"))
    for net in (diverging, expected):
        with pytest.raises(fastbp.DivergenceError, match=f"loss is not finite in epoch 0, step {step} "):
            net.fit(X, d, optimizer=optimizer, batch_size=1, shuffle=False)
    assert fused_steps == ([4, 8, 16, 12] if clip_norm is None else [])  # all were launched before one was read
    assert_close(diverging.theta, expected.theta, 1e-14, scale=1.0)
    assert not on_host(diverging.grad).any()


# ---- layers --------------------------------------------------------------------------------------------------------

def test_large_tiles_and_slices_of_the_samples(monkeypatch):
    monkeypatch.setattr(products, "MANY_TILES", 1)
    monkeypatch.setattr(propagation, "LEAST_SLICE", 4)
    widths = (5, 17, 3)
    net = network(widths)
    assert products.block_for(17, 19) is products.LARGE
    assert propagation.slices_of(net.layout, 1, 19) == 4
    assert_same_results(net, network(widths, "loops"), *drawn(widths, 19))


@pytest.mark.parametrize("least", [4, 5, 100])
@pytest.mark.parametrize("widths", [(8, 17, 12, 2), (12, 8, 12)])
def test_products_in_slices_of_their_sums(widths, least, monkeypatch):
    """W loaded by quads and by single numbers, whole slices and ragged ones, softmax and formulas of single units."""
    monkeypatch.setattr(propagation, "LEAST_SLICE", least)
    launch, launched = propagation.Propagation.launch, set()

    def noted(work, kernel, *of):
        launched.add(getattr(kernel, "py_func", kernel).__name__)
        launch(work, kernel, *of)

    monkeypatch.setattr(propagation.Propagation, "launch", noted)
    X, d, weight = drawn(widths, 9)
    nets = [network(widths, name, output_activation="softmax", loss="cross_entropy") for name in ("cuda", "loops")]
    assert_close(nets[0].forward(X), nets[1].forward(X), ROUNDING["float64"])
    assert "join_forward_slices" not in launched  # the clock may choose how many samples go together
    assert_same_results(*nets, X, d, weight)
    assert ({"join_forward_slices", "join_backward"} <= launched) == (least < 100)


@pytest.fixture
def chunks(monkeypatch):
    """Samples do not fit on the device, and go there three by three: the buffer of every chunk, and its samples."""
    monkeypatch.setattr(memory, "RESIDENT_SHARE", -1.0)
    monkeypatch.setattr(propagation, "MAX_CHUNK", 3)
    found, filled = [], feed._Buffer.filled

    def watched(buffer, samples, rows, stream):
        found.append((id(buffer), len(rows)))
        return filled(buffer, samples, rows, stream)

    monkeypatch.setattr(feed._Buffer, "filled", watched)
    return found


def test_samples_that_do_not_fit_go_over_in_chunks(chunks):
    X, d, weight = drawn()
    net, other = network(), network(backend="loops")
    Y = net.forward(X)
    assert isinstance(Y, np.ndarray)
    assert [samples for _, samples in chunks] == [3, 3, 3, 2]
    assert len({buffer for buffer, _ in chunks}) == 2
    for targets in (d, np.eye(2)[d]):
        for weights in (weight, None):
            assert_same_results(net, other, X, targets, weights)


@pytest.mark.parametrize("settings", [
    {}, {"dropout": 0.3}, {"replacement": True, "optimizer": Adam(0.05)}, {"shuffle": False, "l2_penalty": 0.1},
    {"weighted_mean": True, "clip_sample_norm": 0.5}], ids=str)
def test_training_on_samples_that_do_not_fit(settings, chunks, fused_steps):
    X, d, weight = drawn()
    nets = network(), network(backend="loops")
    histories = [net.fit(X, d, sample_weight=weight, epochs=2, batch_size=5, **{"seed": 1} | settings) for net in nets]
    assert {samples for _, samples in chunks} == {3, 2, 1}
    assert fused_steps == []
    assert_close(nets[0].theta, nets[1].theta, 1e-12)
    assert histories[0]["loss"] == pytest.approx(histories[1]["loss"], rel=1e-12)


def test_batches_of_one_chunk_use_both_buffers_by_turns(chunks):
    X, d, _ = drawn(n=12)
    network().fit(X, d, epochs=1, batch_size=3)
    buffers = [buffer for buffer, _ in chunks]
    assert buffers == [buffers[0], buffers[1]] * 2
    assert buffers[0] != buffers[1]


# ---- Ctrl-C --------------------------------------------------------------------------------------------------------

#: Settings, the most steps of a launch, whether samples fit on the device, the launch of the fused kernel or the window
#: in which Ctrl-C comes, and how many steps are taken.
INTERRUPTED = {
    "in a launch of two steps": ({}, 2, True, 1, 2), "in a launch of an epoch, before others": ({}, 4096, True, 1, 4),
    "in a step by layers, which is taken": ({"dropout": 0.3}, 4096, True, 3, 3),
    "in a step of two chunks, which is not": ({"dropout": 0.3}, 4096, False, 4, 1)}


@pytest.mark.parametrize(("settings", "most", "fits", "number", "taken"), INTERRUPTED.values(), ids=INTERRUPTED)
def test_ctrl_c_leaves_whole_steps_that_are_counted(settings, most, fits, number, taken, monkeypatch, request):
    """Steps that were launched are taken, and nothing after them; the state is that of a training of so many steps."""
    monkeypatch.setattr(Pace, "next_slice", lambda pace, threads: (1, 10**6))
    if not fits:
        request.getfixturevalue("chunks")
    X, d, _ = drawn(n=16)
    net, expected, calls = network(), network(backend="loops"), []

    def interrupted(function):
        def call(*of):
            calls.append(function)
            if len(calls) == number:
                signal.raise_signal(signal.SIGINT)
            return function(*of)

        return call

    where = (propagation.Propagation, "run") if settings else (fused.FusedSteps, "_launch")
    fit = {"optimizer": Adam(0.05), "batch_size": 4, "shuffle": False, "seed": 3} | settings
    with monkeypatch.context() as patched:
        patched.setattr(training, "MAX_STEPS", most)
        patched.setattr(*where, interrupted(getattr(*where)))
        patched.setattr(graphs, "captured", lambda *of: None)  # so that each step is launched
        with pytest.warns(RuntimeWarning, match=f"training was interrupted in epoch {taken // 4}"):
            history = net.fit(X, d, epochs=4, **fit)
    assert history.samples == 4 * taken
    assert not on_host(net.grad).any()
    state = expected.fit(X[: 4 * taken], d[: 4 * taken], epochs=1, **fit).optimizer_state
    assert history.optimizer_state.updates[0] == state.updates[0] == taken
    assert_close(history.optimizer_state.averages, state.averages, 1e-12)
    assert_close(net.theta_on_host(), expected.theta_on_host(), 1e-12)


# ---- what a tile has no sample for ---------------------------------------------------------------------------------

def test_a_formula_that_is_infinite_at_0_is_not_asked_there(fused_steps):
    """Tiles have room for more samples than batches; biases are 0, so that inputs of 0 would be sums of 0."""
    root = fastbp.Activation("root", lambda a: np.sqrt(abs(a)), lambda a, h: np.sign(a) / (2 * h), initializer="glorot")
    X, d, _ = drawn(n=5)
    nets = [network(activation=root, backend=name) for name in ("cuda", "loops")]
    for net in nets:
        for b in net.biases:
            b[:] = np.zeros(b.shape)
        net.fit(X, d, optimizer=SGD(0.01), epochs=1, batch_size=5, shuffle=False)
    assert fused_steps == [1]
    assert_close(nets[0].theta_on_host(), nets[1].theta, 1e-12)


def test_arrays_of_another_gpu_are_refused(monkeypatch):
    X, d, _ = drawn()
    net, there = network(), memory.there(X)
    before = net.theta_on_host().copy()
    monkeypatch.setattr(memory, "gpus_of", lambda array: (0, 1))
    with pytest.raises(ValueError, match=r"^X: expected an array on GPU 0, which is in use, found one on GPU 1$"):
        net.accumulate_gradient(there, d)
    assert np.array_equal(net.theta_on_host(), before)


def read_only(X):
    X = X.copy()
    X.flags.writeable = False
    return X


@pytest.mark.parametrize("fits", [True, False])
@pytest.mark.parametrize("form", [np.asfortranarray, lambda X: np.repeat(X, 2, axis=0)[::2], read_only, "memory-mapped",
                                  np.float32, np.ndarray.tolist])
def test_arrays_of_any_form(form, fits, tmp_path, request):
    if not fits:
        request.getfixturevalue("chunks")
    X, d, weight = (np.round(array) for array in drawn(n=5))
    if form == "memory-mapped":
        X.tofile(tmp_path / "X")
        given = np.memmap(tmp_path / "X", X.dtype, "r", shape=X.shape)
    else:
        given = form(X)
    net, other = network(), network(backend="loops")
    assert_same_results(net, other, given, d, weight)
    for each in (net, other):
        each.fit(given, d, sample_weight=weight, epochs=1, batch_size=2, seed=0)
    assert_close(net.theta, other.theta, 1e-12)
    assert np.array_equal(given, X)


# ---- where it does not go ------------------------------------------------------------------------------------------

def test_fit_many_and_compiled_code_are_for_the_processor():
    X, d, _ = drawn()
    nets = [network(backend="tiled"), network()]
    before = [net.theta_on_host().copy() for net in nets]
    with pytest.raises(ValueError, match=r"^nets\[1\]: expected a backend that runs on the processor, found 'cuda'; "
                                         r"train it with fit$"):
        fit_many(nets, X, d)
    for net, theta in zip(nets, before, strict=True):
        assert np.array_equal(net.theta_on_host(), theta)
    with pytest.raises(ValueError, match=r"^layout: expected the layout of a network with backend='tiled'"):
        jit.workspace(nets[1].layout)


def test_views_write_to_theta_and_grad():
    net = network((3, 2))
    net.weights[0][:] = np.arange(6).reshape(2, 3)
    net.biases[0][:] = [6, 7]
    assert net.theta_on_host().tolist() == [*range(8)]
    net.accumulate_gradient(*drawn((3, 2))[:2])
    W, b = on_host(net.weight_gradients[0]), on_host(net.bias_gradients[0])
    assert np.array_equal(np.concatenate([W.ravel(), b]), on_host(net.grad))
    twin = copy.deepcopy(net)
    net.zero_grad()
    assert not on_host(net.grad).any()
    assert on_host(twin.grad).any()
    with pytest.raises(AttributeError, match=r"^theta cannot be replaced"):
        net.theta = np.zeros(8)
