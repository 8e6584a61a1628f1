"""The origins of the arguments of a call in compiled code.

Numba gives its intermediate representation (IR) of a function to the callable that decides whether a call is inlined.
The definitions of each variable of the IR lead back to the function's own arguments, to globals and to variables of an
enclosing function.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np
from numba.core import ir
from numba.core.ir_utils import find_callname, get_definition, guard, resolve_func_from_module
from numba.core.registry import cpu_target

#: Numba's operations whose result may be a part of their `value`.
_PARTS = {"getattr", "getitem", "static_getitem", "exhaust_iter", "getiter", "iternext", "pair_first", "cast"}

#: NumPy's functions and methods whose result may be a view of the array that they are given.
_VIEWS = {"reshape", "ravel", "view", "transpose", "asarray", "ascontiguousarray", "atleast_1d", "atleast_2d"}


def constant_arguments(call: Any, caller: Any, function: Any, names: Collection[str]) -> Iterator[tuple[str, str]]:
    """The arguments of a call that are constants: (name, the constant in words).

    Parameters
    ----------
    call : ir.Expr
    caller, function : ir.FunctionIR
        Arguments of the caller are followed into the functions for which it is being compiled.
    names : collection of str
        The arguments of the function to look at.
    """
    callers = [caller, *_being_compiled()]
    for name, given in _arguments(call, function.arg_names).items():
        if name in names:
            found = _constant_behind(callers, given, set())
            if found is not None:
                yield name, found


def _being_compiled() -> list[Any]:
    """The functions for whose calls the present one is being compiled, the innermost first."""
    stack = cpu_target.typing_context.callstack
    return [stack[place].typeinfer.func_ir for place in range(len(stack))]


def _arguments(call: Any, names: Sequence[str]) -> dict[str, Any]:
    """The variables that a call passes, by the names of the function's arguments; of f(*values), values for all."""
    return {**dict.fromkeys(names, call.vararg), **dict(zip(names, call.args, strict=False)), **dict(call.kws)}


def _constant_behind(callers: Sequence[Any], value: Any, seen: set[str]) -> str | None:
    """The constant, in words, that a value in the first of the callers, or the object that it is a part of, comes from.

    None if it does not come from one.
    """
    caller = callers[0]
    if isinstance(value, ir.Var):
        if value.name in seen:
            return None
        seen.add(value.name)
        found = (_constant_behind(callers, definition, seen) for definition in caller._definitions.get(value.name, ()))
        return next(filter(None, found), None)
    if isinstance(value, ir.Global):
        return f"the global {value.name!r}"
    if isinstance(value, ir.FreeVar):
        return f"{value.name!r} of an enclosing function"
    if isinstance(value, ir.Arg):
        parameter = caller.func_id.pysig.parameters.get(value.name)
        if parameter is not None and isinstance(parameter.default, (np.ndarray, tuple)):
            return f"the default argument {value.name!r}"
        return _constant_handed_on(callers, value.name)
    if isinstance(value, ir.Expr) and value.op == "call":
        name, owner = guard(find_callname, caller, value) or ("", "")
        viewed = owner if isinstance(owner, ir.Var) else value.args[0] if value.args else None
        return _constant_behind(callers, viewed, seen) if name in _VIEWS else None
    if isinstance(value, ir.Expr) and value.op in _PARTS:
        return _constant_behind(callers, value.value, seen)
    return None


def _constant_handed_on(callers: Sequence[Any], name: str) -> str | None:
    """The constant, in words, that the second of the callers passes to the first as an argument, or None."""
    if len(callers) < 2:
        return None
    for block in callers[1].blocks.values():
        for call in block.find_exprs(op="call"):
            if getattr(_function_of(callers[1], call), "py_func", None) is callers[0].func_id.func:
                given = _arguments(call, callers[0].arg_names).get(name)
                found = _constant_behind(callers[1:], given, set())
                if found is not None:
                    return found
    return None


def _function_of(caller: Any, call: Any) -> Any:
    """The function of a call, if it is a global, or of a module or an enclosing function; else None."""
    definition = guard(get_definition, caller, call.func)
    if isinstance(definition, ir.Expr) and definition.op == "getattr":
        return resolve_func_from_module(caller, definition)
    return definition.value if isinstance(definition, (ir.Global, ir.FreeVar)) else None
