"""A trace as text: the pass forward goes down on the left, the pass back comes up on the right."""

from typing import Any

import numpy as np

#: The width of the left half.
LEFT = 50

#: The digits of subscripts.
_DIGITS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


def sub(k: int) -> str:
    """A subscript.

    >>> "h" + sub(12)
    'h₁₂'
    """
    return str(k).translate(_DIGITS)


def text_of(trace: Any) -> str:
    """All of a trace, in lines of at most 100 characters."""
    depth = len(trace.widths) - 1
    rows = [("forward: down", "back: up"), ("", ""),
            (_line("h₀ = x", trace.h[0]), _line("e₀ = W₁ᵀ δ₁", trace.e[0]))]
    for k in range(1, depth + 1):
        now, before, after = sub(k), sub(k - 1), sub(k + 1)
        last = k == depth
        back = f"e{now} = ∇E by y" if last else f"e{now} = W{after}ᵀ δ{after}"
        name = trace.activations[k - 1]
        rows += [
            ("", ""),
            (_line(f"W{now}", trace.W[k]), _line(f"∂E/∂W{now} = δ{now} h{before}ᵀ", trace.dW[k])),
            (_line(f"b{now}", trace.b[k]), _line(f"∂E/∂b{now} = δ{now}", trace.db[k])),
            (_line(f"a{now} = W{now} h{before} + b{now}", trace.a[k]),
             _line(f"δ{now} = e{now} ⊙ g'(a{now})" if name != "softmax" else f"δ{now} = Jᵀ e{now}", trace.delta[k])),
            (_line(f"h{now} = {name}(a{now})" + (" = y" if last else ""), trace.h[k]), _line(back, trace.e[k]))]
    rows += [("", ""), (_line("d", trace.d), ""), (f"E = {trace.E:.6g}, {trace.loss} of y and d", "")]
    return "\n".join(f"{left:<{LEFT}}{right}".rstrip() for left, right in rows)


def _line(name: str, values: np.ndarray) -> str:
    """A quantity with its shape, and its values where there are few, else its norm."""
    shape = "×".join(map(str, values.shape))
    if values.ndim == 1 and values.size <= 2:
        return f"{name:<22}{shape:>8}  {' '.join(f'{value:.3g}' for value in values)}"
    return f"{name:<22}{shape:>8}  ‖·‖ {np.linalg.norm(values.astype(float)):.3g}"
