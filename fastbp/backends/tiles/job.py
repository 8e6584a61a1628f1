"""A job: all that a call of the compiled phases needs, in one vector of 64-bit integers.

Sizes, addresses of arrays and of functions lie in it. So a phase takes one pointer, is compiled once for a dtype and
called by its address, on one thread or on many. Tuples of arrays would do the same, but compiled code counts references
to arrays with atomic operations, whenever it takes one out of a tuple or slices it: a group of panels of a small
network spent half of its time so.

`Call` and `Job` list the fields. ``job_in(work).chunk`` reads one in compiled code, ``fields(work).chunk`` in Python.
"""

from typing import Any, NamedTuple, cast

import numpy as np

from ...compiling.addresses import INTEGER, address_in_memory, pointer
from ...compiling.decorators import inlined
from ...compiling.records import (
    Code,
    Integers,
    Numbers,
    Reals,
    RecordType,
    fields_of,
    pointer_dtype,
    record_at,
    record_dtype,
)


class Call:
    """What is set for every call."""

    theta: Numbers
    X: Numbers           # (n, N_0), where it is as kernels take it
    reading: int         # the address of a `conversion.Reading` where it is not, or 0
    labels: Integers     # (n,), or 0
    targets: Numbers     # (n, N_L), or 0
    weights: Numbers     # (n,), or 0
    order: Integers      # (n,), or 0
    Y: Numbers           # (n, N_L), or 0
    E0: Numbers          # (n, N_0), or 0; with `jacobian` (n, N_L, N_0)
    norms: Reals         # (n,), or 0
    clip_norm: float     # see `contract.Extras`
    drop_units: Code     # see `dropout.drop_panel`; 0 where none are dropped
    rates: Reals         # (L+1,) of the layers k = 0 … L
    key: int             # of the epoch
    first: int           # the place of the chunk's first sample in the order
    count: int           # how many samples the chunk has
    lowest: int          # the backward pass ends with e_lowest; there is none if it is above L
    keeps: bool          # whether phase 2 follows, which needs h and δ
    notes_largest: bool  # whether the largest |h_k| and |δ_k| are recorded
    jacobian: bool       # whether e_L is every unit vector in turn
    behind: bool         # whether the step of W_1 is deferred to the next sample's forward pass: see `rows`
    target: Numbers      # what phase 2 adds to: the gradient, or theta
    alpha: float         # the factor of ∂E/∂θ in what it adds
    updates: bool        # whether it updates theta by `update` instead, each tile at once; see `updates.update_block`
    averages: Numbers    # (averages, P) of the optimizer
    factor: float        # of the gradient, and of α θ_W
    penalty: float       # α: the gradient of W_k is that of E plus α W_k
    row: Reals           # the coefficients of the update, then λ
    leaves: int          # how many leaves of a batch the chunk has, where `tiles.leaves` adds them up; else 0


class Job(Call):
    """The fields of a call, and those that are set with the workspace.

    The fields in_… are the distances from one slot, panel or row to the next, in elements.
    """

    # The layout's tables, by the layer k.
    widths: Integers
    weights_at: Integers  # where W_k begins in theta
    biases_at: Integers   # where b_k begins in theta
    units: Integers       # where layer k begins among the units of a sample
    places: Integers      # where layer k begins among the units of a panel, each rounded up to whole vectors
    first_rows: Integers  # the first row of W_k whose gradient this job computes, 0 but in `shared_tiles`
    own_rows: Integers    # and the number of them, that of all rows but there
    apply: Integers       # the address of what gives h_k
    apply_delta: Integers  # the address of what gives δ_k
    depth: int
    inputs: int           # N_0, or 0 where X is sparse
    outputs: int          # N_L
    parameters: int

    # Memory of slots: a group of panels has one after another. See `Slot`.
    a: Numbers
    h: Numbers
    e: Numbers
    d: Numbers
    outcome: Numbers
    rows: Integers
    largest: Numbers
    squares: Reals

    # Memory of a chunk.
    delta: Numbers        # panels of δ_k of the whole chunk
    tile_delta: Numbers   # the same as tiles of the gradient take it: `delta`, or pairs of samples of each unit
    h_rows: Numbers       # h_{k-1} of the whole chunk, sample (or pair) after sample, in blocks of `lanes` units
    E: Reals              # each sample's loss
    correct: Integers     # 1 where it is classified correctly
    steps: Integers       # 0, lanes, 2 lanes, …
    a_panel: Numbers      # a_L and h_L of a few samples that otherwise go one by one
    h_panel: Numbers
    delta_rows: Numbers   # their δ_k
    sums: Numbers         # a tile of the gradient for each thread, in_sums apart
    scratch: Numbers      # for `online`
    before: Numbers       # memory for θ before a block of steps, or 0

    # The compiled pieces.
    affine: Code
    affine_columns: Code  # Wᵀδ where W has long rows, see `packing`; or 0
    gradient_1: Code      # the gradient tile of one vector
    gradient_2: Code      # of two vectors
    lane_gradient: Code
    transpose_block: Code
    transpose_narrow: Code
    gather: Code
    note_largest: Code
    add_row_sums: Code
    dot_rows: Code
    combine_rows: Code
    add_outer: Code
    evaluate: Code
    keep_outcomes: Code
    clip_panel: Code
    propagate_phase: Code
    gradient_phase: Code
    online: Code          # one-sample steps for this list of widths, or 0
    update: Code          # of a block of parameters, by the optimizer's rule, or 0
    update_phase: Code

    # Sizes.
    chunk: int
    few: int              # up to so many samples go through the network one by one
    group: int            # how many panels go together on a thread, 0 where all of a thread's do
    lanes: int
    tile_rows: int
    lane_rows: int
    row_cost: int         # what ∂E/∂W of a panel costs by `gradient_tile`, 0 where that is never more than by
    lane_cost: int        # `lane_gradient`: see `gradients.costs`
    largest_factor: float  # numbers beyond it may be infinite in a product
    in_panel: int
    in_error: int
    in_target: int
    in_outcome: int
    in_rows: int
    in_largest: int       # from the largest |h_k| to the largest |δ_k|, and to the next slot's
    in_squares: int
    in_delta: int
    in_tile_delta: int    # from one panel to the next, or of pairs from one unit to the next
    tile_delta_row: int   # from one unit to the next
    samples_of_number: int  # in `tile_delta` and `h_rows`
    in_block: int
    in_row: int
    in_sums: int
    long_row: int         # columns of a W whose rows are long
    period: int           # rows with a multiple of so many columns share one set of the first-level cache

    # Where X is sparse, see `tiles.sparse`; else 0.
    features: int         # N_0
    numbers: Integers     # which samples a chunk has
    sums_1: Numbers       # a_1 of a chunk, unit after unit, `chunk` apart
    row_gradient: Numbers  # a row of ∂E/∂W_1 for each thread, in_row_gradient apart
    in_row_gradient: int
    entries_phase: Code
    transposed: Numbers   # W_1ᵀ (N_0, N_1), rows in_transposed apart, or 0
    in_transposed: int
    has_transpose: bool   # whether it is that of theta already
    gradient: Numbers     # likewise (∂E/∂W_1)ᵀ, 0 between calls
    delta_1: Numbers      # δ_1 of a chunk (chunk, N_1), the units of one thread after those of another
    transpose_places: Integers  # memory for each thread, in_places apart
    in_places: int
    transpose_phase: Code

    # Where a batch is in leaves, see `tiles.leaves`; else 0.
    leaf_places: Integers  # at which places of the chunk each begins, and the last one ends
    leaf_phase: Code

    # Where ranks share panels and rows, see `tiles.shares`; else 0.
    begin: int            # this rank's samples are those of the chunk from begin to end
    end: int
    shared_largest: Reals  # the largest |h_k|, then the largest |δ_k|, of this rank's samples or of all
    shared_phase: Code
    own_rows_phase: Code

    # Where products have bfloat16 operands, see `tiles.pair_phases`; else 0. Numbers are pairs here.
    h_pairs: Numbers      # of slots: pairs of units of h, in_h_pairs apart
    in_h_pairs: int
    delta_pairs: Numbers  # of slots: pairs of units of δ of one layer, in_delta_pairs apart
    in_delta_pairs: int
    packed: Numbers       # a tile of W for each thread, in_packed apart
    in_packed: int
    pair_units: Code
    pair_samples: Code
    pair_rows: Code

    # Of normal equations, see `tiles.normal_equations`; else 0.
    curvature: Code       # see `losses.curvature_panel`
    weigh_panel: Code
    outer_panel: Code
    rows_of_panel: Code
    roots: Numbers        # √(w c) of a chunk, panel after panel
    J_panels: Numbers     # rows of J of a chunk: panels of `lanes` rows, column after column; in_J_panel apart
    J_blocks: Numbers     # the same row after row, in blocks of `lanes` columns; in_J_block apart
    in_J_panel: int
    in_J_block: int
    product: Numbers      # (P + 1, P + 1), rows in_product apart
    in_product: int
    rows_phase: Code
    product_phase: Code

    # Where threads may take whole chunks, see `tiles.crew`; else 0.
    crew: Integers        # a job for each of crew_size threads, in_crew apart
    crew_size: int
    in_crew: int
    partials: Numbers     # the gradients of the chunks of a round, in_partial apart
    chunks_in_round: int
    in_partial: int
    chunks_phase: Code
    partials_phase: Code


FIELDS = fields_of(Job)

#: The number of 64-bit fields of a job, and of those of a call, with which it begins.
JOB_SIZE, CALL_SIZE = len(FIELDS), len(fields_of(Call))

_DTYPE = record_dtype(FIELDS)

#: What is set only for some jobs: by `tiled.specialised` for a training, for a sparse X, for leaves, for bfloat16
#: operands, for normal equations, and with a crew.
_SET_LATER = ("online", "update", "update_phase",
              "features", "numbers", "sums_1", "row_gradient", "in_row_gradient", "entries_phase",
              "transposed", "in_transposed", "has_transpose", "gradient", "delta_1", "transpose_places", "in_places",
              "transpose_phase", "leaf_places", "leaf_phase",
              "begin", "end", "shared_largest", "shared_phase", "own_rows_phase",
              "h_pairs", "in_h_pairs", "delta_pairs", "in_delta_pairs", "packed",
              "in_packed", "pair_units", "pair_samples", "pair_rows",
              "curvature", "weigh_panel", "outer_panel", "rows_of_panel", "roots", "J_panels", "J_blocks",
              "in_J_panel", "in_J_block", "product", "in_product", "rows_phase", "product_phase",
              "crew", "crew_size", "in_crew", "partials", "chunks_in_round", "in_partial", "chunks_phase",
              "partials_phase")


def fields(work: np.ndarray) -> Job:
    """The fields of the job at the beginning of a vector, to be read and written in Python."""
    return cast(Job, work[:JOB_SIZE].view(_DTYPE)[0])


def make_job(**given: float) -> np.ndarray:
    """A job for a workspace: every field of `Job` but those of `Call` and of `_SET_LATER`, which are 0 if not given."""
    required = set(FIELDS) - {*Call.__annotations__, *_SET_LATER}
    if not required <= set(given) <= set(FIELDS):
        raise TypeError(f"make_job: {(required - set(given)) | (set(given) - set(FIELDS))}: missing, or no field")
    work = np.zeros(JOB_SIZE, np.int64)
    for name, value in given.items():
        setattr(fields(work), name, value)
    return work


def phase_arguments(dtype: str) -> tuple[Any, ...]:
    """The types of a phase's arguments, (job, thread, threads), for numbers of a dtype."""
    return RecordType(Job, pointer_dtype(dtype)), INTEGER, INTEGER


#: The function (address, T): the job at an address. Its addresses are pointers, or integers where T is None.
job_at = record_at(Job)


@inlined
def job_in(work: Any) -> Any:
    """The job in a vector, or at a pointer; its addresses are integers."""
    return job_at(address_in_memory(work), None)


@inlined
def begin_call(job: Any, theta: Any, X: Any) -> None:
    """Begin a call with the addresses of theta and X, and request no results yet."""
    job.theta, job.X, job.reading = theta, X, 0
    job.labels, job.targets, job.weights, job.order = 0, 0, 0, 0
    job.Y, job.E0, job.norms, job.clip_norm = 0, 0, 0, 0.0
    job.drop_units, job.lowest, job.keeps = 0, job.depth + 1, False
    job.notes_largest, job.jacobian, job.behind, job.updates, job.leaves = False, False, False, False, 0


class Slot(NamedTuple):
    """The memory of a group of panels."""

    a: Any        # panels of a_k, in_panel apart
    h: Any        # panels of h_k, in_panel apart
    e: Any        # panels of e_k of one layer, in_error apart
    d: Any        # panels of targets, in_target apart
    outcome: Any  # of the loss, (OUTCOME_ROWS, lanes)
    rows: Any     # for each panel, where rows of X, Y or E0 begin, and which samples they are; in_rows apart
    largest: Any  # the largest |h_k| and |δ_k|
    squares: Any  # sums of squares of each panel, in_squares apart


@inlined
def slot_of(job: Any, slot: Any, panel: Any) -> Any:
    """The memory of the panels from a slot on, with their h from `panel` on."""
    return Slot(a=pointer(job.a, slot * job.in_panel), h=pointer(job.h, panel * job.in_panel),
                e=pointer(job.e, slot * job.in_error), d=pointer(job.d, slot * job.in_target),
                outcome=pointer(job.outcome, slot * job.in_outcome), rows=pointer(job.rows, slot * job.in_rows),
                largest=pointer(job.largest, slot * 2 * job.in_largest),
                squares=pointer(job.squares, slot * job.in_squares))


@inlined
def is_given(values: Any) -> Any:
    """Whether a pointer is not null."""
    return address_in_memory(values) != 0
