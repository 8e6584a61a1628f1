"""Ctrl-C at random moments: is it heard, once, soon, and is the process as good as before?

    python tests/interrupting.py 200              # tries; --seed repeats a run, --kinds and --cold choose some

Each try starts a process that imports fastbp, compiles and trains, and sends it SIGINT at a random moment: sometimes to
its whole group, as a terminal does, and sometimes again and again. The process says how it ended. Then it makes the
same call again, to the end, and the bits have to be those of a process that nobody interrupted. Times are printed and
not judged. The exit status is 1 if anything else went wrong. POSIX only.
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

KINDS = ("fit", "fit_many", "stream", "estimator", "partial_fit", "custom")

#: Seconds until the latest interrupt, with and without kernels in the cache.
WARM, COLD = 4.0, 16.0


def data():
    import numpy as np

    X = np.random.default_rng(0).normal(size=(120, 4)).astype("f")
    return X, np.arange(120) % 3


def called(kind, backend, epochs):
    """The networks and histories of a training of a kind; of an estimator the history is a list of losses."""
    import fastbp

    X, d = data()
    if kind in ("estimator", "partial_fit"):
        from fastbp.sklearn import MLPClassifier
        model = MLPClassifier((8,), max_iter=epochs, n_iter_no_change=epochs, backend=backend, random_state=0)
        SEEN.append(model)
        if kind == "estimator":
            model.fit(X, d)
        else:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                for _ in range(epochs):  # it returns after Ctrl-C, with a warning, as scikit-learn's
                    model.partial_fit(X, d, classes=[0, 1, 2])
                    if any("interrupted by user" in str(warning.message) for warning in caught):
                        break
        return [model.net_], [model.loss_curve_]
    activation = "relu" if kind != "custom" else fastbp.Activation(
        "bent", lambda a: a / (1.0 + abs(a)), lambda a, h: 1.0 / (1.0 + abs(a)) ** 2)
    nets = [fastbp.MLP([4, 8, 3], activation=activation, seed=seed, backend=backend)
            for seed in range(4 if kind == "fit_many" else 1)]
    SEEN.extend(nets)
    settings = {"epochs": epochs, "batch_size": 10, "optimizer": fastbp.Adam()}
    if kind == "fit_many":
        return nets, fastbp.fit_many(nets, X, d, **settings)
    if kind == "stream":
        return nets, [nets[0].fit([(X[:50], d[:50]), (X[50:], d[50:])], **settings)]
    return nets, [nets[0].fit(X, d, **settings)]


SEEN = []


def digest(nets):
    return [net.theta.tobytes().hex()[:64] for net in nets]


def child(kind, backend):
    """What runs in the process that is interrupted; it talks to the other one in lines."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    times, heard, faults = {"begin": time.monotonic()}, [], []
    print("ready", flush=True)
    histories, waits = [], True
    try:
        try:
            warnings.simplefilter("ignore")
            import fastbp
            from fastbp.training.session import Session
            times["imported"] = time.monotonic()
            advance = Session.advance_on

            def noted(self, count, work, until):
                status = advance(self, count, work, until)
                if until:
                    times.setdefault("trained", time.monotonic())
                return status

            Session.advance_on = noted
            _, histories = called(kind, backend, 10**7)
            heard.append("returned")  # nothing else ends so many epochs
        except KeyboardInterrupt:
            heard.append("raised")
        times["end"] = time.monotonic()
    except KeyboardInterrupt:
        heard.append("late")
    while waits:
        try:
            sys.stdin.readline()  # until the other process has sent all
            waits = False
        except KeyboardInterrupt:
            heard.append("late")
    times.setdefault("end", time.monotonic())
    import fastbp
    for seen in SEEN:
        net = seen if isinstance(seen, fastbp.MLP) else getattr(seen, "net_", None)
        if net is not None and not abs(net.theta).max() < float("inf"):
            faults.append("a network is not finite")
    for history in histories:
        losses = history if isinstance(history, list) else history.records.get("loss", [])
        if kind in ("fit", "stream", "fit_many"):
            if len(losses) != history.epochs or history.stop_reason != "interrupted":
                faults.append(f"the history says {history!r}")
            if len({len(values) for values in history.records.values()}) > 1:
                faults.append("records are not equally long")
    SEEN.clear()
    nets, again = called(kind, backend, 5)
    for history, before in zip(again, histories, strict=False):
        new, old = (h if isinstance(h, list) else h.records.get("loss", []) for h in (history, before))
        if old[:5] != new[: len(old[:5])]:
            faults.append(f"the history was {old[:5]}, and is {new[:5]}")
    print(json.dumps({"heard": heard, "times": times, "faults": faults, "digest": digest(nets)}), flush=True)


def environment_with(cache):
    """The environment of a process with a kernel cache of its own, or this one's where it is None."""
    own = {} if cache is None else {"NUMBA_CACHE_DIR": str(cache)}
    return os.environ | own | {"PYTHONPATH": str(Path(__file__).parents[1])}


def one(kind, backend, cache, delay, presses=1, group=False):
    """What a process reports that is interrupted after a delay."""
    with subprocess.Popen([sys.executable, __file__, "--child", kind, "--backend", backend], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          env=environment_with(cache), start_new_session=True) as process:
        try:
            assert process.stdout.readline() == "ready\n"
            time.sleep(delay)
            sent = time.monotonic()
            for press in range(presses):
                with contextlib.suppress(ProcessLookupError):
                    (os.killpg if group else os.kill)(process.pid, signal.SIGINT)
                if press + 1 < presses:
                    time.sleep(0.03)
            output, errors = process.communicate("sent\n", timeout=300)
        except subprocess.TimeoutExpired:
            process.kill()
            return {"faults": ["lost, or hangs: it did not end in 300 s"], "heard": [], "sent": sent}
        except BaseException:
            process.kill()
            raise
    try:
        report = json.loads(output.splitlines()[-1])
    except (IndexError, ValueError):
        return {"faults": [f"no report; exit status {process.returncode}", errors[-2000:]], "heard": [], "sent": sent}
    return report | {"sent": sent, "errors": errors[-1000:]}


def reference(kind, backend, cache):
    """The digest of a process that nobody interrupts."""
    program = (f"import json, sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import interrupting as i; "
               f"print(json.dumps(i.digest(i.called({kind!r}, {backend!r}, 5)[0])))")
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], env=environment_with(cache),
                          capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def judged(report, expected, presses):
    """The phase in which it was interrupted, the seconds until it returned, and what went wrong."""
    faults, heard, times, sent = list(report["faults"]), report["heard"], report.get("times"), report["sent"]
    if times is None:
        return "?", None, faults
    if presses == 1 and len(heard) != 1:
        faults.append(f"heard {len(heard)} times: {heard}")
    if not heard:
        faults.append("lost")
    if report["digest"] != expected:
        faults.append("the same call has other bits afterwards")
    phase = ("importing" if sent < times.get("imported", sent + 1) else
             "compiling" if sent < times.get("trained", sent + 1) else "training")
    return phase, times["end"] - sent, faults


def distribution(seconds):
    ordered = sorted(seconds)
    median, high = ordered[len(ordered) // 2], ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
    return f"{len(ordered)} tries, median {median:.3f} s, 95 % {high:.3f} s, worst {ordered[-1]:.3f} s"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tries", type=int, nargs="?", default=20)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--cold", type=float, default=0.3, help="the share of tries with an empty kernel cache")
    parser.add_argument("--backend", default="tiled")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child, options.backend)
        return
    if os.name != "posix":
        sys.exit("tests/interrupting.py sends SIGINT to other processes, which needs POSIX")
    print(f"seed {options.seed}", flush=True)
    draw, kinds = random.Random(options.seed), options.kinds.split(",")
    seconds, failed = {}, 0
    with tempfile.TemporaryDirectory() as folder:
        warm = Path(folder, "warm")
        expected = {kind: reference(kind, options.backend, warm) for kind in kinds}
        for number in range(options.tries):
            kind, is_cold = draw.choice(kinds), draw.random() < options.cold
            delay, presses = draw.uniform(0.0, COLD if is_cold else WARM), draw.choice([1, 1, 1, 5])
            group = draw.random() < 0.5
            cache = Path(folder, "cold") if is_cold else warm
            report = one(kind, options.backend, cache, delay, presses, group)
            shutil.rmtree(Path(folder, "cold"), ignore_errors=True)
            phase, took, faults = judged(report, expected[kind], presses)
            if took is not None:
                seconds.setdefault(phase, []).append(took)
            failed += bool(faults)
            print(f"{number}: {kind}, {'empty' if is_cold else 'warm'} cache, {presses} after {delay:.3f} s, {phase}, "
                  f"{'?' if took is None else f'{took:.3f} s'}, {report['heard']}", *faults, flush=True)
            if faults:
                print(report.get("errors", ""), flush=True)
    for phase, values in seconds.items():
        print(f"{phase}: {distribution(values)}")
    print(f"{failed} of {options.tries} failed")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
