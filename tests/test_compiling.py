"""What fastbp takes for granted of Numba and llvmlite beyond their documentation, each promise by itself.

When a new release fails here, the message says which promise it broke; `fastbp/compiling/README.md` says what for.
"""

import ast
import gc
import os
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import llvmlite.binding
import numba
import numpy as np
import pytest
from numba import types
from numba.core.compiler_lock import global_compiler_lock
from numba.core.errors import NumbaPerformanceWarning
from numba.core.registry import cpu_target

import fastbp
from fastbp.compiling import addresses, cache, decorators, inspection, origins, processor, threading_layers

PACKAGE = Path(fastbp.__file__).parent
VERSIONS = f"numba {numba.__version__}, llvmlite {llvmlite.__version__}"


def run(script, **environment):
    """What a program prints, in a process of its own, which a broken promise may end."""
    finished = subprocess.run([sys.executable, "-P", "-W", "error", "-c", script], capture_output=True, text=True,
                              env=os.environ | {"PYTHONPATH": str(PACKAGE.parent)} | environment)
    return finished.returncode, finished.stdout.strip(), finished.stderr


class Uncached(str):
    """A setting with which nothing is kept on disk: what comes from there cannot be looked into."""

    is_cached = False


def called_by_address(name, function, *arguments):
    """(LLVM's function, its module, the address) of what `address_of` makes of a function."""
    def made(_):
        return function, arguments

    address = addresses.address_of(made, Uncached(name))
    library = addresses._KEPT[-1]._library
    module = llvmlite.binding.parse_assembly(library.get_llvm_str())
    return module.get_function(addresses._KEPT[-1].native_name.removeprefix("cfunc.")), module, address


def version_of(compiled):
    """The only version of a function that was compiled so far."""
    (version,) = compiled.overloads.values()
    return version


def llvm_of(compiled):
    return version_of(compiled).library.get_llvm_str()


# ---- One folder ----------------------------------------------------------------------------------------------------

#: What Numba and llvmlite do not document: parts of their names, and attributes of what they compiled.
PRIVATE = {"core", "np", "misc", "parfors", "cuda", "ffi"}
ATTRIBUTES = {"overloads", "fndesc", "library", "targetoptions", "get_llvm_str", "call_conv", "callstack"}


def names_of(source):
    """The dotted names in a module: imported, written out, and given to import_module."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Attribute):
            yield ast.unparse(node)
        elif isinstance(node, ast.Call) and "import_module" in ast.unparse(node.func):
            yield from (argument.value for argument in node.args if isinstance(argument, ast.Constant))


def private_names(source):
    for name in names_of(source):
        first, *parts = name.split(".")
        if first in {"numba", "llvmlite"}:
            if parts[:2] != ["core", "errors"] and any(
                    part in PRIVATE or (part.startswith("_") and part != "__version__") for part in parts):
                yield name
        elif parts and parts[-1] in ATTRIBUTES:
            yield name


@pytest.mark.parametrize("source", [
    "from numba.core import ir", "import numba.np.ufunc", "from llvmlite.binding import ffi", "from numba import core",
    "f.overloads", "numba.core.registry", "importlib.import_module('numba.cuda')", "llvmlite.binding.ffi.lib"])
def test_a_private_name_is_seen(source):
    assert list(private_names(source))


def test_private_names_stand_in_one_folder():
    """`backends/gpu/driver.py` is the one place of `numba.cuda`."""
    found = {(str(path.relative_to(PACKAGE)), name) for path in PACKAGE.rglob("*.py")
             if path.parent.name != "compiling" for name in private_names(path.read_text(encoding="utf-8"))}
    assert {path for path, _ in found} == {"backends/gpu/driver.py"}, found
    assert {name for _, name in found if not name.startswith("numba.cuda")} == set(), found


# ---- addresses.py --------------------------------------------------------------------------------------------------

# Of every kind there are more than fit into the registers that hold arguments.
CALL = """
import numpy as np
from numba import types
from fastbp.compiling.addresses import address_in_memory, address_of, invoke, pointer, pointer_to, pointer_type
from fastbp.compiling.decorators import kernel

def writer():
    def write(integers, i0, x0, y0, i1, x1, y1, i2, x2, y2, doubles, i3, x3, y3, i4, x4, y4, singles, i5):
        integers[0], integers[1], integers[2], integers[3], integers[4], integers[5] = i0, i1, i2, i3, i4, i5
        doubles[0], doubles[1], doubles[2], doubles[3], doubles[4] = x0, x1, x2, x3, x4
        singles[0], singles[1], singles[2], singles[3], singles[4] = y0, y1, y2, y3, y4

    numbers = [types.int64, types.float64, types.float32]
    return write, [pointer_type(np.int64), *3 * numbers, pointer_type(np.float64), *2 * numbers,
                   pointer_type(np.float32), types.int64]

@kernel
def call(address, n, integers, doubles, singles):
    T = np.float32
    invoke(address, (integers, n, 1.5, T(0.25), n + 1, 2.5, T(1.25), n + 2, 3.5, T(2.25), pointer(doubles, 0),
                     n + 3, 4.5, T(3.25), n + 4, 5.5, T(4.25), pointer_to(address_in_memory(singles), np.float32), 7))

given = np.zeros(7, "int64"), np.zeros(6), np.zeros(6, "float32")
call(address_of(writer), 2**40, *given)
print(*(array.tolist() for array in given), sep="\\n")
"""


def test_the_calling_convention_in_llvm_code():
    """i32 function(result *, exception **, arguments): seen before anything is called."""
    function, _, _ = called_by_address(
        "signature", lambda a, i, x, y, b: None, addresses.pointer_type(np.float32), types.int64, types.float64,
        types.float32, addresses.pointer_type(np.int64))
    found = [str(argument.type) for argument in function.arguments]
    convention = [kind if kind in {"i64", "double", "float"} else "pointer" for kind in found]
    assert convention == ["pointer", "pointer", "pointer", "i64", "double", "float", "pointer"], (
        f"Numba's calling convention: `addresses.invoke` expects two places and then the arguments, found {found} "
        f"({VERSIONS})")
    returned = str(function).partition("@")[0].split()[-1]
    assert returned == "i32", f"Numba's calling convention: expected a status of 32 bits, found {returned} ({VERSIONS})"


def test_the_calling_convention_by_a_call():
    """A function called by address gets every pointer and number as it was given."""
    status, printed, errors = run(CALL)
    assert status == 0, f"Numba's calling convention: the call ended with {status} ({VERSIONS})\n{errors}"
    expected = [[*(2**40 + place for place in range(5)), 7, 0], [1.5, 2.5, 3.5, 4.5, 5.5, 0],
                [0.25, 1.25, 2.25, 3.25, 4.25, 0]]
    assert [ast.literal_eval(line) for line in printed.splitlines()] == expected, (
        f"Numba's calling convention: a function called by address got other arguments ({VERSIONS})")


@pytest.mark.parametrize(("status", "places"), [(64, 2), (32, 1), (32, 3)])
def test_another_calling_convention_is_refused_before_a_call(status, places):
    ir = llvmlite.ir
    anything, number = ir.IntType(8).as_pointer(), ir.IntType(64)

    class Other:
        def get_function_type(self, returned, arguments):
            return ir.FunctionType(ir.IntType(status), [anything] * places + [number] * len(arguments))

    expected = ir.FunctionType(ir.IntType(32), [anything, anything, number])
    with pytest.raises(RuntimeError, match=r"cannot call by address .* expected .* i32, pointer, pointer, i64, found"):
        addresses._require_convention(SimpleNamespace(call_conv=Other()), [types.int64], expected)


def add(a, b, n):
    for k in range(n):
        b[k] += a[k]


def test_pointers_do_not_overlap():
    pointer = addresses.pointer_type(np.float32)
    function, module, _ = called_by_address("apart", add, pointer, pointer, types.int64)
    attributes = [{word.decode() for word in argument.attributes} for argument in function.arguments]
    assert all(any(word.startswith("noalias") for word in found) for found in attributes[2:4]), (
        f"the flag `noalias`: arguments have only {attributes[2:4]} ({VERSIONS})")
    assert "vector.memcheck" not in str(module), (
        f"the flag `noalias`: a loop over two pointers asks whether they overlap ({VERSIONS})")


def test_there_is_no_function_for_c():
    _, module, _ = called_by_address("without_c", lambda a: None, addresses.pointer_type(np.float32))
    defined = [function.name for function in module.functions if not function.is_declaration]
    assert len(defined) == 1, f"the flag `no_cfunc_wrapper`: found {defined} ({VERSIONS})"


def test_the_native_function_is_found_and_named():
    function, _, address = called_by_address("found", lambda a: None, addresses.pointer_type(np.float32))
    assert address != 0, f"`get_pointer_to_function` does not know {function.name} ({VERSIONS})"
    assert "made_found" in function.name, f"`named`: the compiled symbol is {function.name} ({VERSIONS})"
    assert addresses.settings_at(address) == ("found",)


def test_a_function_that_is_not_found_is_refused(monkeypatch):
    monkeypatch.setattr(decorators.JITCodeLibrary, "get_pointer_to_function", lambda library, name: 0)
    with pytest.raises(RuntimeError, match="does not find the machine code of 'cfunc"):
        called_by_address("lost", lambda a: None, addresses.pointer_type(np.float32))


# ---- decorators.py -------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("decorate", "library", "pipelines"), [
    (decorators.subkernel, decorators._PartLibrary, 1), (decorators.panel_loop, decorators._LoopLibrary, 2)])
def test_parts_of_kernels_have_no_machine_code(decorate, library, pipelines, monkeypatch):
    codegen = cpu_target.target_context.codegen()
    passes, make_passes = [], codegen._module_pass_manager
    monkeypatch.setattr(codegen, "_module_pass_manager",
                        lambda **settings: passes.append(settings) or make_passes(**settings))

    @decorate
    def part(a):
        for k in range(a.shape[0]):
            a[k] += 1.0

    @numba.njit
    def whole(a):
        part(a)

    a = np.zeros(3)
    whole(a)
    assert a.tolist() == [1.0, 1.0, 1.0], f"a kernel does not contain what its parts do ({VERSIONS})"
    version = version_of(part)
    assert type(version.library) is library, f"`state.library`: Numba took {type(version.library)} ({VERSIONS})"
    assert len(passes) == 2 + pipelines, (
        f"`_optimize_final_module`: expected {pipelines} pipelines over a part and 2 over the whole, found {passes} "
        f"({VERSIONS})")
    defined = [codegen._engine.is_symbol_defined(one.fndesc.llvm_func_name) for one in (version, version_of(whole))]
    assert defined == [False, True], f"`_finalize_final_module`: a part has machine code, or nothing has ({VERSIONS})"


def test_formulas_are_inlined():
    @decorators.formula
    def twice(x):
        T = type(x)
        return (x + T(1.0)) * (x - T(3.0)) / (x * x + T(2.0))

    @numba.njit(error_model="numpy", fastmath=set(decorators.KERNEL_FASTMATH))
    def loop(a):
        for k in range(a.shape[0]):
            a[k] = twice(a[k])

    loop(np.zeros(3, np.float32))
    assert "alwaysinline" in llvm_of(twice), f"the option `forceinline`: formulas lack alwaysinline ({VERSIONS})"
    text = llvm_of(loop)
    body = text[text.index("define "):]
    assert "call i32 @_ZN" not in body.split("\n}")[0], f"the option `forceinline`: a formula is called ({VERSIONS})"
    assert " x float>" in body, f"the option `forceinline`: a loop over a formula does not vectorise ({VERSIONS})"


def test_fast_math_is_the_named_subset():
    @decorators.formula
    def product(x, y):
        return x * y + x

    product(1.0, 2.0)
    text = llvm_of(product)
    assert "fmul contract double" in text, f"the option `fastmath`: formulas lack contract ({VERSIONS})"
    assert not {"fast", "nnan", "ninf", "reassoc"} & set(text.split()), (
        f"the option `fastmath`: formulas have more of it than contract ({VERSIONS})")


def test_only_prange_is_parallel(monkeypatch):
    @decorators.kernel(parallel=True)
    def serial(a, b):
        b[:] = a + 2.0 * a

    @decorators.kernel(parallel=True)
    def parallel(a):
        for k in numba.prange(a.shape[0]):
            a[k] = k

    monkeypatch.setattr(cache.FunctionCache, "load_overload", lambda *_: None)
    parallel.compile((types.float64[::1],))
    with pytest.warns(NumbaPerformanceWarning, match="no transformation for parallel execution was possible"):
        serial.compile((types.float64[::1],) * 2)
    regions = ["numba_parallel_for" in llvm_of(compiled) for compiled in (parallel, serial)]
    assert regions[0], f"the option `parallel`: a prange does not run on threads ({VERSIONS})"
    assert not regions[1], f"the option `parallel`: array expressions run on threads too ({VERSIONS})"


def test_garbage_is_not_collected_while_a_kernel_compiles(monkeypatch):
    seen = []

    @numba.njit
    def callee(x):
        return x

    def look(call, caller, function):
        seen.append((gc.isenabled(), global_compiler_lock.is_locked()))
        return False

    looked_at = decorators.kernel(callee.py_func, name="looked_at", at_calls=look)

    @decorators.kernel(name="looking")
    def caller(x):
        return looked_at(x)

    monkeypatch.setattr(cache.FunctionCache, "load_overload", lambda *_: None)
    assert caller(3) == 3
    assert seen, f"the option `inline`: a function is not asked about calls ({VERSIONS})"
    assert seen[0] == (False, True), f"`dispatcher.compile`: first calls go round it, found {seen} ({VERSIONS})"
    assert gc.isenabled()


SCIPY = """
import sys
import numba, numpy as np
from fastbp.compiling.decorators import kernel

print(kernel(lambda a: a.sum(), name="total")(np.ones(3)), "scipy.linalg" in sys.modules)
print("numba.np.arraymath" in sys.modules, sys.modules["numba.np.linalg"].ensure_blas.__name__,
      sys.modules["numba.np.arraymath"].ensure_blas.__name__)
print(numba.njit(lambda a: np.dot(a, a))(np.ones(3)), "scipy.linalg" in sys.modules)
"""


def test_linear_algebra_of_scipy_is_not_imported():
    pytest.importorskip("scipy")
    status, printed, errors = run(SCIPY)
    assert status == 0, f"`numba.np.linalg.ensure_blas`: found {errors} ({VERSIONS})"
    first, names, second = printed.splitlines()
    assert first == "3.0 False", f"`ensure_blas`: a first kernel imports scipy.linalg ({VERSIONS})"
    assert names == "True ensure_blas ensure_blas", f"`ensure_blas`: Numba has not got it back, {names} ({VERSIONS})"
    assert second == "3.0 True", f"`ensure_blas`: np.dot does not look for a BLAS any more ({VERSIONS})"


# ---- cache.py ------------------------------------------------------------------------------------------------------

CACHED = """
import numpy as np
from fastbp.compiling import cache
from fastbp.compiling.addresses import address_of, _KEPT
from fastbp.compiling.decorators import formula, kernel

if {stamp!r}:
    cache.package_digest = lambda: {stamp!r}
def closure(g):
    return kernel(lambda a: g(a[0]), name="closure_over_a_formula")

one = closure(formula(lambda x: x + 1.0))
assert one(np.ones(1)) == 2.0
print(sum(one.stats.cache_hits.values()), sum(one.stats.cache_misses.values()))

def made():
    return (lambda n: None), (__import__("numba").types.int64,)
address_of(made)
print(_KEPT[-1]._cache_hits)
print(*sorted(path.name for path in cache.cache_folder().glob("*.nbc")))
"""


def test_kernels_are_cached_by_name_and_the_digest_of_the_package(tmp_path):
    def cached(stamp=""):
        status, printed, errors = run(CACHED.format(stamp=stamp), NUMBA_CACHE_DIR=str(tmp_path))
        assert status == 0, f"the kernel cache: {errors} ({VERSIONS})"
        kernel, by_address, files = printed.splitlines()
        assert all(any(name in file for file in files.split()) for name in ("closure_over_a_formula", "made")), (
            f"the kernel cache: files are not named after kernels, but {files} ({VERSIONS})")
        return kernel, by_address

    assert cached() == ("0 1", "0")
    folders = list((tmp_path / "fastbp").glob("*"))
    assert [folder.name for folder in folders] == [cache.package_digest()], f"`_CacheLocator`: {folders} ({VERSIONS})"
    assert cached() == ("1 0", "1"), (
        f"`_index_key`: another process does not find a kernel, a closure over a compiled function ({VERSIONS})")
    (tmp_path / "fastbp" / "other").symlink_to(folders[0], target_is_directory=True)
    assert cached("other") == ("0 1", "0"), (
        f"`get_source_stamp`: kernels are found in the cache although the package is another one ({VERSIONS})")


def test_a_cache_that_cannot_be_written_to_is_given_up(monkeypatch):
    def full(*arguments):
        raise OSError("no space left")

    monkeypatch.setattr("numba.core.caching.IndexDataCacheFile.save", full)
    compiled = decorators.kernel(lambda x: x + 1, name="unsaved")
    with pytest.warns(RuntimeWarning, match="could not cache a compiled kernel: no space left"):
        assert compiled(1) == 2, f"`save_overload`: its errors reach users ({VERSIONS})"
    assert compiled(1.5) == 2.5  # without a warning


def test_numba_has_a_place_for_a_cache():
    folder = cache.AppDirs("fastbp", appauthor=False).user_cache_dir
    assert Path(folder).name.lower() in {"fastbp", "cache"}, f"`AppDirs`: found {folder} ({VERSIONS})"


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
