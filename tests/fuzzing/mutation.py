"""Damaged files: bytes that are changed anywhere, and archives and arrays that are made to lie."""

import io
import struct
import zipfile
from typing import Any

import numpy as np

from .values import one_of

#: Four and eight bytes that are at the edge of numbers.
EDGES = [bytes(8), b"\xff" * 8, b"\x00\x00\x00\x80", b"\xff\xff\xff\x7f", b"\x00" * 7 + b"\x80", b"\xff" * 7 + b"\x7f",
         b"\x01", b"\x7f", b"\x80", b"\xfe\xff", b"\x00\x01", struct.pack("<q", 2**40), struct.pack("<d", np.nan)]

#: Headers of arrays that no writer makes.
HEADERS = ["", "{}", "{'descr': '<f8'}", "[1]", "None", "(" * 4000, "[" * 200 + "]" * 200, "{'a'", "1" * 5000,
           "-" * 3000 + "1",
           "{[]: 1}", "{'descr': [], 'fortran_order': False, 'shape': (3,)}", "f''", "\\", "{'descr': '<f8' "
           + "'x'" * 500 + "}",
           "{'descr': [('a', '<f8', (2,))], 'fortran_order': False, 'shape': (3,)}", "{1: 2, 'descr': 3, (): 4}",
           "b'\\xff'"]
DESCRIPTIONS = ["'<f8'", "'<f4'", "'|O'", "'<U0'", "'|S0'", "'<U1'", "'|V0'", "'<c16'", "'<M8[s]'", "'<f16'", "'|b1'",
                "'>i2'", "'x'",
                "5", "None", "'<f8,<f8'", "[('a', '|O')]", "[('a', '<f8')]", "'<U1000000000'",
                "('<f8', (1000000000,))", "''",
                "{'names': ['a'], 'formats': ['<f8']}", "[('', '<f8'), ('', '<f8')]", "'<f2'"]
SHAPES = ["()", "(3,)", "(0,)", "(3, 2)", "(-1,)", "(-3, 2)", "(4611686018427387904,)",
          "(9223372036854775807, 9223372036854775807)",
          "(True, 2)", "3", "None", "(3.0,)", "('3',)", "(" + "1, " * 70 + ")", "(1000000000000, 0)",
          "(0, 1000000000000)",
          "(" + "9" * 2000 + ",)", "(100000, 100000)", "(3L, 2)"]


def damaged(rng: np.random.Generator, content: bytes) -> bytes:
    """The content with one to some changes of bytes."""
    for _ in range(int(rng.integers(1, 4))):
        if not content:
            return content
        begin = int(rng.integers(len(content)))
        if rng.random() < 0.3:  # where headers are, and the directories of archives
            begin = int(rng.integers(min(len(content), 200)))
            begin = begin if rng.random() < 0.5 else len(content) - 1 - begin
        end = min(len(content), begin + int(rng.integers(1, 40)))
        match int(rng.integers(8)):
            case 0:
                content = content[:begin] + bytes([content[begin] ^ (1 << int(rng.integers(8)))]) + content[begin + 1 :]
            case 1:
                content = content[:begin] + rng.bytes(1) + content[begin + 1 :]
            case 2:
                content = content[:begin]
            case 3:
                content = content[:begin] + content[end:]
            case 4:
                content = content[:end] + content[begin:end] + content[end:]
            case 5:
                edge = one_of(rng, EDGES)
                content = content[:begin] + edge + content[begin + len(edge) :]
            case 6:
                content = content[:begin] + rng.bytes(end - begin) + content[begin:]
            case 7:
                other = int(rng.integers(len(content)))
                content = content[:begin] + content[other : other + end - begin] + content[end:]
    return content


def odd_npy(rng: np.random.Generator) -> bytes:
    """A file like one of `np.save`, with a header that lies, and some bytes after it."""
    text = (one_of(rng, HEADERS) if rng.random() < 0.3 else
            f"{{'descr': {one_of(rng, DESCRIPTIONS)}, 'fortran_order': {one_of(rng, ['False', 'True', '2', 'None'])}, "
            f"'shape': {one_of(rng, SHAPES)}, }}")
    header = text.encode("latin1") + b"\n"
    version = one_of(rng, [(1, 0), (1, 0), (2, 0), (3, 0), (0, 0), (9, 9)])
    length = one_of(rng, [len(header), len(header), len(header), 0, 2**16 - 1, 2**32 - 1])
    packed = struct.pack("<H", min(length, 2**16 - 1)) if version == (1, 0) else struct.pack("<I", length)
    return b"\x93NUMPY" + bytes(version) + packed + header + bytes(int(rng.integers(0, 200)))


def npy(array: Any) -> bytes:
    """A file of `np.save`."""
    file = io.BytesIO()
    np.save(file, np.asarray(array), allow_pickle=True)
    return file.getvalue()


def archive(rng: np.random.Generator, members: dict[str, bytes]) -> bytes:
    """A zip archive of members, which may be compressed, stand there twice, or lie about their sizes."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as written:
        for name, content in members.items():
            kind = one_of(rng, [zipfile.ZIP_STORED] * 40 + [zipfile.ZIP_DEFLATED] * 20 + [zipfile.ZIP_BZIP2,
                                                                                          zipfile.ZIP_LZMA])
            for _ in range(2 if rng.random() < 0.03 else 1):
                information = zipfile.ZipInfo(name)
                information.compress_type = kind
                import warnings
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # of a name that stands there twice
                    written.writestr(information, content)
    made = bytearray(file.getvalue())
    if rng.random() < 0.2:  # the sizes in the directory
        place = made.find(b"PK\x01\x02")
        at = place + one_of(rng, [20, 24, 42, 10, 8, 28, 32, 34])
        made[at : at + 4] = one_of(rng, [b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", bytes(4), struct.pack("<I", 2**30),
                                         rng.bytes(4)])
    return bytes(made)
