"""Where the members of a zip archive lie, read so that a damaged or hostile archive costs no more than its own size.

Python's zipfile takes 20 times the memory of a directory, unpacks 2 MB to 4 GB, and believes a directory that does not
agree with the headers of the members. Here an archive is what `numpy.savez` makes, and nothing else: uncompressed
members one after another from the first byte on, each with a header that says the same as the directory, then the
directory, and the end. So no byte of a member belongs to two of them or to none.
"""

import os
import struct
from typing import Any, BinaryIO, NamedTuple

#: The parts of an archive by APPNOTE.TXT, PKWARE's description of the format: a member's header, its entry in the
#: directory, the end of the directory, and, where sizes or counts are too large for that, what points to a larger end.
_HEADER, _ENTRY = struct.Struct("<4s5H3I2H"), struct.Struct("<4s6H3I5H2I")
_END, _POINTER, _LARGE_END = struct.Struct("<4s4H2IH"), struct.Struct("<4sIQI"), struct.Struct("<4sQ2H2I4Q")

#: What stands for a number that is written elsewhere, because it needs 64 bits.
_ELSEWHERE, _COUNT_ELSEWHERE = 0xFFFFFFFF, 0xFFFF

#: The members that an archive may have: what is kept of each is larger than an empty one is in the file.
MOST_MEMBERS = 2**14

#: The one flag of a member that may be set: its name is UTF-8.
_UTF8 = 0x800


class Member(NamedTuple):
    """Where the bytes of a member lie."""

    offset: int
    size: int
    checksum: int  # their CRC-32


def members_of(file: BinaryIO) -> dict[str, Member]:
    """The members of an archive, in their order.

    Raises
    ------
    ValueError
        If it is not exactly such an archive.
    """
    size = file.seek(0, os.SEEK_END)
    count, begin, end = _directory(file, size)
    entries = _read(file, begin, end - begin)
    members: dict[str, Member] = {}
    place = offset = 0
    for _ in range(count):
        name, member, place = _entry(file, entries, place, offset)
        if name in members:
            raise ValueError(f"expected one member {name[:80]!r}, found two")
        members[name] = member
        offset = member.offset + member.size
        if offset > begin:
            raise ValueError(f"{name[:80]!r}: expected it to end before the directory, found {member.size} bytes")
    if place != len(entries) or offset != begin:
        raise ValueError("expected members and a directory without gaps, found other bytes")
    return members


def _directory(file: BinaryIO, size: int) -> tuple[int, int, int]:
    """The number of members, and where the directory begins and ends."""
    end = size - _END.size
    if end < 0 or _read(file, 0, 4) not in (b"PK\3\4", b"PK\5\6"):
        raise ValueError("expected a zip archive, found other bytes")
    signature, *disks, entries_here, entries, length, begin, comment = _END.unpack(_read(file, end, _END.size))
    found = entries_here, entries, length, begin
    if signature != b"PK\5\6" or any(disks) or comment:
        raise ValueError("expected the end of a zip archive as its last bytes, found others: is it cut off?")
    before = end - _POINTER.size
    pointer = _POINTER.unpack(_read(file, before, _POINTER.size)) if before >= _LARGE_END.size else (b"",)
    if pointer[0] == b"PK\6\7":
        end = before - _LARGE_END.size
        signature, rest, _, _, *disks, entries_here, entries, length, begin = _LARGE_END.unpack(
            _read(file, end, _LARGE_END.size))
        large = entries_here, entries, length, begin
        if (signature != b"PK\6\6" or rest != _LARGE_END.size - 12 or any(disks) or pointer[1:] != (0, end, 1)
                or any(a not in (b, min(b, limit)) for a, b, limit in zip(
                    found, large, (_COUNT_ELSEWHERE,) * 2 + (_ELSEWHERE,) * 2, strict=True))):
            raise ValueError("expected two ends of the directory that agree, found others")
    if entries_here != entries or begin + length != end or entries * _ENTRY.size > length:
        raise ValueError(f"expected a directory before the end of the archive, found one of {length} bytes at {begin}")
    if entries > MOST_MEMBERS:
        raise ValueError(f"expected at most {MOST_MEMBERS} members, found {entries}")
    return entries, begin, end


def _entry(file: BinaryIO, entries: bytes, place: int, offset: int) -> tuple[str, Member, int]:
    """The name of the member whose entry begins at `place` of the directory and header at `offset` of the file.

    Returns the member too, and where the next entry begins.
    """
    if len(entries) - place < _ENTRY.size:
        raise ValueError("expected entries of the directory, found the end of it")
    (signature, _, _, flags, method, _, _, checksum, packed, size, name_length, extra_length, comment_length, disk,
     _, _, header) = _ENTRY.unpack_from(entries, place)
    place += _ENTRY.size
    after = place + name_length
    name, extra = entries[place:after], entries[after : after + extra_length]
    size, packed, header = _with_large(extra, size, packed, header)
    if signature != b"PK\1\2" or disk or header != offset:
        raise ValueError(f"expected the next member at byte {offset}, found another in the directory")
    text = name.decode("utf-8")
    begin = _require_header(file, offset, text, (flags, method, checksum, packed, size, name))
    if method or packed != size:
        raise ValueError(f"{text[:80]!r}: expected a member that is not compressed, as np.savez writes it, found "
                         f"compression {method}")
    if flags & ~_UTF8:
        raise ValueError(f"{text[:80]!r}: expected a member that is not encrypted and has its size before it, found "
                         f"flags {flags:#x}")
    return text, Member(begin, size, checksum), after + extra_length + comment_length


def _require_header(file: BinaryIO, offset: int, text: str, expected: tuple[Any, ...]) -> int:
    """Refuse a member's header that says other than the directory; returns where its bytes begin."""
    signature, _, flags, method, _, _, checksum, packed, size, name_length, extra_length = _HEADER.unpack(
        _read(file, offset, _HEADER.size))
    rest = _read(file, offset + _HEADER.size, name_length + extra_length)
    size, packed, _ = _with_large(rest[name_length:], size, packed, 0)
    if signature != b"PK\3\4" or (flags, method, checksum, packed, size, rest[:name_length]) != expected:
        raise ValueError(f"{text[:80]!r}: expected the same in the directory and before the member, found a difference")
    return offset + _HEADER.size + len(rest)


def _with_large(extra: bytes, *numbers: int) -> list[int]:
    """The numbers, those that need 64 bits from the extra field 1."""
    found, place = list(numbers), 0
    while any(number == _ELSEWHERE for number in found) and len(extra) - place >= 4:
        kind, length = struct.unpack_from("<HH", extra, place)
        if kind == 1:
            missing = [k for k, number in enumerate(numbers) if number == _ELSEWHERE]
            large = extra[place + 4 : place + 4 + length]
            if len(large) < 8 * len(missing):
                break
            for k, number in zip(missing, struct.unpack_from(f"<{len(missing)}Q", large), strict=True):
                found[k] = number
            break
        place += 4 + length
    return found


def _read(file: BinaryIO, offset: int, length: int) -> bytes:
    """Bytes of the file; the length is at most that of the file, or below 2^17."""
    file.seek(offset)
    data = file.read(length)
    if len(data) != length:
        raise ValueError(f"expected {length} bytes at {offset}, found {len(data)}: is the file cut off?")
    return data
