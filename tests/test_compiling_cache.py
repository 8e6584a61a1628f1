"""What fastbp takes for granted of Numba where it caches kernels and looks into them; see `test_compiling.py`."""

import json
import threading
from pathlib import Path

import llvmlite.binding
import numba
import numpy as np
import pytest
from compiled import VERSIONS, llvm_of, run, version_of
from numba.core.compiler_lock import global_compiler_lock

from fastbp.compiling import cache, decorators, inspection, origins, processor, threading_layers
from fastbp.compiling.identity import identity

# ---- cache.py ------------------------------------------------------------------------------------------------------

CACHED = """
import numpy as np
from fastbp.compiling import cache
from fastbp.compiling.addresses import address_of, is_cached, _KEPT
from fastbp.compiling.decorators import formula, kernel

def closure(g):
    return kernel(lambda a: g(a[0]), name="closure_over_a_formula")

one = closure(formula(lambda x: x + 1.0))
assert one(np.ones(1)) == 2.0
print(sum(one.stats.cache_hits.values()), sum(one.stats.cache_misses.values()))

def made():
    return (lambda n: None), (__import__("numba").types.int64,)
before = is_cached(made)
address_of(made)
print(_KEPT[-1]._cache_hits, before, is_cached(made))
print(*sorted(path.name for path in cache.cache_folder().iterdir()))
"""


def test_kernels_are_cached_by_name_and_identity(tmp_path):
    def cached(**environment):
        status, printed, errors = run(CACHED, NUMBA_CACHE_DIR=str(tmp_path), **environment)
        assert status == 0, f"the kernel cache: {errors} ({VERSIONS})"
        kernel, by_address, files = printed.splitlines()
        assert [name.partition(".")[0] for name in files.split()] == ["closure_over_a_formula", "made"], (
            f"the kernel cache: files are not named after kernels, but {files} ({VERSIONS})")
        return kernel, by_address

    assert cached() == ("0 1", "0 False True"), f"`NullCache`: Numba does not use what it is derived from ({VERSIONS})"
    folders = list((tmp_path / "fastbp").glob("*"))
    assert [folder.name for folder in folders] == [identity().name]
    other = cached(NUMBA_LOOP_VECTORIZE="0", NUMBA_CACHE_LOCATOR_CLASSES="InTreeCacheLocator")
    assert other == ("0 1", "0 False True"), (
        f"`numba.config`: kernels are found that were compiled with other settings ({VERSIONS})")
    assert cached() == ("1 0", "1 True True"), (
        f"`str` of types: another process does not find a kernel, a closure over a compiled function ({VERSIONS})")


LARGE = np.zeros(2**18)


def test_addresses_of_this_process_are_not_cached(tmp_path):
    """A large array in the code of a kernel is such an address."""
    compiled = decorators.kernel(lambda place: LARGE[place], name="over_a_large_array")
    compiled._cache = cache.KernelCache(compiled.py_func, tmp_path)
    assert compiled(1) == 0.0
    assert version_of(compiled).library.has_dynamic_globals, (
        f"`has_dynamic_globals`: a large array is none ({VERSIONS})")
    assert not list(tmp_path.iterdir())


def test_numba_has_a_place_for_a_cache():
    """On Windows; what it makes of the variables of other systems is not used."""
    folder = cache.AppDirs("fastbp", appauthor=False).user_cache_dir
    assert Path(folder).name.lower() in {"fastbp", "cache"}, f"`AppDirs`: found {folder} ({VERSIONS})"


COMPILES = {"a kernel": "fastbp.MLP([1, 2], backend='loops').forward(np.zeros((1, 1)))",
            "by address": "fastbp.MLP([1, 2]).fit(np.zeros((1, 1)), np.zeros(1, int), epochs=1)",
            "jit": "fastbp.jit.workspace",
            "an activation": "fastbp.Activation('own', lambda a: a, lambda a, h: 1.0)",
            "a loss": "fastbp.Loss('own', lambda y, d: y - d, lambda y, d: 1.0)",
            "a step": "fastbp.SGD(0.1).step(np.ones(1), np.ones(1), fastbp.SGD(0.1).start(np.ones(1)))"}


def test_numba_that_must_not_compile():
    """Whatever compiles says so; what does not, works."""
    script = f"""
import numpy as np, fastbp
from fastbp.__main__ import main
for compiles in {list(COMPILES.values())}:
    try:
        eval(compiles)
    except RuntimeError as error:
        print(error)
assert main(["doctor", "--json"]) == 0
"""
    status, printed, errors = run(script, NUMBA_DISABLE_JIT="1")
    assert status == 0, f"`config.DISABLE_JIT`: {errors} ({VERSIONS})"
    *sentences, found = printed.split("\n", len(COMPILES))
    assert len(sentences) == len(COMPILES)
    assert all(sentence.startswith("NUMBA_DISABLE_JIT is set, and fastbp's kernels cannot") for sentence in sentences)
    assert sentences[0] in json.loads(found)["threading layer"]


# ---- inspection.py -------------------------------------------------------------------------------------------------

TUPLE = (1.0, 2.0, 3.0)


@decorators.formula
def guarded(x):
    if x > 1e3:
        raise ValueError
    return x


@decorators.formula
def recursive(x):
    return 1.0 if x < 2.0 else recursive(x - 1.0) + recursive(x - 2.0)


@decorators.formula
def recursive_guarded(x):
    if x > 1e3:
        raise ValueError
    return 1.0 if x < 2.0 else recursive_guarded(x - 1.0) + recursive_guarded(x - 2.0)


def over_a_tuple(x):
    total = 0.0
    for one in TUPLE:
        total += x * one
    return total


@pytest.mark.parametrize(("function", "expected"), [
    (lambda x: x / (x + 1.0), False), (over_a_tuple, False), (lambda x: recursive(x), False),
    (lambda x: guarded(x), True), (lambda x: guarded(x) if x > 20.0 else x, True),
    (lambda x: recursive_guarded(x), True), (lambda x: TUPLE[int(x)], True)])
def test_what_may_raise_is_seen(function, expected):
    compiled = decorators.formula(function)
    compiled(0.5)
    assert inspection.may_raise(compiled) == expected, (
        f"`library.get_llvm_str` and `fndesc.llvm_func_name`: expected {expected} of whether a function may return a "
        f"status other than 0 ({VERSIONS})")


def test_the_function_looked_into_returns_a_status():
    """Not the number: a formula that always gives 1.5 does not raise."""
    compiled = decorators.formula(lambda x: x - x + 1.5)
    assert compiled(2.0) == 1.5
    assert not inspection.may_raise(compiled)
    module = llvmlite.binding.parse_assembly(llvm_of(compiled))
    text = str(module.get_function(version_of(compiled).fndesc.llvm_func_name))
    assert "ret i32 0" in text, f"`fndesc.llvm_func_name`: the native function returns no status ({VERSIONS})"


@pytest.mark.parametrize(("code", "expected"), [
    ("ret i32 0", False), ("ret i32 1", True),
    ("%s = call i32 @other()\n  ret i32 %s", True),  # where it comes from cannot be seen
    ("%s = call i32 @zero()\n  ret i32 %s", False), ("%s = call i32 @one()\n  ret i32 %s", True),
    ("%s = select i1 %c, i32 0, i32 -2\n  ret i32 %s", True),
    ("%s = select i1 %c, i32 0, i32 0\n  ret i32 %s", False),
    ("br i1 %c, label %a, label %b\na:\n  br label %b\nb:\n  %s = phi i32 [0, %0], [3, %a]\n  ret i32 %s", True)])
def test_a_status_is_traced_through_llvm_code(code, expected):
    module = llvmlite.binding.parse_assembly(f"""
declare i32 @other()
define i32 @zero() {{
  ret i32 0
}}
define i32 @one() {{
  ret i32 1
}}
define i32 @f(i1 %c) {{
  {code}
}}""")
    assert inspection._may_fail(module, "f", set()) == expected, f"`operands` of an instruction ({VERSIONS})"


def test_parts_of_kernels_are_told_from_functions_for_python():
    assert inspection.runs_from_python(guarded)
    assert not inspection.runs_from_python(decorators.subkernel(lambda x: x)), (
        f"`targetoptions`: it lacks the options of the decorator ({VERSIONS})")


# ---- origins.py ----------------------------------------------------------------------------------------------------

ARRAY, PAIR = np.zeros(3), (np.zeros(3), np.zeros(3))


@numba.njit
def handed(a, b):
    return target_of_calls(a, b)


def calls():
    local = np.ones(3)
    return {
        "a global": (lambda b: target_of_calls(ARRAY, b), {"a": "the global 'ARRAY'"}),
        "an enclosing function's": (lambda b: target_of_calls(b, local), {"b": "'local' of an enclosing function"}),
        "a view": (lambda b: target_of_calls(ARRAY[1:].reshape(-1), b), {"a": "the global 'ARRAY'"}),
        "of a tuple": (lambda b: target_of_calls(PAIR[0], b=b), {"a": "the global 'PAIR'"}),
        "of starred arguments": (lambda b: target_of_calls(*PAIR), dict.fromkeys("ab", "the global 'PAIR'")),
        "handed on": (lambda b: handed(ARRAY, b), {"a": "the global 'ARRAY'"}),
        "a copy": (lambda b: target_of_calls(ARRAY.copy(), b), {}),
        "an argument": (lambda b: target_of_calls(b, b), {}),
    }


FOUND = {}


def note(call, caller, function):
    FOUND.update(origins.constant_arguments(call, caller, function, {"a", "b"}))
    return False


def target(a, b):
    return a[0] + b[0]


target_of_calls = numba.njit(inline=note)(target)


@pytest.mark.parametrize("kind", calls())
def test_where_an_argument_comes_from(kind):
    """By Numba's IR of the callers, its definitions, and the functions that are being compiled."""
    function, expected = calls()[kind]
    FOUND.clear()
    handed.recompile() if handed.signatures else None
    numba.njit(function)(np.zeros(3))
    assert expected == FOUND, (
        f"`ir`, `ir_utils` or `callstack`: {kind} argument is not found where it comes from ({VERSIONS})")


# ---- processor.py and threading_layers.py --------------------------------------------------------------------------

def test_the_processors_instruction_sets(monkeypatch):
    known = llvmlite.binding.get_host_cpu_features()
    assert processor.target_features() >= {name for name, has in known.items()
                                           if has and (numba.config.ENABLE_AVX or not name.startswith("avx"))}, (
        f"`get_host_cpu_features`: instruction sets are missing ({VERSIONS})")
    monkeypatch.setattr(numba.config, "CPU_FEATURES", "+sse2,-avx,+neon")
    assert processor.target_features() == {"sse2", "neon"}, f"`config.CPU_FEATURES` is not read ({VERSIONS})"


def test_instruction_sets_that_are_set_from_outside():
    status, printed, errors = run("from fastbp.compiling.processor import target_features; print(*target_features())",
                                  NUMBA_CPU_NAME="generic", NUMBA_CPU_FEATURES="+sse2,-avx2")
    assert (status, printed) == (0, "sse2"), f"NUMBA_CPU_FEATURES is not `config.CPU_FEATURES` ({VERSIONS})\n{errors}"


def test_the_mask_is_that_of_numba():
    layer = threading_layers.threading_layer()
    assert layer == numba.threading_layer()
    before = numba.get_num_threads()
    try:
        threading_layers.set_mask(1)
        assert numba.get_num_threads() == 1, f"`_set_num_threads` sets no mask ({VERSIONS})"
        numba.set_num_threads(before)
        assert threading_layers.get_mask() == before, f"`_get_num_threads` does not give the mask ({VERSIONS})"
    finally:
        numba.set_num_threads(before)


LOCKS = {"numba.core.compiler_lock.global_compiler_lock": global_compiler_lock,
         "llvmlite.binding.ffi.lib._lock": llvmlite.binding.ffi.lib._lock}


@pytest.mark.parametrize("lock", LOCKS)
def test_a_fork_holds_the_compilers_locks(lock):
    """Numba's own, and that of llvmlite."""
    held, entered, left = LOCKS[lock], threading.Event(), threading.Event()

    def enter():
        with held:
            entered.set()
        left.set()

    threading_layers.hold_compiler_locks()
    try:
        other = threading.Thread(target=enter, daemon=True)
        other.start()
        assert not entered.wait(0.1), f"`{lock}` is not held while the process forks ({VERSIONS})"
    finally:
        threading_layers.release_compiler_locks()
    assert left.wait(10), f"`{lock}` is not released after a fork ({VERSIONS})"
    other.join()
