"""A stand-in for the driver of an NVIDIA GPU: the host's code runs where there is none, and kernels do nothing.

`install` makes a library that the packages of CUDA take for `libcuda`. Memory of the device is the processor's, so that
copies are real. Kernels are compiled as for a GPU and loaded, and their launches are counted. Nothing is computed: what
the host waits for, such as how many steps were taken, is written by functions that stand in for a kernel's effect.
"""

import ctypes
import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

#: All that the packages ask of the library itself; the rest goes through it.
SOURCE = """
typedef int (*resolve)(const char *, void **, int, unsigned long long, int *);
resolve resolver;
int cuGetProcAddress_v2(const char *name, void **function, int version, unsigned long long flags, int *status) {
    return resolver(name, function, version, flags, status);
}
"""

#: Attributes of the device by their numbers: its capability, multiprocessors, threads of a block and of a warp; all
#: others are 1.
ATTRIBUTES = {75: 9, 76: 0, 16: 132, 1: 1024, 10: 32}

BLOCKS_OF_MULTIPROCESSOR = 4

CAPTURE_INVALID = 901


class Driver:
    """What was asked of the driver, and what it holds.

    Attributes
    ----------
    calls : Counter
        Functions of the driver, by their names.
    launches : Counter
        Kernels that ran, by their names; those of a graph count each time.
    held : dict
        The memory that was allocated and is not free yet, and its size in bytes.
    order : list
        The names of both, one after another.
    on_load : callable
        Called with the name of each kernel that is loaded.
    effects : dict
        Stand-ins for kernels, by their names. Of a launch they take a function that gives the number at parameter i,
        and return one without parameters, which is called each time that the kernel would run.
    """

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.launches: Counter[str] = Counter()
        self.held: dict[int, int] = {}
        self.effects: dict[str, Callable[[Any], Callable[[], None] | None]] = {}
        self.order: list[str] = []  # of calls and launches
        self.on_load: Callable[[str], None] = lambda name: None
        self.refuses_to_capture = False
        self._blocks: dict[int, Any] = {}
        self._names: dict[int, str] = {}
        self._capturing: dict[int, list[Any]] = {}
        self._graphs: dict[int, list[Any]] = {}
        self._next = 0x1000
        self._kept: dict[str, Any] = {}

    # ---- plain answers ---------------------------------------------------------------------------------------------

    def _handle(self, place: int) -> int:
        """Write a handle that nothing else has to a place."""
        self._next += 16
        return self._write(place, self._next)

    @staticmethod
    def _write(place: int, value: int, kind: Any = ctypes.c_uint64) -> int:
        kind.from_address(place).value = value
        return 0

    def cuDriverGetVersion(self, place, *_): return self._write(place, 12090, ctypes.c_int)
    def cuDeviceGetCount(self, place, *_): return self._write(place, 1, ctypes.c_int)
    def cuDeviceGet(self, place, *_): return self._write(place, 0, ctypes.c_int)
    def cuCtxGetDevice(self, place, *_): return self._write(place, 0, ctypes.c_int)
    def cuDevicePrimaryCtxRetain(self, place, *_): return self._write(place, 0x100)
    def cuCtxGetCurrent(self, place, *_): return self._write(place, 0x100)
    def cuCtxPopCurrent(self, place, *_): return self._write(place, 0x100)
    def cuStreamCreate(self, place, *_): return self._handle(place)
    def cuEventCreate(self, place, *_): return self._handle(place)
    def cuLibraryLoadData(self, place, *_): return self._handle(place)
    def cuPointerGetAttribute(self, place, *_): return self._write(place, 0, ctypes.c_int)
    def cuKernelGetAttribute(self, place, *_): return self._write(place, 0, ctypes.c_int)
    def cuFuncGetAttribute(self, place, *_): return self._write(place, 0, ctypes.c_int)

    def cuKernelGetFunction(self, place, kernel, *_):
        return self._write(place, kernel)

    def cuStreamIsCapturing(self, stream, place, *_):
        return self._write(place, stream in self._capturing, ctypes.c_int)

    def cuDeviceGetName(self, place, size, *_):
        ctypes.memmove(place, b"stand-in\0", 9)
        return 0

    def cuDeviceGetAttribute(self, place, attribute, *_):
        return self._write(place, ATTRIBUTES.get(attribute & 0xFFFFFFFF, 1), ctypes.c_int)

    def cuOccupancyMaxActiveBlocksPerMultiprocessor(self, place, *_):
        return self._write(place, BLOCKS_OF_MULTIPROCESSOR, ctypes.c_int)

    # ---- memory ----------------------------------------------------------------------------------------------------

    def cuMemGetInfo(self, free, total, *_):
        return self._write(free, 2**36) or self._write(total, 2**37)

    def cuMemAlloc(self, place, size, *_):
        block = ctypes.create_string_buffer(size)
        address = ctypes.addressof(block)
        self._blocks[address], self.held[address] = block, size
        return self._write(place, address)

    def cuMemFree(self, address, *_):
        del self._blocks[address], self.held[address]
        return 0

    cuMemHostAlloc = cuMemAllocHost = cuMemAlloc
    cuMemFreeHost = cuMemFree

    def cuMemcpyHtoD(self, target, source, size, *_):
        ctypes.memmove(target, source, size)
        return 0

    cuMemcpyDtoH = cuMemcpyDtoD = cuMemcpyHtoD
    cuMemcpyHtoDAsync = cuMemcpyDtoHAsync = cuMemcpyDtoDAsync = cuMemcpyHtoD

    # ---- kernels and graphs ----------------------------------------------------------------------------------------

    def cuLibraryGetKernel(self, place, library, name, *_):
        self._handle(place)
        # Numba's names are _ZN, a length and a name for each part, of which the last one is the function's, and more.
        rest = ctypes.string_at(name).decode().removeprefix("_ZN")
        while length := re.match(r"\d+", rest):
            end = length.end() + int(length[0])
            self._names[self._next], rest = rest[length.end() : end], rest[end:]
        self.on_load(self._names[self._next])
        return 0

    def cuLaunchKernelEx(self, config, kernel, parameters, *_):
        # grid (3 × 4 bytes), block (3 × 4), shared memory (4), and the stream
        name, stream = self._names[kernel], ctypes.c_uint64.from_address(config + 32).value
        effect = self.effects.get(name)
        places = ctypes.cast(parameters, ctypes.POINTER(ctypes.c_uint64))
        run = name, effect(lambda i: ctypes.c_uint64.from_address(places[i]).value) if effect else None
        if stream in self._capturing:
            self._capturing[stream].append(run)
        else:
            self._run(run)
        return 0

    def _run(self, run):
        name, effect = run
        self.launches[name] += 1
        self.order.append(name)
        if effect is not None:
            effect()

    def cuStreamBeginCapture(self, stream, *_):
        if self.refuses_to_capture:
            return CAPTURE_INVALID
        self._capturing[stream] = []
        return 0

    def cuStreamEndCapture(self, stream, place, *_):
        self._handle(place)
        self._graphs[self._next] = self._capturing.pop(stream)
        return 0

    def cuGraphInstantiateWithFlags(self, place, graph, *_):
        launches = self._graphs[graph]
        self._handle(place)
        self._graphs[self._next] = launches
        return 0

    def cuGraphDestroy(self, graph, *_):
        del self._graphs[graph]
        return 0

    cuGraphExecDestroy = cuGraphDestroy

    def cuGraphLaunch(self, graph, *_):
        for run in self._graphs[graph]:
            self._run(run)
        return 0

    # ---- how it is found -------------------------------------------------------------------------------------------

    def resolve(self, name, place, version, flags, status):
        """cuGetProcAddress: the function of a name; one that is unknown does nothing, and is counted."""
        text = name.decode().removesuffix("_ptsz").removesuffix("_v2")
        if text not in self._kept:
            function = getattr(self, text, None)

            def call(*arguments):
                self.calls[text] += 1
                self.order.append(text)
                try:
                    return function(*arguments) if function else 0
                except Exception as error:
                    print(f"stand-in for the driver, {text}: {error!r}", flush=True)
                    return 999

            self._kept[text] = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_uint64] * 6)(call)
        self._write(place, ctypes.cast(self._kept[text], ctypes.c_void_p).value)
        if status:
            self._write(status, 0, ctypes.c_int)
        return 0


def install() -> Driver:
    """The stand-in, in place of a driver in this process; before anything of CUDA is imported."""
    folder = Path(tempfile.mkdtemp())
    source, library = folder / "libcuda.c", folder / "libcuda.so.1"
    source.write_text(SOURCE)
    subprocess.run(["cc", "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", "-o", library, source], check=True)
    driver, loaded = Driver(), ctypes.CDLL(str(library), ctypes.RTLD_GLOBAL)
    form = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_char_p, ctypes.c_uint64, ctypes.c_int, ctypes.c_uint64,
                            ctypes.c_uint64)
    driver._kept["cuGetProcAddress"] = form(driver.resolve)
    ctypes.c_void_p.in_dll(loaded, "resolver").value = ctypes.cast(driver._kept["cuGetProcAddress"],
                                                                   ctypes.c_void_p).value
    driver._kept["library"] = loaded
    return driver
