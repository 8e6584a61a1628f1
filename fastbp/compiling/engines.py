"""Code of users' own functions, of which a process may compile any number: what it was made from does not stay.

Numba keeps LLVM's modules of all that it compiles until the process ends. Here machine code stays where its address may
be called, and goes with its dispatcher where only Python calls it.
"""

import functools
from typing import Any

from llvmlite import binding as llvm
from numba import types
from numba.core.codegen import JITCPUCodegen, RuntimeLinker
from numba.core.registry import cpu_target

from .decorators import KernelCompiler, OnePipeline, WideVectors
from .interrupts import safe_point


@functools.cache
def _engine() -> Any:
    """The LLVM engine that holds machine code until the process ends."""
    return JITCPUCodegen("fastbp")._engine._ee


class _LastingLibrary(WideVectors, OnePipeline):
    """Code of which only the machine code stays, also after the library is gone.

    Tens of kilobytes of a small function, where Numba keeps a megabyte. Functions of which no address was asked for lie
    in pages together.
    """

    def _optimize_final_module(self) -> None:
        for symbol in (*self._final_module.functions, *self._final_module.global_variables):
            if not symbol.is_declaration and symbol.linkage is not llvm.Linkage.external:
                symbol.linkage = llvm.Linkage.internal  # LLVM then deletes what nothing uses
        super()._optimize_final_module()

    def _finalize_final_module(self) -> None:
        safe_point()
        module = self._final_module
        self._has_own_engine = not any(variable.name.startswith(RuntimeLinker.PREFIX)
                                       for variable in module.global_variables)
        if not self._has_own_engine:  # it calls what is not compiled yet, which Numba's engine finds later
            super()._finalize_final_module()
            return
        self._finalize_dynamic_globals()
        self._verify_declare_only_symbols()
        self._defined = {function.name for function in module.functions if not function.is_declaration}
        _engine().add_object_file(llvm.ObjectFileRef.from_data(self._codegen._tm.emit_object(module)))
        self._finalized = True

    def get_pointer_to_function(self, name: str) -> int:
        self._ensure_finalized()
        if not self._has_own_engine:
            return int(super().get_pointer_to_function(name))
        return int(_engine().get_function_address(name)) if name in self._defined else 0


class LastingCompiler(KernelCompiler):
    """Compiles machine code that stays until the process ends, and nothing else that does."""

    _library = _LastingLibrary


def forget_constants() -> None:
    """Let go of what Numba remembers about compiled functions that were constants of others: 4 kB each."""
    known = cpu_target.target_context._get_constants._cache
    for signature in [signature for signature in known if isinstance(signature[0], types.Dispatcher)]:
        del known[signature]


class _PassingLibrary(OnePipeline):
    """Code of which nothing stays."""

    def _finalize_final_module(self) -> None:
        safe_point()
        super()._finalize_final_module()


class PassingCompiler(KernelCompiler):
    """Compiles code that is gone with its dispatcher."""

    @staticmethod
    def _library(codegen: Any, name: str) -> Any:
        return _PassingLibrary(JITCPUCodegen("fastbp"), name)  # an LLVM engine of its own, deleted with its library
