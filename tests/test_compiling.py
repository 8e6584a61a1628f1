"""What fastbp takes for granted of Numba and llvmlite beyond their documentation, each promise by itself.

When a new release fails here, the message says which promise it broke; `fastbp/compiling/README.md` says what for.
"""

import ast
import contextlib
import gc
import re
import weakref
from types import SimpleNamespace
from unittest import mock

import llvmlite.binding
import numba
import numpy as np
import pytest
from compiled import PACKAGE, VERSIONS, called_by_address, llvm_of, run, version_of
from llvmlite.binding import newpassmanagers
from numba import types
from numba.core.compiler_lock import global_compiler_lock
from numba.core.errors import NumbaPerformanceWarning
from numba.core.registry import cpu_target

import fastbp
from fastbp.compiling import addresses, cache, decorators, engines
from fastbp.functions import activations, losses, second

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


def test_of_a_function_that_is_not_stored_machine_code_alone_stays():
    """Its library, with LLVM's module, is gone at once, as is what checked its formulas; the address can be called."""
    libraries = []

    def noting(known):
        def noted(*given):
            library = known(*given)
            libraries.append(weakref.ref(library))
            return library

        return staticmethod(noted)

    compilers = engines.LastingCompiler, engines.PassingCompiler, decorators._OwnLoopCompiler
    with contextlib.ExitStack() as patches:
        for kind in compilers:
            patches.enter_context(mock.patch.object(kind, "_library", noting(kind._library)))
        own = fastbp.Activation("doubled", lambda a: a + a, lambda a, h: 2.0)
        net = fastbp.MLP([1, 1], activation=[own], loss="squared_error", backend="loops")
        net.theta[:] = 1.0
        assert net.forward([[1.0]]) == 4.0
    assert [library() for library in libraries] == [None] * 8  # 4 for the checks, then a panel and its formula by twos
    assert net.forward([[2.0]]) == 6.0


@pytest.mark.parametrize("kind", [newpassmanagers.ModulePassManager, newpassmanagers.FunctionPassManager])
def test_llvms_passes_are_deleted_with_what_holds_them(kind):
    with decorators.undisturbed():
        passes = kind()
    with mock.patch.object(newpassmanagers.ffi, "lib") as lib:
        passes.close()
    assert len(lib.method_calls) == 1, f"llvmlite does not delete a {kind.__name__} ({VERSIONS})"
    assert "Dispose" in lib.method_calls[0][0]


@pytest.mark.parametrize(("make", "own"), [(activations.apply_panel, True), (activations.delta_panel, True),
                                           (activations.apply_panel, False), (activations.delta_panel, False),
                                           (second.add_second_panel, False)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_panel_of_an_activation_is_one_loop_over_whole_vectors(make, own, dtype):
    """Loops over units and samples were unrolled, and then vectorised over units: gathers, and four times the code."""
    bent = fastbp.Activation("bent", lambda a: (np.sqrt(a * a + 1) - 1) / 2 + a,
                             lambda a, h: a / (2 * np.sqrt(a * a + 1)) + 1)
    code = code_of(make, bent if own else activations.BY_NAME["gelu"], dtype, 16)
    assert re.search(r"load <\d+ x (float|double)>", code), f"it has no vectors ({VERSIONS})"
    assert "gather" not in code, f"it does not go along the panel ({VERSIONS})"
    assert "memcheck" not in code, f"it asks whether panels overlap ({VERSIONS})"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_softmax_is_computed_for_vectors_of_samples(dtype):
    """With the units of a sample inside, it was ten times as slow: one number after the other."""
    code = code_of(activations.apply_panel, activations.BY_NAME["softmax"], dtype, 16)
    assert re.search(r"fptosi <\d+ x ", code), f"the exponentials are no vectors ({VERSIONS})"


@pytest.mark.parametrize("name", ["squared_error", "huber", "cross_entropy", "binary_cross_entropy"])
def test_panels_of_losses_do_not_ask_whether_arrays_overlap(name):
    code = code_of(losses.evaluate_panel, losses.BY_NAME[name], "float32", 16)
    assert re.search(r"load <\d+ x float>", code), f"it has no vectors ({VERSIONS})"
    assert "memcheck" not in code, f"the flag `noalias` of panel loops ({VERSIONS})"


def code_of(make, *settings):
    """LLVM's optimised code of a function that is called by address, compiled anew."""
    with decorators.undisturbed(), mock.patch.object(addresses, "cache_folder", return_value=None):
        return str(addresses.compiled_function(make, *settings)._library._final_module)


def test_a_function_that_is_not_found_is_refused(monkeypatch):
    monkeypatch.setattr(engines.LastingCompiler._library, "get_pointer_to_function", lambda library, name: 0)
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

    monkeypatch.setattr(cache.KernelCache, "load_overload", lambda *_: None)
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

    monkeypatch.setattr(cache.KernelCache, "load_overload", lambda *_: None)
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
