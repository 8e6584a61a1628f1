"""The workspace of the `tiled` backend: the memory of a chunk of samples, and the job with the addresses in it."""

import itertools
from typing import Any, NamedTuple

import numba
import numpy as np

from ...compiling.addresses import Piece, address_of
from ...compiling.decorators import undisturbed
from ...functions.loss_panels import OUTCOME_ROWS
from ...layout import Layout, aligned_zeros, bytes_kept, keeping
from ..contract import FROM_TRANSPOSE, WHOLE, longest_chunk
from . import pair_phases
from .clipping import SQUARES_ROWS, clip_panel
from .crew import chunks_share, partials_share
from .gradients import SIDE_BY_SIDE, costs, lanes_cost_less
from .host import host, periodic_rows
from .job import fields, make_job
from .lane_gradient import lane_gradient, lane_rows
from .magnitude import note_largest
from .online import MAX_PARAMETERS, scratch_size
from .outcomes import keep_outcomes
from .packing import LONG_ROW, columns_product, is_long
from .pair_product import packed_size, pair_affine_product
from .pairs import FLOATS, LARGEST
from .phases import FEW, gradient_share, propagate_share
from .product import PERIOD, affine_product, gradient_tile
from .rounding import pair_rows, pair_samples, pair_units
from .row_products import add_outer, combine_rows, dot_rows
from .sparse import entries_share, transpose_share
from .sums import add_row_sums
from .transpose import transpose_block, transpose_narrow

_config: Any = numba.config

#: Operations per second to expect of every lane: two multiply-adds a cycle at 3 GHz.
LANE_FLOPS = 12e9

#: A chunk's δ and h, which phase 2 reads again, should stay in the second-level cache; but every chunk costs a pass
#: over the gradient.
CHUNK_BYTES, MIN_CHUNK, MAX_CHUNK = 2**19, 256, 4096

#: The most bytes of the workspace, about, and of the workspace together with those of a crew.
MAX_BYTES, MAX_CREW_BYTES = 5 * 2**23, 7 * 2**23

#: Weights of at most RESIDENT_BYTES stay in the second-level cache while one pair of panels after the other passes;
#: larger ones are read once for a whole group of panels.
RESIDENT_BYTES = 2**19

#: Panels go through a network with resident weights in groups of 2 to 8, an even number that has about GROUP_BYTES in
#: all: the panels share what each layer costs to begin, and a layer reads what was just written. (Groups of 2 took
#: 2-16-1 a fifth longer, 4-32-16-4 a twelfth; groups of 8 took 10-100-1 a twentieth longer.) The memory is for
#: MAX_SLOTS panels, or for the smallest groups of all threads.
GROUP_BYTES, MIN_GROUP, MAX_GROUP, MAX_SLOTS = 2**17, 2, 8, 64

#: With bfloat16 factors a tile of W is rounded once for a group: of 8 panels 32-64⁴-16 took 0.95 of the time of 2 or of
#: 16, and 128-256⁶-10 0.98 of that of 2.
GROUP_OF_PAIRS = 8

#: The stored gradients of chunks have about this number of bytes in all, but every thread has one at least.
PARTIALS_BYTES = 2**21

#: A row of a sparse X has about this number of entries at most, to choose a chunk by.
MOST_ENTRIES = 2**10

#: Up to MAX_COPIED parameters the workspace has memory for a copy of θ, and steps can be undone.
MAX_COPIED = 2**14


def lanes(dtype: np.dtype) -> int:
    """How many samples a panel holds: one vector of them."""
    return host().vector_bytes // dtype.itemsize  # a dtype's name takes 4 µs


class _Sizes(NamedTuple):
    """What follows from a layout and a dtype alone."""

    places: list[int]  # where each layer begins among the units of a panel, each rounded up to whole vectors
    widest: int        # the most units of a layer, rounded up so
    passing: int       # the bytes of a sample in a, h and e
    resident: bool     # whether the weights stay in the second-level cache
    chunk: int         # how many samples are taken at a time, whole panels of them


def _sizes_of(layout: Layout, dtype: np.dtype) -> _Sizes:
    """They of a layout, also of one `_without_inputs`."""
    width, itemsize = lanes(dtype), dtype.itemsize
    sparse = int(layout.biases[1]) if layout.widths[0] == 0 else 0  # the size of W_1
    size = layout.size - sparse
    operations = size + min(sparse, MOST_ENTRIES * int(layout.widths[1]))
    widths = [-(-units // width) * width for units in layout.widths.tolist()]
    places, widest = [0, *itertools.accumulate(widths)], max(widths)
    stored = (places[-2] + int(layout.units[-1])) * itemsize  # bytes of a sample in delta and h_rows
    passing = (2 * places[-1] + widest) * itemsize
    resident = size * itemsize <= RESIDENT_BYTES and passing * width <= RESIDENT_BYTES // 2
    samples = min(max(CHUNK_BYTES // stored, MIN_CHUNK), MAX_CHUNK,
                  MAX_BYTES // (stored if resident else stored + passing),
                  longest_chunk(LANE_FLOPS * width, operations))
    return _Sizes(places, widest, passing, resident, max(1, samples // width) * width)


def _without_inputs(layout: Layout) -> Layout:
    """The layout for panels that begin with a_1, where X is sparse; W_1 stays in its place in theta."""
    widths = layout.widths.copy()
    widths[0] = 0
    return layout._replace(widths=widths, units=np.concatenate([[0], np.cumsum(widths)]).astype(np.int64))


def chunk(layout: Layout, dtype: np.dtype, way: int = WHOLE) -> int:
    """How many samples are taken at a time; see `Backend.chunk`."""
    return _sizes_of(layout if way == WHOLE else _without_inputs(layout), dtype).chunk


def pieces_of(layout: Layout, dtype: np.dtype, by_lanes: bool, factors: int = FLOATS) -> dict[str, Piece]:
    """What the jobs of a network compile, by the names of their fields, the longest to compile first.

    factors : of its products; see `pairs`.
    """
    name, resident = dtype.name, _sizes_of(layout, dtype).resident
    return {
        "propagate_phase": (propagate_share, name), "gradient_phase": (gradient_share, name),
        "affine": (affine_product, name, not resident, periodic_rows()), "gradient_2": (gradient_tile, name, 2),
        "gradient_1": (gradient_tile, name, 1), "clip_panel": (clip_panel, name),
        **({"affine_columns": (columns_product, name)} if takes_columns(layout, dtype) else {}),
        **({"lane_gradient": (lane_gradient, name)} if by_lanes else {}), "dot_rows": (dot_rows, name),
        "keep_outcomes": (keep_outcomes, name), "note_largest": (note_largest, name), "add_outer": (add_outer, name),
        "gather": (transpose_block, name, True), "combine_rows": (combine_rows, name),
        "transpose_block": (transpose_block, name, False), "add_row_sums": (add_row_sums, name),
        "transpose_narrow": (transpose_narrow, name),
        **({} if factors == FLOATS else _pieces_of_pairs(name, resident, factors))}


def takes_columns(layout: Layout, dtype: np.dtype) -> bool:
    """Whether a W has long rows: one of a layer that is not the first, whose errors training does not need."""
    return any(is_long(units, dtype) for units in layout.widths[1:-1].tolist())


def _pieces_of_pairs(name: str, resident: bool, factors: int) -> dict[str, Piece]:
    """What jobs compile in place of other pieces, or beside them, where products have bfloat16 operands."""
    return {
        "propagate_phase": (pair_phases.propagate_share, name),
        "affine": (pair_affine_product, name, not resident, factors),
        "gradient_2": (gradient_tile, name, 2, factors), "gradient_1": (gradient_tile, name, 1, factors),
        **{made.__name__: (made, name, factors) for made in (pair_units, pair_samples, pair_rows)}}


@undisturbed()
def workspace(layout: Layout, dtype: np.dtype, samples: int, way: int = WHOLE, threads: int | None = None,
              factors: int = FLOATS) -> np.ndarray:
    """The job, with its memory, for calls with at most `samples` samples on at most `threads` threads.

    By default `threads` is the number of threads that Numba starts.

    factors : of the products; see `pairs`.
    """
    threads = _config.NUMBA_NUM_THREADS if threads is None else threads
    if way != WHOLE:
        return _for_entries(layout, dtype, samples, way, threads)
    work, size = one_job(layout, dtype, samples, threads, factors)
    job = fields(work)
    chunks = -(-samples // job.chunk)
    if job.group == 0 or min(threads, chunks) < 2:
        return work
    in_crew, in_partial = _apart(len(work), 8), _apart(layout.size, 64 // dtype.itemsize)
    first, own_size = one_job(layout, dtype, job.chunk, 1, factors)
    crew = min(threads, chunks, (MAX_CREW_BYTES - size) // (own_size + in_partial * dtype.itemsize))
    if crew < 2:
        return work
    own = [first, *(one_job(layout, dtype, job.chunk, 1, factors)[0] for _ in range(crew - 1))]
    rows = aligned_zeros(crew * in_crew, np.dtype(np.int64)).reshape(crew, in_crew)
    rows[:, : len(work)] = own
    most = PARTIALS_BYTES // (in_partial * dtype.itemsize) // crew * crew
    together = min(max(crew, most), chunks, job.chunk)
    partials = aligned_zeros(together * in_partial, dtype)
    job.crew, job.crew_size, job.in_crew = rows.ctypes.data, crew, in_crew
    job.partials, job.chunks_in_round, job.in_partial = partials.ctypes.data, together, in_partial
    job.chunks_phase = address_of(chunks_share, dtype.name)
    job.partials_phase = address_of(partials_share, dtype.name)
    return keeping(work, rows, *own, partials)


def _for_entries(layout: Layout, dtype: np.dtype, samples: int, way: int, threads: int) -> np.ndarray:
    """The job for a sparse X, with the memory of `tiles.sparse`."""
    work, _ = one_job(_without_inputs(layout), dtype, samples, threads)
    job, width, units = fields(work), lanes(dtype), int(layout.widths[1])
    line = 64 // dtype.itemsize
    numbers = aligned_zeros(job.chunk, np.dtype(np.int64))
    job.features, job.numbers = int(layout.widths[0]), numbers.ctypes.data
    if way == FROM_TRANSPOSE:
        job.in_transposed, job.in_places = -(-units // line) * line, _apart(2 * width, 8)
        transposed = aligned_zeros(-(-job.features // width) * width * job.in_transposed, dtype)
        places = aligned_zeros(threads * job.in_places, np.dtype(np.int64))
        gradient = aligned_zeros(len(transposed), dtype, written=False)  # calls that only predict never touch it
        delta = aligned_zeros(job.in_transposed * job.chunk, dtype)
        job.transposed, job.transpose_places = transposed.ctypes.data, places.ctypes.data
        job.gradient, job.delta_1 = gradient.ctypes.data, delta.ctypes.data
        job.transpose_phase = address_of(transpose_share, dtype.name)
        return keeping(work, work, numbers, transposed, places, gradient, delta)
    job.in_row_gradient = _apart(job.features, line)
    sums, row_gradient = (aligned_zeros(size, dtype) for size in (units * job.chunk, threads * job.in_row_gradient))
    job.sums_1, job.row_gradient = sums.ctypes.data, row_gradient.ctypes.data
    job.entries_phase = address_of(entries_share, dtype.name)
    return keeping(work, work, numbers, sums, row_gradient)


def one_job(layout: Layout, dtype: np.dtype, samples: int, threads: int, factors: int = FLOATS
            ) -> tuple[np.ndarray, int]:
    """A job whose threads share the panels and tiles of each chunk, and the number of bytes of its memory.

    factors : of the products; see `pairs`.
    """
    width, itemsize, depth = lanes(dtype), dtype.itemsize, layout.depth
    places, widest, passing, resident, most = _sizes_of(layout, dtype)
    units, in_row, outputs = int(layout.units[-1]), places[-1], int(layout.widths[-1])
    panels = min(most // width, max(1, -(-samples // width)))
    count = panels * width
    has_pairs = factors != FLOATS
    fewest = GROUP_OF_PAIRS if has_pairs else MIN_GROUP
    group = max(fewest, min(MAX_GROUP, GROUP_BYTES // (passing * width), MAX_SLOTS // threads) // 2 * 2)
    slots = group * threads if resident else panels
    line, in_rows, in_largest = 64 // itemsize, _apart(2 * width, 8), _apart(depth + 1, 32 // itemsize)
    in_panel, in_error = _apart(in_row * width, line), _apart(widest * width, line)
    in_target, in_outcome = _apart(-(-outputs // width) * width * width, line), _apart(OUTCOME_ROWS * width, line)
    in_sums = _apart(host().tile_rows * (SIDE_BY_SIDE + 1), line)
    row_cost, lane_cost = costs(layout.widths, width)
    samples_of_number = 2 if has_pairs else 1
    # Where lanes are summed, h of every panel has memory of its own.
    by_lanes = resident and not has_pairs and lanes_cost_less(panels, row_cost, lane_cost)
    compiled = pieces_of(layout, dtype, by_lanes, factors)
    scratch = scratch_size(layout.widths) if layout.size <= MAX_PARAMETERS else 0
    h_panels = max(slots, panels) if by_lanes else slots
    sizes = {"scratch": scratch, "a": slots * in_panel, "h": h_panels * in_panel, "e": slots * in_error,
             "d": slots * in_target, "outcome": slots * in_outcome, "delta": panels * units * width,
             "h_rows": places[-2] * count // samples_of_number, "a_panel": outputs * width, "h_panel": outputs * width,
             "delta_rows": width * in_row, "sums": threads * in_sums}
    of_pairs: dict[str, Any] = {}
    delta_row = (-(-count // (2 * line)) | 1) * line if has_pairs else width  # lines, an odd number of them
    if has_pairs:
        of_pairs = {"in_h_pairs": _apart(in_row * width // 2, line),
                    "in_delta_pairs": _apart(widest * width // 2, line),
                    "in_packed": _apart(packed_size(), line)}
        sizes |= {"h_pairs": slots * of_pairs["in_h_pairs"], "delta_pairs": slots * of_pairs["in_delta_pairs"],
                  "tile_delta": units * delta_row, "packed": threads * of_pairs["in_packed"]}
    numbers, places_in_memory = _shared(sizes, dtype)
    integers = aligned_zeros(slots * in_rows + width, np.dtype(np.int64))
    integers[slots * in_rows :] = np.arange(width) * width
    E, correct = aligned_zeros(count, np.dtype(np.float64)), aligned_zeros(count, np.dtype(np.int64))
    largest = aligned_zeros(slots * 2 * in_largest, dtype).reshape(slots, 2, in_largest)
    in_squares = _apart(SQUARES_ROWS * width, 8)
    squares = aligned_zeros(slots * in_squares, np.dtype(np.float64))
    tables: dict[str, Any] = {
        "widths": layout.widths, "weights_at": layout.weights, "biases_at": layout.biases, "units": layout.units,
        "places": places, "first_rows": np.zeros_like(layout.widths), "own_rows": layout.widths,
        "apply": layout.apply, "apply_delta": layout.delta}
    by_layer = np.array([np.resize(table, depth + 2) for table in tables.values()], np.int64)
    before = aligned_zeros(layout.size if layout.size <= MAX_COPIED else 0, dtype)
    work = make_job(
        **{"tile_delta": places_in_memory["delta"], **places_in_memory, **of_pairs},
        **{name: row.ctypes.data for name, row in zip(tables, by_layer, strict=True)},
        depth=depth, inputs=int(layout.widths[0]), outputs=outputs, parameters=layout.size,
        rows=integers.ctypes.data, steps=integers.ctypes.data + 8 * slots * in_rows,
        largest=largest.ctypes.data, squares=squares.ctypes.data, E=E.ctypes.data, correct=correct.ctypes.data,
        before=before.ctypes.data if len(before) else 0,
        **{"lane_gradient": 0, "affine_columns": 0, **{field: address_of(*piece) for field, piece in compiled.items()}},
        evaluate=layout.evaluate, chunk=count, lanes=width, few=0 if has_pairs else min(FEW, width),
        tile_rows=host().tile_rows, lane_rows=lane_rows(),
        row_cost=row_cost if by_lanes else 0, lane_cost=lane_cost, group=group if resident else 0,
        in_panel=in_panel, in_error=in_error, in_target=in_target, in_outcome=in_outcome, in_rows=in_rows,
        in_largest=in_largest, in_squares=in_squares, in_delta=units * width,
        in_tile_delta=delta_row if has_pairs else units * width, tile_delta_row=delta_row,
        samples_of_number=samples_of_number, in_block=count * width // samples_of_number, in_row=in_row,
        in_sums=in_sums, long_row=LONG_ROW // itemsize, period=PERIOD // itemsize,
        largest_factor=LARGEST if has_pairs else np.inf)
    memory = numbers, integers, largest, squares, E, correct, before, by_layer
    return keeping(work, *memory), sum(array.nbytes for array in memory)


def nbytes(work: np.ndarray) -> int:
    """The bytes of a job and its memory."""
    return bytes_kept(work)


def _apart(size: int, line: int) -> int:
    """The size rounded up to whole cache lines, plus a page between the memory of one thread and another's.

    Near the end of an array the processor prefetches lines after it. The other core had to fetch them back at its next
    write: two threads together took 1.4 times as long for their half as alone.
    """
    return (-(-size // line) + 64) * line


def _shared(sizes: dict[str, int], dtype: np.dtype) -> tuple[np.ndarray, dict[str, int]]:
    """One array for all, and the address of each in it: at a cache line, as a vector across two lines costs twice."""
    line = 64 // dtype.itemsize
    begins = np.cumsum([0, *(_apart(size, line) for size in sizes.values())])
    numbers = aligned_zeros(int(begins[-1]), dtype)
    return numbers, {name: numbers.ctypes.data + int(begin) * dtype.itemsize
                     for name, begin in zip(sizes, begins[:-1], strict=True)}
