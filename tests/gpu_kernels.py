"""Compiles every kernel of the CUDA backend to PTX, where there is no GPU. Run by `test_cuda_kernels` in a process of
its own, because the simulator, in which other tests run, compiles nothing.

    python tests/gpu_kernels.py 7.0 float32        prints a line of JSON for each kernel: its name, and what is in it,
                                                   for that capability or the lowest that the toolkit still knows
    python tests/gpu_kernels.py 9.0 float32 -v     also what it takes of a multiprocessor, if ptxas is installed
    python tests/gpu_kernels.py 9.0 float32 few    some kernels of each kind
"""

import importlib.util
import json
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from numba import cuda, from_dtype, types
from numba.cuda import dispatcher
from numba.cuda.cudadrv import nvrtc

from fastbp.backends.gpu import fused, memory, panels, products, steps, updates
from fastbp.backends.gpu.shape import shape_of
from fastbp.functions.activations import ACTIVATIONS, BY_NAME
from fastbp.functions.losses import BY_NAME as LOSS
from fastbp.functions.losses import LOSSES
from fastbp.layout import make_layout
from fastbp.optimizers.rules import ADAM, DESCENT, MOMENTUM, RMSPROP, RULES

INTEGER, REAL = types.int64, types.float64


def vector(T):
    return types.Array(T, 1, "C")


def matrix(T):
    return types.Array(T, 2, "C")


ORDER, NUMBERS, CONTROL = vector(INTEGER), vector(REAL), vector(REAL)


def kernels(dtype, few):
    """(name, kernel, types of its arguments) of all kernels for a dtype, or of few."""
    T = from_dtype(dtype)
    V, M, i = vector(T), matrix(T), INTEGER
    for block in (products.LARGE,) if few else (products.SMALL, products.LARGE):
        for activation in (BY_NAME["relu"], BY_NAME["gelu"]) if few else ACTIVATIONS:
            yield (f"forward {activation.name}", products.forward_product(dtype, block, activation),
                   (V, M, M, i, i, i, i, i, i, i))
        for by_quads in (False, True)[few:]:
            name = f" {block.threads}{' by quads' * by_quads}"
            yield f"backward{name}", products.backward_product(dtype, block, by_quads), (V, M, i, i, i, i, i, i)
            for is_forward in (True, False)[: 1 if few else 2]:
                yield (f"{'forward' if is_forward else 'backward'} slices{name}",
                       products.split_product(dtype, block, is_forward, by_quads), (V, M, V, i, i, i, i, i, i, i))
            yield (f"forward relu{name}", products.forward_product(dtype, block, BY_NAME["relu"], by_quads),
                   (V, M, M, i, i, i, i, i, i, i))
        yield (f"gradient product {block.threads}", products.gradient_product(dtype, block),
               (M, M, M, i, i, i, i, i, i, i, i))
    yield "join_forward gelu", products.join_forward(dtype, BY_NAME["gelu"]), (V, i, V, M, M, i, i, i)
    yield "join_backward", products.join_backward, (V, i, M, i, i)
    yield "gather", panels.gather(dtype), (M, ORDER, i, i, NUMBERS, M)
    for activation, loss in [(BY_NAME["softmax"], LOSSES[0]), (BY_NAME["softmax"], LOSSES[1]),
                             *((BY_NAME["identity"], loss) for loss in LOSSES)][:2 if few else None]:
        yield (f"outputs {activation.name} {loss.name}", panels.outputs(dtype, activation, loss),
               (M, M, i, i, ORDER, i, ORDER, i, i, NUMBERS, ORDER, M, V, M, M, M, M, NUMBERS, NUMBERS))
    yield "drop", panels.drop(dtype), (M, M, i, i, ORDER, i, i, NUMBERS, i, i, REAL)
    yield "start_at", panels.start_at, (REAL, NUMBERS)
    yield "start_steps", steps.start_steps, (CONTROL, vector(types.int32))
    yield "write_errors", panels.write_errors, (M, ORDER, i, i, M)
    yield "fill", panels.fill, (M, i, i, i, REAL)
    yield "gradient_norms", panels.gradient_norms(dtype), (M, M, ORDER, ORDER, ORDER, i, i, NUMBERS, REAL)
    yield "add_outcomes", panels.add_outcomes, (NUMBERS, NUMBERS, i, NUMBERS)
    yield "add_slices", panels.add_slices, (M, i, i, i, V)
    for rule in RULES:
        look, write = updates.update_kernels(dtype, rule)
        yield f"look {rule}", look, (V, V, M, matrix(REAL), CONTROL)
        yield f"write {rule}", write, (V, V, M, matrix(REAL), CONTROL, NUMBERS, matrix(REAL), i)
    parts = matrix(REAL)
    yield "set_weight", updates.set_weight, (REAL, NUMBERS, CONTROL)
    yield "sum_weights", updates.sum_weights, (V, ORDER, i, NUMBERS, CONTROL)
    yield "add_penalty", updates.add_penalty, (V, V, i, i, REAL, parts)
    yield "end_penalty", updates.end_penalty, (parts, REAL, CONTROL)
    yield "find_largest", updates.find_largest, (V, parts)
    yield "end_largest", updates.end_largest, (parts, CONTROL)
    yield "sum_squares", updates.sum_squares, (V, CONTROL, parts)
    yield "clip", updates.clip, (parts, REAL, CONTROL)
    for source in (types.float32, types.float64, types.int64, types.uint8, types.boolean):
        yield f"convert {source}", memory.convert, (types.Array(source, 2, "A"), M)
        yield f"convert_vector {source}", memory.convert_vector, (types.Array(source, 1, "A"), V)
        yield f"standardize {source}", memory.standardize, (types.Array(source, 2, "A"), NUMBERS, NUMBERS, M)
    yield "multiply_by_column", memory.multiply_by_column, (M, NUMBERS)
    yield "is_outside", memory.is_outside, (V, REAL, REAL, ORDER)
    yield "is_outside labels", memory.is_outside, (ORDER, i, i, ORDER)
    yield "row_sum_is_wrong", memory.row_sum_is_wrong, (M, ORDER)


#: Networks whose trainings are fused, where they fit: widths, activations, loss, batch, and the rule of the optimizer.
FUSED = [((32, 64, 64, 64, 64, 16), ("relu", "identity"), "squared_error", 2**14, MOMENTUM),
         ((784, 128, 10), ("tanh", "identity"), "softmax_cross_entropy", 512, DESCENT),
         ((30, 20, 3), ("gelu", "softmax"), "cross_entropy", 64, RMSPROP),
         ((8, 16, 4), ("silu", "identity"), "binary_cross_entropy", 1000, MOMENTUM),
         ((8, 1), ("identity",), "poisson", 2**14, ADAM)]


def fused_kernels(dtype, few):
    """The same of trainings in one launch, or of one."""
    T, i = from_dtype(dtype), INTEGER
    V, M, reals = vector(T), matrix(T), matrix(REAL)
    signature = (V, V, M, M, M, ORDER, M, V, ORDER, i, i, *[ORDER] * 5, reals, M, types.Array(T, 3, "C"),
                 reals, i, vector(types.int32), CONTROL, reals)
    for widths, names, loss, batch, rule in FUSED[3:4] if few else FUSED:
        layout = make_layout(widths)
        shape = shape_of(SimpleNamespace(widths=widths, units=layout.units.tolist(), size=layout.size,
                                         itemsize=dtype.itemsize), batch)
        if shape is None:
            continue
        different, _ = fused.numbered(tuple(BY_NAME[name] for name in names))
        yield (f"fused {'-'.join(map(str, widths))} {names[0]} tile {shape.tile}",
               fused.fused_steps(dtype, shape, different, BY_NAME[names[-1]], LOSS[loss], rule), signature)


def ptxas():
    """The assembler that comes with numba-cuda[cu12] or a toolkit; None where there is none."""
    of_packages = importlib.util.find_spec("nvidia")
    folders = list(of_packages.submodule_search_locations) if of_packages else []
    found = [path for folder in folders for path in Path(folder).glob("*/bin/ptxas")]
    return str(found[0]) if found else shutil.which("ptxas")


def resources(ptx, most_registers=None):
    """Registers, bytes of the stack of a thread, and bytes of shared memory, of the one kernel in it."""
    target = re.search(r"^\.target (\w+)", ptx, re.MULTILINE)[1]
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "kernel.ptx")
        source.write_text(ptx)
        bound = [f"-maxrregcount={most_registers}"] if most_registers else []
        command = [ptxas(), "-v", f"-arch={target}", *bound, str(source), "-o", str(source.with_suffix(".cubin"))]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    patterns = {"registers": r"Used (\d+) registers", "stack": r"(\d+) bytes stack frame",
                "shared": r"(\d+) bytes smem"}
    numbers = {name: re.search(pattern, told) for name, pattern in patterns.items()}
    return {name: int(number[1]) if number else 0 for name, number in numbers.items()}


def main(capability, dtype, few, assembled):
    # Functions that kernels call ask the GPU at hand for its capability, even where the kernel is told one.
    dispatcher.get_current_device = lambda: SimpleNamespace(compute_capability=capability)
    jobs = []
    with ThreadPoolExecutor(1) as beside:  # ptxas works on one kernel while the next is compiled
        for name, kernel, signature in [*kernels(dtype, few), *fused_kernels(dtype, few)]:
            ptx, _ = cuda.compile_ptx(kernel.py_func, signature, cc=capability, device=False)
            told = {
                "name": name, "target": re.search(r"^\.target (\w+)", ptx, re.MULTILINE)[1], "local": ".local" in ptx,
                "16-byte loads": len(re.findall(r"ld\.shared\.v4\.[fb]32|ld\.shared\.v2\.[fb]64", ptx)),
                "unresolved": ".extern .func" in ptx, "approximate division": "div.approx" in ptx or "div.full" in ptx,
                "float64": bool(re.search(r"\b(add|sub|mul|fma|div)\.\w*\.?f64", ptx))}
            most_registers = kernel.options.get("max_registers")
            jobs.append((told, beside.submit(resources, ptx, most_registers) if assembled else None))
        for told, job in jobs:
            print(json.dumps(told | (job.result() if job else {})))


if __name__ == "__main__":
    asked, dtype_name, *options = sys.argv[1:]
    known = max(tuple(map(int, asked.split("."))), nvrtc.get_lowest_supported_cc())
    main(known, np.dtype(dtype_name), "few" in options, "-v" in options and ptxas() is not None)
