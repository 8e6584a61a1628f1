"""Random calls of networks, optimizers, schedules, callbacks and histories."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import fastbp
from fastbp import schedules
from fastbp.backends.contract import NoGpuError

from . import values
from .kind import Wrong, outcome_of
from .values import one_of

#: Networks: widths, activation, loss.
NETWORKS = [((3, 4, 2), "tanh", "softmax_cross_entropy"), ((3, 2), "relu", "squared_error"),
            ((2, 5, 3, 1), "tanh", "huber"), ((3, 4, 1), "relu", "binary_cross_entropy"), ((3, 2), "tanh", "poisson")]

#: Arguments of which a large number asks for a training that takes as long.
LASTING = {"epochs", "nets", "widths", "clip_count"}

#: What a maker of arguments takes: a generator and the network.
Make = Callable[[np.random.Generator, Any], Any]


#: Errors that are right of some calls, where NumPy's arrays and mappings of names raise their own.
ACCEPTED: dict[str, tuple[type[BaseException], ...]] = {
    "History[…]": (KeyError, TypeError, ValueError), "fit a stream": (MemoryError, OSError),
    "standardize by X": (MemoryError, OSError), "standardize": (MemoryError, OSError),
    "fit": (MemoryError, FileNotFoundError),  # a name may be that of a file
    "fit_many": (MemoryError, NotImplementedError),  # of what gives other networks
    "save and load": (MemoryError, NoGpuError), "MLP": (MemoryError, NoGpuError),
    "weights": (IndexError, ValueError, TypeError, OverflowError)}


#: Calls of which a part may be done before an error is found.
CHANGES = {"fit a stream", "save and load"}


class Call(NamedTuple):
    """A public call: `make` gives what is called, for a network; arguments have makers of good values."""

    name: str
    make: Callable[[Any], Callable[..., Any]]
    arguments: dict[str, Make]
    needed: tuple[str, ...] = ()  # the others are left out as often as they are given


class Case(NamedTuple):
    """A call with its arguments."""

    call: Call
    net: Any
    arguments: dict[str, Any]

    def __str__(self) -> str:
        given = ", ".join(f"{name}={_text(value)}" for name, value in self.arguments.items())
        return f"{self.call.name}({given}) of {self.net!r}"


def _text(value: Any) -> str:
    """A value in at most 200 characters, with the type of what is no plain one."""
    try:
        text = f"{value!r:.160}"
    except Exception as error:
        text = f"{type(error).__name__} when it is shown"
    about = f" {value.dtype} {value.shape}" if isinstance(value, np.ndarray) else ""
    return f"<{type(value).__name__}{about} {text}>" if not isinstance(value, int | float | str | None) else text


def good_X(rng: np.random.Generator, net: Any) -> Any:
    X = rng.normal(size=(int(rng.integers(1, 9)), net.widths[0]))
    return values.lying(rng, X.astype(one_of(rng, ["f4", "f8", "f4", "i4", "?", "u1", "f2"])))


def _targets(rng: np.random.Generator, net: Any, n: int) -> Any:
    kind, outputs = net.loss_record.targets, net.widths[-1]
    if kind == "classes":
        return rng.integers(0, outputs, n)
    d = rng.normal(size=(n, outputs)) if kind == "values" else rng.integers(0, 2, (n, outputs)).astype(float)
    return d[:, 0] if outputs == 1 and rng.random() < 0.5 else d


def _rows(X: Any) -> int:
    return int(np.shape(X)[0]) if np.ndim(X) else 1


def good_flag(rng: np.random.Generator, net: Any) -> bool:
    return bool(rng.integers(2))


def number(low: float, high: float) -> Make:
    return lambda rng, net: float(rng.uniform(low, high))


def whole(low: int, high: int) -> Make:
    return lambda rng, net: int(rng.integers(low, high + 1))


def good_schedule(rng: np.random.Generator, net: Any) -> Any:
    plain = one_of(rng, [schedules.Constant(0.1), schedules.Step(0.1, 3), schedules.Cosine(0.1, 10),
                         schedules.InverseScaling(0.1)])
    return one_of(rng, [0.01, 0.1, 0, plain, schedules.WarmUp(plain, 3)])


def good_optimizer(rng: np.random.Generator, net: Any) -> Any:
    return one_of(rng, [fastbp.SGD(0.1), fastbp.SGD(0.01, momentum=0.9, nesterov=True), fastbp.Adam(0.01),
                        fastbp.AdamW(schedules.Cosine(0.1, 5)), fastbp.RMSprop(0.01, clip_norm=1.0), fastbp.Nadam(),
                        fastbp.Rprop(), fastbp.SGD(1e30), fastbp.Adam(1e300)])


def good_callbacks(rng: np.random.Generator, net: Any) -> Any:
    return one_of(rng, [[], (), [fastbp.EarlyStopping("loss", patience=1)], [lambda net, history: True],
                        [fastbp.EarlyStopping()], [lambda net, history: history.record("mine", 1.0)]])


def good_stream(rng: np.random.Generator, net: Any) -> Any:
    chunks = [(X := good_X(rng, net), _targets(rng, net, _rows(X))) for _ in range(int(rng.integers(1, 4)))]
    if rng.random() < 0.5:
        place = int(rng.integers(len(chunks)))
        chunks[place] = one_of(rng, [values.odd(rng), (values.odd(rng), chunks[place][1]), (chunks[place][0],
                                                                                            values.odd(rng)),
                                     (*chunks[place], values.odd(rng))])
    return one_of(rng, [chunks, tuple(chunks), lambda: chunks, lambda: iter(chunks), lambda: (c for c in chunks)])


_SAMPLES: dict[str, Make] = {"X": good_X, "d": lambda rng, net: None}
_WEIGHTED = _SAMPLES | {"sample_weight": lambda rng, net: None}
_MORE: dict[str, Make] = {
    "optimizer": good_optimizer, "epochs": whole(1, 2), "batch_size": whole(1, 9), "shuffle": good_flag,
    "replacement": lambda rng, net: bool(rng.random() < 0.2), "metrics": lambda rng, net: one_of(rng, [
        None, {"mean": lambda d, Y: Y.mean()}, {"bad": lambda d, Y: "x"}, {"loss": np.mean}, {}]),
    "callbacks": good_callbacks, "progress": lambda rng, net: one_of(rng, [None, False]), "seed": whole(0, 9),
    "clip_sample_norm": number(0.1, 2), "l2_penalty": number(0, 1), "weighted_mean": good_flag,
    "dropout": lambda rng, net: one_of(rng, [None, 0.5, [0.1] * (len(net.widths) - 2), 0.0]),
    "validation_data": lambda rng, net: (X := good_X(rng, net), _targets(rng, net, _rows(X))),
    "shuffle_buffer": whole(1, 30), "optimizer_state": lambda rng, net: good_optimizer(rng, net).start(net.theta)}


def _methods(*names: str) -> list[Call]:
    return [Call(name, lambda net, name=name: getattr(net, name), _WEIGHTED, ("X", "d")) for name in names]


def _history(net: Any) -> fastbp.History:
    history = fastbp.History()
    for value in (3.0, 2.0):
        history.record("loss", value)
    return history


CALLS = [
    Call("MLP", lambda net: fastbp.MLP, {
        "widths": lambda rng, net: net.widths, "activation": lambda rng, net: one_of(rng, ["tanh", "relu", ["tanh"]]),
        "output_activation": lambda rng, net: "identity", "loss": lambda rng, net: net.loss,
        "dtype": lambda rng, net: one_of(rng, ["float32", np.float64]), "seed": whole(0, 9),
        "backend": lambda rng, net: one_of(rng, ["loops", "auto"]), "initializer": lambda rng, net: "he"}, ("widths",)),
    Call("forward", lambda net: net.forward, {"X": good_X}, ("X",)),
    *_methods("loss_value", "evaluate", "input_gradient", "gradient_norms", "gradient_noise"),
    Call("accumulate_gradient", lambda net: net.accumulate_gradient, _WEIGHTED | {"clip_norm": number(0.1, 2)}, ("X",
                                                                                                                 "d")),
    Call("backward", lambda net: net.backward, {
        "X": good_X, "dE_dY": lambda rng, net: None, "input_gradient": good_flag}, ("X", "dE_dY")),
    Call("input_jacobian", lambda net: net.input_jacobian, {"X": good_X}, ("X",)),
    *[Call(name, lambda net, name=name: getattr(net, name), _WEIGHTED | {
        "v": lambda rng, net: rng.normal(size=net.theta.shape)}, ("X", "d", "v"))
      for name in ("hessian_vector", "gauss_newton_vector")],
    Call("fit by derivatives", lambda net: net.fit, _WEIGHTED | _MORE | {
        "derivatives": lambda rng, net: None, "derivative_weight": number(0, 2)}, ("X", "d", "epochs", "derivatives")),
    Call("fit by full batches", lambda net: net.fit, _WEIGHTED | {
        name: _MORE[name] for name in ("epochs", "metrics", "callbacks", "progress", "l2_penalty", "weighted_mean",
                                       "validation_data")} | {
        "optimizer": lambda rng, net: one_of(rng, [fastbp.LBFGS(), fastbp.LevenbergMarquardt(),
                                                   fastbp.LevenbergMarquardt(bayesian=True)])},
         ("X", "d", "epochs", "optimizer")),
    Call("LevenbergMarquardt", lambda net: fastbp.LevenbergMarquardt, {
        "mu": number(1e-9, 1), "mu_inc": number(1.1, 20), "mu_dec": number(0.01, 1), "mu_max": number(1, 1e9),
        "min_grad": number(0, 1), "max_fail": whole(1, 9), "bayesian": good_flag, "max_bytes": whole(1, 10**9)}),
    Call("LBFGS", lambda net: fastbp.LBFGS, {
        "corrections": whole(1, 20), "gtol": number(0, 1), "ftol": number(0, 1), "max_evaluations": whole(1, 99),
        "max_line_search": whole(1, 30)}),
    Call("step", lambda net: net.step, {"learning_rate": number(0, 1)}, ("learning_rate",)),
    Call("fit", lambda net: net.fit, _WEIGHTED | _MORE, ("X", "d", "epochs")),
    Call("fit a stream", lambda net: net.fit, {"X": good_stream} | _MORE, ("X", "epochs")),
    Call("fit_many", lambda net: lambda others, **given: fastbp.fit_many(
        [net, *others] if isinstance(others, list | tuple) else others, **given), _WEIGHTED | {
        name: _MORE[name] for name in ("optimizer", "epochs", "batch_size", "shuffle", "replacement", "progress",
                                       "clip_sample_norm", "dropout")} | {
        "seeds": lambda rng, net: one_of(rng, [None, [1, 2]]), "executor": lambda rng, net: None,
        "others": lambda rng, net: [fastbp.MLP(net.widths, loss=net.loss, dtype=net.dtype, backend="loops", seed=1)]},
         ("X", "d", "epochs", "others")),
    Call("standardize", lambda net: net.standardize, {
        "X": good_X, "mean": number(-1, 1), "scale": number(0.1, 2)}),
    Call("standardize by X", lambda net: net.standardize, {"X": lambda rng, net: one_of(rng, [good_X,
                                                                                              good_stream])(rng, net)},
         ("X",)),
    Call("weights", lambda net: lambda layer, values: net.weights.__setitem__(layer, values), {
        "layer": whole(-2, 2), "values": lambda rng, net: np.ones(net.weights[0].shape)}, ("layer", "values")),
    Call("save and load", lambda net: _save_and_load(net), {
        "metadata": lambda rng, net: {"a": [1, None]}, "backend": lambda rng, net: "loops", "seed": whole(0, 9)},
         ("metadata",)),
    Call("SGD", lambda net: fastbp.SGD, {"learning_rate": good_schedule, "momentum": number(0, 1),
                                         "nesterov": good_flag,
                                         "weight_decay": number(0, 1), "clip_norm": number(0.1, 1)}),
    Call("RMSprop", lambda net: fastbp.RMSprop, {"learning_rate": good_schedule, "decay": number(0, 0.9),
                                                 "epsilon": number(1e-9, 1)}),
    *[Call(kind.__name__, lambda net, kind=kind: kind, {
        "learning_rate": good_schedule, "beta1": number(0, 0.9), "beta2": number(0, 0.9), "epsilon": number(1e-9, 1),
        "weight_decay": number(0, 1)}) for kind in (fastbp.Adam, fastbp.AdamW, fastbp.Nadam)],
    Call("Rprop", lambda net: fastbp.Rprop, {
        "learning_rate": number(0, 1), "eta_minus": number(0.1, 0.9), "eta_plus": number(1.1, 2),
        "smallest_step": number(1e-9, 1e-3), "largest_step": number(1, 9)}),
    Call("Constant", lambda net: schedules.Constant, {"learning_rate": number(0, 1)}, ("learning_rate",)),
    Call("Step", lambda net: schedules.Step, {"learning_rate": number(0, 1), "every": whole(1, 9), "factor": number(0,
                                                                                                                    1)},
         ("learning_rate", "every")),
    Call("Cosine", lambda net: schedules.Cosine, {"learning_rate": number(0, 1), "updates": whole(1, 9),
                                                  "final": number(0, 1)}, ("learning_rate", "updates")),
    Call("InverseScaling", lambda net: schedules.InverseScaling, {"learning_rate": number(0, 1), "power": number(0, 2)},
         ("learning_rate",)),
    Call("WarmUp", lambda net: schedules.WarmUp, {"schedule": good_schedule, "updates": whole(1, 9)},
         ("schedule", "updates")),
    Call("value_at", lambda net: schedules.value_at, {"schedule": good_schedule, "t": whole(0, 99)}, ("schedule", "t")),
    *[Call(f"{type(kind).__name__}.step", lambda net, kind=kind: kind.step, {
        "theta": lambda rng, net: net.theta.copy(), "grad": lambda rng, net: net.theta.copy(),
        "state": lambda rng, net, kind=kind: kind.start(net.theta)}, ("theta", "grad", "state"))
      for kind in (fastbp.SGD(0.1), fastbp.Adam(), fastbp.Rprop())],
    Call("EarlyStopping", lambda net: fastbp.EarlyStopping, {
        "monitor": lambda rng, net: "loss", "mode": lambda rng, net: "min", "patience": whole(1, 9),
        "min_delta": number(0, 1), "restore_best": good_flag}),
    Call("History.record", lambda net: _history(net).record, {"name": lambda rng, net: "loss", "value": number(0, 1)},
         ("name", "value")),
    Call("History[…]", lambda net: lambda name: name in _history(net) and _history(net)[name], {
        "name": lambda rng, net: one_of(rng, ["loss", "x"])}, ("name",)),
    Call("HuberLoss", lambda net: fastbp.HuberLoss, {"delta": number(0.1, 2)}, ("delta",)),
    Call("QuantileLoss", lambda net: fastbp.QuantileLoss, {"quantile": number(0.1, 0.9)}, ("quantile",)),
    Call("set_num_threads", lambda net: fastbp.set_num_threads, {"n": whole(1, 2)}, ("n",)),
]


def _save_and_load(net: Any) -> Callable[..., Any]:
    def both(metadata: Any, **given: Any) -> Any:
        net.metadata = metadata
        with tempfile.TemporaryDirectory() as folder:
            net.save(Path(folder, "net.npz"))
            again = fastbp.load(Path(folder, "net.npz"), **given)
        if again.theta.tobytes() != net.theta.tobytes():
            raise Wrong("a loaded network has other parameters")
        return again
    return both


def _asks_after_training(arguments: dict[str, Any]) -> bool:
    """Whether metrics and callbacks, which are called between epochs, may raise an error."""
    return "metrics" in arguments or "callbacks" in arguments


def state_of(net: Any) -> tuple[Any, ...]:
    """What a refused call must leave as it was."""
    return (net.theta.tobytes(), net.grad.tobytes(), net.standardization and net.standardization.key,
            str(net._rng.bit_generator.state))


class Calls:
    """Public calls with good arguments, some of which are replaced by odd ones."""

    name, seconds = "calls", 200.0

    def prepare(self, folder: Path) -> None:
        for backend in ("loops", "auto"):
            self._network(0, "float32", backend).fit(np.ones((3, 3)), [0, 1, 0], epochs=1, progress=False)

    def _network(self, spec: int, dtype: str, backend: str) -> Any:
        widths, activation, loss = NETWORKS[spec]
        return fastbp.MLP(widths, activation=activation, loss=loss, dtype=dtype, backend=backend, seed=0)

    def case(self, rng: np.random.Generator) -> Case:
        # Kernels of `tiled` take long to compile, so that there are few kinds of its networks.
        net = (self._network(0, "float32", "auto") if rng.random() < 0.3 else
               self._network(int(rng.integers(len(NETWORKS))), one_of(rng, ["float32", "float64"]), "loops"))
        if rng.random() < 0.2:
            net.standardize(mean=0.5, scale=2.0)
        call = one_of(rng, CALLS)
        arguments = {name: make(rng, net) for name, make in call.arguments.items()
                     if name in call.needed or rng.random() < 0.3}
        if "d" in arguments:
            n = _rows(arguments["X"])
            arguments["d"] = _targets(rng, net, n)
            if rng.random() < 0.5:
                arguments["d"] = values.lying(rng, np.array(arguments["d"]))
            if "sample_weight" in arguments:
                arguments["sample_weight"] = rng.uniform(0, 2, n)
        for name, shape in (("dE_dY", net.widths[-1:]), ("derivatives", (net.widths[-1], net.widths[0]))):
            if name in arguments:
                arguments[name] = values.lying(rng, rng.normal(size=(_rows(arguments["X"]), *shape)))
        for name in list(arguments):
            if rng.random() < (0.0, 0.3, 0.6)[int(rng.integers(3))]:
                arguments[name] = self._odd(rng, name, arguments[name])
        return Case(call, net, arguments)

    def _odd(self, rng: np.random.Generator, name: str, good: Any) -> Any:
        """An odd value in place of a good one, that does not ask for a training without end."""
        found = values.odd(rng)
        if isinstance(good, np.ndarray) and rng.random() < 0.7:
            found = values.odd_array(rng, good.shape if rng.random() < 0.7 else good.shape[::-1])
        return good if name in LASTING and _is_large(found) else found

    def run(self, case: Case) -> str:
        call, net, arguments = case
        before = state_of(net)
        word = outcome_of(lambda: call.make(net)(**arguments), *ACCEPTED.get(call.name, (MemoryError,)))
        if word == "refused" and call.name not in CHANGES and not _asks_after_training(arguments) and \
                state_of(net) != before:
            raise Wrong(f"a refused call of {call.name} changed the network", f"{call.name} changed the network")
        if call.name != "weights" and not np.isfinite(net.theta).all():
            raise Wrong("theta is not finite", f"{call.name} left theta not finite")
        return word


def _is_large(value: Any) -> bool:
    """Whether a number, or one in a collection, is more than a few, or cannot be compared."""
    if isinstance(value, list | tuple | set | frozenset | dict | np.ndarray | range):
        return len(value) > 20 if isinstance(value, range) else any(map(_is_large, np.ravel(value).tolist()
                if isinstance(value, np.ndarray) else value))
    return isinstance(value, int | float | np.number) and not abs(value) < 20
