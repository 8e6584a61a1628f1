"""A job: all that a call of the compiled phases needs, in one vector of 64-bit integers.

Sizes, addresses of arrays and of functions lie in it one after another, and it ends with the tables of the layout. So
a phase takes one pointer, is compiled once for a dtype and called by its address, on one thread or on many. Tuples of
arrays would do the same, but compiled code counts references to arrays with atomic operations, whenever it takes one
out of a tuple or slices it: a group of panels of a small network spent half of its time so.

`Shape`, `Data` and `Room` give the places their names.
"""

from typing import Any, NamedTuple

import numpy as np

from ...compiling.addresses import address_in_memory, pointer, pointer_to
from ...compiling.decorators import inlined

#: Set for every call: addresses, 0 where there is nothing; then numbers. ALPHA and CLIP_NORM hold the bits of a
#: float64. DROP, RATES and KEY: see `contract.Extras`; DROP is 0 but during a call that drops units.
(THETA, TARGET, X, LABELS, TARGETS, WEIGHTS, ORDER, Y, E0,
 NORMS, DROP, RATES, FIRST, COUNT, LOWEST, KEEP, NOTED, ALPHA, CLIP_NORM, BEHIND, JACOBIAN, KEY, CALL_SIZE) = \
    range(23)

#: Set with the workspace: addresses of memory, of functions, and sizes. ROW_COST and LANE_COST: what ∂E/∂W of a panel
#: costs by `gradient_tile` and by `lane_gradient`, see `gradients.costs`; ROW_COST is 0 where the second is never less.
#: BEFORE: room for θ before a block of steps, or 0; ONLINE: one-sample steps for this list of widths, or 0, in SCRATCH.
_ROOM = ("a", "h", "e", "d", "outcome", "rows", "largest", "squares", "delta", "h_rows", "E", "correct", "steps",
         "a_panel", "h_panel", "delta_rows", "scratch", "before", "online",
         "affine", "gradient_1", "gradient_2", "lane_gradient", "transpose", "transpose_narrow", "gather",
         "note_largest", "add_row_sums", "dot_rows", "combine_rows", "add_outer", "evaluate", "keep_outcomes", "clip",
         "propagate_phase", "gradient_phase", "chunk", "parameters",
         "lanes", "tile_rows", "lane_rows", "group", "row_cost", "lane_cost", "depth", "in_panel", "in_error",
         "in_target", "in_outcome", "in_rows", "in_largest", "in_squares", "in_delta", "in_block", "in_row")
(A, H, E, D, OUTCOME, ROWS, LARGEST, SQUARES, DELTA, H_ROWS, LOSSES, CORRECT, STEPS, A_PANEL,
 H_PANEL, DELTA_ROWS, SCRATCH, BEFORE, ONLINE,
 AFFINE, GRADIENT, _, LANE_GRADIENT, TRANSPOSE, TRANSPOSE_NARROW, GATHER,
 NOTE_LARGEST, ADD_ROW_SUMS, DOT_ROWS, COMBINE_ROWS, ADD_OUTER, EVALUATE, KEEP_OUTCOMES, CLIP,
 PROPAGATE_PHASE, GRADIENT_PHASE, CHUNK, PARAMETERS,
 LANES, TILE_ROWS, LANE_ROWS, GROUP, ROW_COST, LANE_COST, DEPTH, IN_PANEL, IN_ERROR,
 IN_TARGET, IN_OUTCOME, IN_ROWS, IN_LARGEST, IN_SQUARES, IN_DELTA, IN_BLOCK, IN_ROW) = \
    range(CALL_SIZE, CALL_SIZE + len(_ROOM))

#: Set where threads may take whole chunks, see `tiles.crew`: a job for each of CREW_SIZE of them, IN_CREW apart, and
#: ROUND gradients, IN_PARTIAL apart. Else 0.
(CREW, CREW_SIZE, IN_CREW, PARTIALS, ROUND, IN_PARTIAL, CHUNKS_PHASE, PARTIALS_PHASE, TABLES) = \
    range(CALL_SIZE + len(_ROOM), CALL_SIZE + len(_ROOM) + 9)


def make_job(tables: list[np.ndarray], **room: int) -> np.ndarray:
    """A job for a workspace.

    Parameters
    ----------
    tables : list of (L+2,) arrays
        widths, weights, biases, units, places, apply, delta, each with an entry for every layer.
    room : int
        Every name in _ROOM.
    """
    fixed = [room[name] for name in _ROOM]
    no_crew = np.zeros(TABLES - CREW, np.int64)
    return np.concatenate([np.zeros(CALL_SIZE, np.int64), np.array(fixed, np.int64), no_crew, *tables])


@inlined
def begin_call(job: Any, theta: Any, x: Any, labels: Any, targets: Any, weights: Any, order: Any, y: Any, e_0: Any,
               norms: Any, clip_norm: Any, lowest: Any, keep: Any, noted: Any) -> None:
    """Write down what is to be done to what lies at which addresses, 0 where there is nothing."""
    job[THETA], job[X], job[LABELS], job[TARGETS] = theta, x, labels, targets
    job[WEIGHTS], job[ORDER], job[Y], job[E0] = weights, order, y, e_0
    job[NORMS], job[LOWEST], job[KEEP], job[NOTED] = norms, lowest, keep, noted
    job[BEHIND], job[JACOBIAN] = 0, 0
    pointer_to(address_in_memory(job), np.float64)[CLIP_NORM] = clip_norm


@inlined
def begin_dropping(job: Any, extras: Any) -> None:
    """Write down how units are dropped, until `end_dropping`."""
    job[DROP], job[RATES], job[KEY] = extras.drop, extras.rates, extras.key


@inlined
def end_dropping(job: Any) -> None:
    """The next call drops no units. (So that no call from Python has to say so: that took 0.1 µs of 4.5.)"""
    job[DROP] = 0


class Shape(NamedTuple):
    """The layout's tables, by the layer k."""

    widths: Any
    weights: Any
    biases: Any
    units: Any
    places: Any      # where layer k begins among the units of a panel, each rounded up to whole vectors
    apply: Any
    delta: Any
    depth: int


class Data(NamedTuple):
    """The samples of a chunk, and what is wanted of them."""

    X: Any
    labels: Any
    targets: Any
    weights: Any
    order: Any
    Y: Any
    E0: Any
    norms: Any
    has_labels: bool
    has_targets: bool
    has_weights: bool
    has_order: bool
    has_Y: bool
    has_E0: bool
    first: int
    samples: int     # how many
    lowest: int      # how far back to go: to e_lowest, or not at all if beyond L
    keep: bool       # whether phase 2 follows
    noted: bool      # whether it needs to know the largest numbers
    has_norms: bool
    clip_norm: float
    clips: bool      # whether norms of gradients are wanted, to be written down or to clip
    alpha: Any       # of the step that is taken
    jacobian: bool   # whether e_L is every unit vector in turn, and E0 is (n, N_L, N_0) of their e_0
    behind: bool     # whether W_1 still lacks the step of the sample before: see `rows`


class Room(NamedTuple):
    """Where to work: of a, h, e, d, rows and largest the part of one slot; and the compiled pieces."""

    a: Any           # panels of a_k, in_panel apart
    h: Any           # panels of h_k, in_panel apart
    e: Any           # panels of e_k of one layer, in_error apart
    d: Any           # panels of targets, in_target apart
    outcome: Any     # what the loss finds out, (OUTCOME_ROWS, lanes)
    rows: Any        # for each panel, where rows of X, Y or E0 begin, and which samples they are; in_rows apart
    largest: Any     # the largest |h_k| and |δ_k|
    squares: Any     # room for a panel's sums of squares
    delta: Any       # panels of δ_k of the whole chunk, in_delta apart
    h_rows: Any      # h_{k-1} of the whole chunk, sample after sample, in blocks of `lanes` units, in_block apart
    E: Any           # each sample's loss
    correct: Any     # 1 where it is classified correctly
    steps: Any       # 0, lanes, 2 lanes, …
    a_panel: Any     # a_L and h_L of a few samples that otherwise go one by one
    h_panel: Any
    delta_rows: Any  # their δ_k, in_row apart
    affine: int
    gradient: Any    # the gradient tile of one vector, and of two
    lane_gradient: int
    transpose: int
    transpose_narrow: int
    gather: int
    note_largest: int
    add_row_sums: int
    dot_rows: int
    combine_rows: int
    add_outer: int
    evaluate: int
    keep_outcomes: int
    clip: int
    lanes: int
    tile_rows: int
    lane_rows: int
    in_panel: int
    in_error: int
    in_target: int
    in_rows: int
    in_largest: int  # from the largest |h_k| to the largest |δ_k|
    in_squares: int
    in_delta: int
    in_block: int
    in_row: int


@inlined
def shape_of(job: Any) -> Any:
    """The tables of a job."""
    rows = job[DEPTH] + 2
    return Shape(pointer(job, TABLES), pointer(job, TABLES + rows), pointer(job, TABLES + 2 * rows),
                 pointer(job, TABLES + 3 * rows), pointer(job, TABLES + 4 * rows), pointer(job, TABLES + 5 * rows),
                 pointer(job, TABLES + 6 * rows), job[DEPTH])


@inlined
def job_of(shape: Any) -> Any:
    """The job, which ends with these tables: for DROP, RATES and KEY, which few calls need.

    One more field of Data, which is handed on again and again, took a one-sample step of 8-32-32-1 from
    0.45 to 0.50 µs.
    """
    return pointer(shape.widths, -TABLES)


@inlined
def data_of(job: Any, T: Any) -> Any:
    """The samples of a job, of dtype T."""
    reals = pointer_to(address_in_memory(job), np.float64)
    clip_norm = reals[CLIP_NORM]
    return Data(pointer_to(job[X], T), pointer_to(job[LABELS], np.int64), pointer_to(job[TARGETS], T),
                pointer_to(job[WEIGHTS], T), pointer_to(job[ORDER], np.int64), pointer_to(job[Y], T),
                pointer_to(job[E0], T), pointer_to(job[NORMS], np.float64), job[LABELS] != 0,
                job[LABELS] != 0 or job[TARGETS] != 0, job[WEIGHTS] != 0, job[ORDER] != 0, job[Y] != 0, job[E0] != 0,
                job[FIRST], job[COUNT], job[LOWEST], job[KEEP] != 0,
                job[NOTED] != 0, job[NORMS] != 0, clip_norm, job[NORMS] != 0 or clip_norm > 0.0,
                T(reals[ALPHA]), job[JACOBIAN] != 0, job[BEHIND] != 0)


@inlined
def room_of(job: Any, T: Any, slot: Any, panel: Any) -> Any:
    """The room of a job, of dtype T, for panels that begin at a slot, and whose h begin at a panel of their own."""
    lanes = job[LANES]
    return Room(
        pointer(pointer_to(job[A], T), slot * job[IN_PANEL]), pointer(pointer_to(job[H], T), panel * job[IN_PANEL]),
        pointer(pointer_to(job[E], T), slot * job[IN_ERROR]), pointer(pointer_to(job[D], T), slot * job[IN_TARGET]),
        pointer(pointer_to(job[OUTCOME], T), slot * job[IN_OUTCOME]),
        pointer(pointer_to(job[ROWS], np.int64), slot * job[IN_ROWS]),
        pointer(pointer_to(job[LARGEST], T), slot * 2 * job[IN_LARGEST]),
        pointer(pointer_to(job[SQUARES], np.float64), slot * job[IN_SQUARES]), pointer_to(job[DELTA], T),
        pointer_to(job[H_ROWS], T), pointer_to(job[LOSSES], np.float64), pointer_to(job[CORRECT], np.int64),
        pointer_to(job[STEPS], np.int64), pointer_to(job[A_PANEL], T), pointer_to(job[H_PANEL], T),
        pointer_to(job[DELTA_ROWS], T), job[AFFINE], pointer(job, GRADIENT), job[LANE_GRADIENT], job[TRANSPOSE],
        job[TRANSPOSE_NARROW], job[GATHER], job[NOTE_LARGEST], job[ADD_ROW_SUMS], job[DOT_ROWS], job[COMBINE_ROWS],
        job[ADD_OUTER], job[EVALUATE], job[KEEP_OUTCOMES], job[CLIP], lanes, job[TILE_ROWS], job[LANE_ROWS],
        job[IN_PANEL], job[IN_ERROR], job[IN_TARGET], job[IN_ROWS], job[IN_LARGEST], job[IN_SQUARES], job[IN_DELTA],
        job[IN_BLOCK], job[IN_ROW])
