"""A network inside your own compiled code: functions for `@njit` that take plain arrays.

    import numba, fastbp.jit

    layout, work = net.layout, fastbp.jit.workspace(net.layout)

    @numba.njit
    def simulate(theta, layout, work, x, y):
        for step in range(1000):
            fastbp.jit.forward(theta, layout, x, y, work)
            x += 0.01 * y

They allocate nothing and raise nothing. Each returns a status; where it is not OK, no array that you passed has been
written to, unless the function says otherwise. Arrays are C-contiguous and of the network's dtype. x is one sample
(N_0,) or several (n, N_0), and so are the others. Everything runs on the calling thread.

Of a network that standardises, x is as it is before that, derivatives are with respect to it, and x has to be finite
after it too. The numbers are in ``net.layout``: take it, and a workspace, after `MLP.standardize`.

Your function gets theta, layout, work, and what is written to, as arguments. Numba takes arrays that a function finds
outside it for constants, and does not see what is written to them later. Compiling a function that passes such an array
to one of these raises a TypingError. x and d may be constants.

A workspace belongs to the process that made it, and to children that were forked from it later. One call may use it at
a time; others meanwhile return BUSY. In a `prange`, give each thread a workspace of its own: ``work[get_thread_id()]``
of ``workspace(layout, threads=get_num_threads())``. A workspace that came by a copy, a pickle or a file returns
WRONG_WORKSPACE. Layouts may be pickled: their functions are compiled, or read from the cache, where they are unpickled.

The statuses:

- OK;
- WRONG_WORKSPACE: it was copied, is of another process, was made by another version of fastbp, or is for other widths,
  dtype, activations, loss or standardisation than the layout's;
- WRONG_SIZE: an array's shape does not fit the network or the other arrays;
- WRONG_TARGET: a label is outside the classes, or the loss takes no labels;
- NOT_FINITE: an input or a result is not finite;
- BUSY: another call is using the workspace.

A function with ``cache=True`` that calls these is cached by Numba, which does not see when fastbp changes. Therefore a
workspace knows the code that made it, and a function compiled with other code returns WRONG_WORKSPACE.
"""

from .arguments import BUSY, NOT_FINITE, OK, WRONG_SIZE, WRONG_TARGET, WRONG_WORKSPACE
from .calls import (
    Workspace,
    accumulate_gradient,
    adam_step,
    backward,
    forward,
    input_gradient,
    input_jacobian,
    sgd_step,
    workspace,
)

__all__ = ["BUSY", "NOT_FINITE", "OK", "WRONG_SIZE", "WRONG_TARGET", "WRONG_WORKSPACE", "Workspace",
           "accumulate_gradient", "adam_step", "backward", "forward", "input_gradient", "input_jacobian", "sgd_step",
           "workspace"]
