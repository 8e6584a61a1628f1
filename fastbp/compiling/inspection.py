"""Properties of a compiled function: whether it may raise, and whether Python may call it."""

from typing import Any

from llvmlite import binding as llvm


def may_raise(compiled: Any) -> bool:
    """Whether a compiled function may raise, in any of the versions compiled so far.

    Numba's functions return a status, which is 0 unless they raise. LLVM's optimised code shows which statuses are
    possible. A division by 0 is no exception under ``error_model="numpy"``. LLVM has removed what cannot happen, such
    as an index out of the bounds of the tuple that a loop runs over.
    """
    return any(_may_fail(llvm.parse_assembly(version.library.get_llvm_str()), version.fndesc.llvm_func_name, set())
               for version in compiled.overloads.values())


def _may_fail(module: Any, function_name: str, seen: set[str]) -> bool:
    """Whether a function may return a status that is not 0: its own, or that of one that it calls."""
    seen.add(function_name)
    instructions = {instruction: instruction for block in module.get_function(function_name).blocks
                    for instruction in block.instructions}
    returned = [next(instruction.operands) for instruction in instructions if instruction.opcode == "ret"]
    traced = set()
    while returned:
        value = returned.pop()
        if value in traced:
            continue
        traced.add(value)
        if value.value_kind == llvm.ValueKind.constant_int:
            if value.get_constant_value() != 0:
                return True
            continue
        made_by = instructions.get(value)
        operands = [] if made_by is None else list(made_by.operands)
        if made_by is not None and made_by.opcode == "phi":
            returned += operands
        elif made_by is not None and made_by.opcode == "select":
            returned += operands[1:]
        elif made_by is not None and made_by.opcode == "call" and _is_defined(module, operands[-1]):
            if operands[-1].name not in seen and _may_fail(module, operands[-1].name, seen):
                return True
        else:
            return True  # of unknown origin
    return False


def _is_defined(module: Any, function: Any) -> bool:
    return any(function.name == other.name and not other.is_declaration for other in module.functions)


def runs_from_python(compiled: Any) -> bool:
    """Whether Python may call a compiled function, which is not only a part of kernels."""
    return not compiled.targetoptions.get("no_cpython_wrapper")
