"""The fields of a job: each is the same by its name in Python and in compiled code, whatever lies beside it."""

import numba
import numpy as np
import pytest
from numba.core.errors import TypingError
from tolerances import DTYPES

from fastbp.backends.tiles.job import (
    CALL_SIZE,
    FIELDS,
    JOB_SIZE,
    Call,
    Job,
    begin_call,
    fields,
    job_at,
    job_in,
    make_job,
)
from fastbp.compiling.addresses import address_in_memory
from fastbp.compiling.records import Integers, Numbers, Reals, fields_of, record_at, record_dtype

ADDRESSES = [name for name, field in FIELDS.items() if field.target is not None]
NAMES = list(FIELDS)


def compiled(*lines):
    """A compiled function (work, numbers) with these lines, in which T is float32."""
    source = "\n    ".join(["def function(work, numbers):", *lines])
    places = {"job_in": job_in, "job_at": job_at, "address_in_memory": address_in_memory, "T": np.float32}
    exec(source, places)
    return numba.njit(places["function"])


def distinct():
    """A job all of whose fields have different numbers, written by their names in Python, and these numbers."""
    work = np.zeros(JOB_SIZE + 2, np.int64)
    expected = {name: 1000 + 7 * place + (0.5 if field.is_real else 0) for place, (name, field) in
                enumerate(FIELDS.items())}
    for name, number in expected.items():
        setattr(fields(work), name, number)
    assert not work[JOB_SIZE:].any()
    return work, expected


def test_fields_are_read_by_their_names():
    work, expected = distinct()
    assert {name: getattr(fields(work), name) for name in NAMES} == expected
    found = np.zeros(JOB_SIZE)
    compiled("job = job_in(work)", *(f"numbers[{n}] = job.{name}" for n, name in enumerate(NAMES)))(work, found)
    assert dict(zip(NAMES, found, strict=True)) == expected


def test_addresses_are_read_as_pointers():
    work, expected = distinct()
    found = np.zeros(len(ADDRESSES))
    compiled("job = job_at(address_in_memory(work), T)",
             *(f"numbers[{n}] = address_in_memory(job.{name})" for n, name in enumerate(ADDRESSES)))(work, found)
    assert dict(zip(ADDRESSES, found, strict=True)) == {name: expected[name] for name in ADDRESSES}


def test_fields_are_written_by_their_names():
    _, expected = distinct()
    work = np.zeros(JOB_SIZE + 2, np.int64)
    numbers = np.array(list(expected.values()))
    compiled("job = job_in(work)", *(f"job.{name} = numbers[{n}]" if FIELDS[name].is_real else
                                     f"job.{name} = int(numbers[{n}])" for n, name in enumerate(NAMES)))(work, numbers)
    assert {name: getattr(fields(work), name) for name in NAMES} == expected
    assert not work[JOB_SIZE:].any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_pointers_are_to_what_the_list_says(dtype):
    T = np.dtype(dtype).type

    class Described:
        values: Numbers
        places: Integers
        sums: Reals

    at = record_at(Described)

    @numba.njit
    def first_ones(address):
        record = at(address, T)
        return record.values[1], record.places[1], record.sums[1]

    arrays = np.array([0.1, 0.2], dtype), np.array([1, 2**60 + 1]), np.array([0.1, 1e300])
    work = np.array([array.ctypes.data for array in arrays])
    assert first_ones(work.ctypes.data) == (arrays[0][1], 2**60 + 1, 1e300)
    assert fields_of(Described)["values"].target is FIELDS["theta"].target


def test_a_call_comes_first_and_leaves_the_rest():
    """What threads copy of a job is the beginning of it, with every field of a call."""
    work, expected = distinct()
    assert NAMES[:CALL_SIZE] == list(Call.__annotations__)
    assert NAMES[CALL_SIZE:] == list(Job.__annotations__)

    @numba.njit
    def begin(work):
        begin_call(job_in(work), 1, 2)

    begin(work)
    assert (fields(work).theta, fields(work).X, fields(work).lowest) == (1, 2, expected["depth"] + 1)
    wanted = "labels", "targets", "weights", "order", "Y", "E0", "norms", "clip_norm", "keeps", "notes_largest", \
        "jacobian", "behind"
    assert not any(getattr(fields(work), name) for name in wanted)
    assert all(getattr(fields(work), name) == expected[name] for name in Job.__annotations__)


def test_a_field_that_is_not_there_is_refused():
    with pytest.raises(TypingError, match="no_such_field"):
        compiled("job_in(work).no_such_field = 1")(np.zeros(JOB_SIZE, np.int64), np.zeros(1))
    with pytest.raises(AttributeError, match="no_such_field"):
        fields(np.zeros(JOB_SIZE, np.int64)).no_such_field = 1
    with pytest.raises(TypeError, match="no_such_field"):
        make_job(no_such_field=1)
    assert record_dtype(FIELDS).itemsize == 8 * JOB_SIZE
