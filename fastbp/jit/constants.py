"""Constants that users' compiled code would hand to the functions of `fastbp.jit`, refused while it is compiled.

Numba takes arrays that a function finds outside it, as global ones and those of an enclosing function, for constants,
and copies them: what is written to them later is not seen, and addresses stay those of the process that compiled. Their
types are those of arguments that are not to be written to, which theta may well be. So it is looked at where in the
function an argument comes from.
"""

from typing import Any

from numba.core.errors import TypingError

from ..compiling.origins import constant_arguments

#: The arguments that are written to, and those that other code writes to between calls or that hold addresses.
_WRITTEN, _CHANGING = {"y", "e_0", "J", "grad", "averages", "work"}, {"theta", "layout"}


def refuse_constants(call: Any, caller: Any, function: Any) -> bool:
    """Look at a call in users' code before it is compiled; False, so that Numba does not inline it.

    Parameters
    ----------
    call : ir.Expr
        Of one of the functions of `fastbp.jit`.
    caller, function : ir.FunctionIR

    Raises
    ------
    TypingError
        If one of theta, layout, work and what is written to comes from outside the caller, or from outside the function
        for which the caller is being compiled.
    """
    for name, found in constant_arguments(call, caller, function, _WRITTEN | _CHANGING):
        expected = "an array that may be written to" if name in _WRITTEN else "an argument of your function"
        raise TypingError(f"fastbp.jit: {name}: expected {expected}, found {found}, which compiled code takes for a "
                          f"constant; hand it to your function as an argument")
    return False
