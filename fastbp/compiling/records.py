"""Records, memory with named fields, in Python and compiled code: offsets, types and access follow from one class.

Every field takes 64 bits. The annotation of a field says what it holds:

    int, float, bool              a number, or a flag that is 0 or 1
    Code                          the address of a function, see `addresses`, or 0
    Numbers, Integers, Reals      the address of numbers of the network's dtype, of int64 or of float64; or 0
"""

import functools
from typing import Annotated, Any, NamedTuple, get_type_hints

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core.typing.templates import AttributeTemplate
from numba.extending import infer_getattr, lower_getattr_generic, lower_setattr_generic, models, register_model

from .addresses import INTEGER, intrinsic

_AttributeTemplate: Any = AttributeTemplate  # its declared method gives nothing

_ANY_DTYPE = object()

Code = int
Numbers = Annotated[Any, _ANY_DTYPE]
Integers = Annotated[Any, types.int64]
Reals = Annotated[Any, types.float64]


class Field(NamedTuple):
    """One field."""

    place: int           # among the 64-bit numbers
    is_real: bool        # whether it is a float64; else it is an int64
    target: Any          # the Numba type of the numbers at the address; None for a field that is no address

    def type_for(self, dtype: Any) -> Any:
        """Its type in compiled code for numbers of a dtype; if that is None, addresses are integers."""
        if self.target is None or dtype is None:
            return types.float64 if self.is_real else INTEGER
        return types.CPointer(dtype if self.target is _ANY_DTYPE else self.target)


@functools.cache
def fields_of(described: type) -> dict[str, Field]:
    """The fields of an annotated class, those of its bases first."""
    hints = get_type_hints(described, include_extras=True)
    return {name: Field(place, hint is float, getattr(hint, "__metadata__", (None,))[0])
            for place, (name, hint) in enumerate(hints.items())}


def record_dtype(fields: dict[str, Field]) -> np.dtype:
    """The NumPy dtype of a record, whose elements have the fields as attributes."""
    return np.dtype((np.record, [(name, "f8" if field.is_real else "i8") for name, field in fields.items()]))


class RecordType(types.Type):
    """The Numba type of the address of a record.

    Parameters
    ----------
    described : type
        The annotated class.
    dtype : Numba type, optional
        Of the network's numbers. With it addresses are read as pointers, else read and written as integers.
    """

    def __init__(self, described: type, dtype: Any = None) -> None:
        super().__init__(f"{described.__name__}({dtype or ''})")
        self.described, self.dtype = described, dtype

    def type_of(self, name: str) -> Any:
        """The type of the field of a name, or None."""
        field = fields_of(self.described).get(name)
        return None if field is None else field.type_for(self.dtype)


@register_model(RecordType)
class _RecordModel(models.PrimitiveModel):
    def __init__(self, manager: Any, record: Any) -> None:
        super().__init__(manager, record, ir.IntType(64).as_pointer())


@infer_getattr
class _RecordAttributes(_AttributeTemplate):
    key = RecordType

    def generic_resolve(self, record: Any, name: str) -> Any:
        return record.type_of(name)


def _place(context: Any, builder: Any, record: Any, address: Any, name: str) -> Any:
    """The address of a field."""
    place = builder.gep(address, [ir.IntType(64)(fields_of(record.described)[name].place)])
    return builder.bitcast(place, context.get_value_type(record.type_of(name)).as_pointer())


@lower_getattr_generic(RecordType)
def _read(context: Any, builder: Any, record: Any, address: Any, name: str) -> Any:
    return builder.load(_place(context, builder, record, address, name))


@lower_setattr_generic(RecordType)
def _write(context: Any, builder: Any, signature: Any, values: Any, name: str) -> None:
    address, value = values
    builder.store(value, _place(context, builder, signature.args[0], address, name))


def record_at(described: type) -> Any:
    """The compiled function (address, T) → the record at an address, for numbers of T, such as np.float32, or None."""
    @intrinsic
    def at(typing_context: Any, address: Any, number: Any) -> Any:
        signature = RecordType(described, getattr(number, "instance_type", None))(address, number)

        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            return builder.inttoptr(values[0], context.get_value_type(signature.return_type))

        return signature, codegen

    return at


def pointer_dtype(dtype: str) -> Any:
    """The Numba type of the numbers of a dtype."""
    return numba.from_dtype(np.dtype(dtype))
