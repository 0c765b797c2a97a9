"""Stand-ins for what a loss is made of: copies on the host in float64 that can be called without a trace.

A function is copied with what it captures and an object with its attributes, as far as
these are tensors, modules, functions or plain containers. Hooks are left out, so that
neither ours nor the script's run.
"""

import copy
import functools
import sys
from collections.abc import Iterator
from types import CellType, CodeType, FunctionType, MethodType
from typing import Any, Final

MAX_NUMBERS: Final = 2_000_000  # of a tensor, or of a module's parameters and buffers: 16 MB as float64
MAX_COPIES: Final = 64  # of functions and objects: each function's holds a copy of its module's names
MAX_ENTRIES: Final = 1000  # of a container whose entries are copied too

_LIBRARIES: Final = ("torch", "numpy")  # whose functions capture nothing of a loss

# Their copies would speak to other processes, or be parts of something larger.
_SHARED: Final = ("torch.distributed", "torch.nn.parallel", "deepspeed")


class Standins:
    """Stand-ins made for one probe, each thing's only once.

    `device` None leaves everything where it is, `is_double` False in its own type.
    `originals` are the modules that could not be copied and stand for themselves.
    """

    def __init__(self, device: str | None, *, is_double: bool) -> None:
        self.originals: list[Any] = []
        self._torch = sys.modules["torch"]
        self._device = device
        self._is_double = is_double
        self._made: dict[int, Any] = {}
        self._kept: list[Any] = []  # alive, so that no id is given twice
        self._names: list[dict[str, Any]] = []  # what copied functions look their names up in
        self._copies = 0

    def of(self, thing: Any) -> Any:
        """Return the stand-in of a tensor, module or function; anything else stands for itself."""
        if id(thing) not in self._made:
            self._kept.append(thing)
            self._made[id(thing)] = self._make(thing)
        return self._made[id(thing)]

    def forget(self) -> None:
        """Let go of everything: a copied function is in its own names, a ring that would keep a graph."""
        for names in self._names:
            names.clear()
        self._names.clear()
        self._made.clear()
        self._kept.clear()

    def _make(self, thing: Any) -> Any:
        torch = self._torch
        if type(thing) in (torch.Tensor, torch.nn.Parameter):
            return self.of_tensor(thing) if thing.numel() <= MAX_NUMBERS else thing
        if isinstance(thing, torch.nn.Module):
            return self._of_module(getattr(thing, "_orig_mod", thing))
        # Compiled code would be compiled anew for each part of the batch.
        inner = getattr(thing, "_torchdynamo_orig_callable", None)
        if inner is not None:
            return self.of(inner)
        if isinstance(thing, functools.partial):
            named = {name: self.of(value) for name, value in thing.keywords.items()}
            return functools.partial(self.of(thing.func), *map(self.of, thing.args), **named)
        if type(thing) in (list, dict, set):
            return self._of_container(thing)
        if self._copies >= MAX_COPIES:
            return thing
        if isinstance(thing, MethodType):
            owner = thing.__self__
            is_module = isinstance(owner, torch.nn.Module)
            return MethodType(thing.__func__, self.of(owner) if is_module else self._of_object(owner))
        if isinstance(thing, FunctionType):
            is_library = (thing.__module__ or "").partition(".")[0] in _LIBRARIES
            return thing if is_library else self._of_function(thing)
        # An object whose class, in Python, says how it is called; a class itself is called otherwise.
        is_ours = callable(thing) and hasattr(type(thing).__call__, "__code__")
        return self._of_object(thing) if is_ours else thing

    def of_tensor(self, tensor: Any) -> Any:
        """Return a copy that shares nothing with the tensor, not even the graph."""
        kind = self._torch.float64 if self._is_double and tensor.is_floating_point() else tensor.dtype
        return tensor.detach().to(device=self._device or tensor.device, dtype=kind, copy=True)

    def _of_module(self, module: Any) -> Any:
        parts = list(module.modules())
        held = (*module.parameters(), *module.buffers())
        is_shared = any(type(thing).__module__.startswith(_SHARED) for thing in (*parts, *held))
        if is_shared or sum(tensor.numel() for tensor in held) > MAX_NUMBERS:
            self.originals.append(module)
            return module
        # What deepcopy finds here it takes for copied already.
        memo = {
            id(thing): kept
            for part in parts
            for name, thing in vars(part).items()
            for kept in self._keep(name, thing)
        }
        try:
            standin = copy.deepcopy(module, memo)
            if self._device is not None:
                standin.to(self._device)
            if self._is_double:
                standin.double()
            for part in standin.modules():  # plain attributes, which neither `to` nor `double` knows
                for name, held in vars(part).items():
                    if isinstance(held, self._torch.Tensor):
                        vars(part)[name] = self.of_tensor(held)
        except Exception:  # locks, open files, tensors within a graph: there are modules that can't be copied
            self.originals.append(module)
            return module
        return standin

    def _keep(self, name: str, held: Any) -> Iterator[Any]:
        """Yield what stands in for a module's attribute, unless it is to be copied as it is.

        Hooks are left out. A trainer, a data set or a lock may be large or refuse to be copied.
        """
        if "hook" in name and isinstance(held, dict):
            yield type(held)()
        elif isinstance(held, list | dict | tuple | set):
            if len(held) > MAX_ENTRIES:
                yield held
        elif not isinstance(held, self._torch.Tensor | self._torch.nn.Module):
            yield held

    def _of_container(self, container: Any) -> Any:
        standin = copy.copy(container)
        self._made[id(container)] = standin
        if len(container) <= MAX_ENTRIES and isinstance(container, list):
            standin[:] = map(self.of, container)
        elif len(container) <= MAX_ENTRIES and isinstance(container, dict):
            standin.update((key, self.of(held)) for key, held in container.items())
        return standin

    def _of_object(self, thing: Any) -> Any:
        """Copy an object of the script's with its attributes, so that what it counts stays its own."""
        self._copies += 1
        try:
            standin = copy.copy(thing)
            if type(standin) is not type(thing):
                return standin  # it chose what its copies are, as our own watchers do
            names = vars(standin)
        except Exception:
            return thing  # there are objects that refuse: it stands for itself
        if names is vars(thing):
            return thing
        self._made[id(thing)] = standin
        names.update((name, self.of(held)) for name, held in list(names.items()))
        return standin

    def _of_function(self, function: FunctionType) -> FunctionType:
        self._copies += 1
        names = dict(function.__globals__)
        self._names.append(names)
        cells = tuple(CellType() for _ in function.__closure__ or ())
        standin = FunctionType(function.__code__, names, function.__name__, None, cells or None)
        self._made[id(function)] = standin  # before its own names are looked up: it may be one of them
        standin.__defaults__ = tuple(map(self.of, function.__defaults__ or ())) or None
        standin.__kwdefaults__ = {
            name: self.of(value) for name, value in (function.__kwdefaults__ or {}).items()
        } or None
        for cell, original in zip(cells, function.__closure__ or (), strict=True):
            try:
                cell.cell_contents = self.of(original.cell_contents)
            except ValueError:
                continue  # an empty cell: a name that is not bound yet
        for name in _names_in(function.__code__):
            if name in names:
                names[name] = self.of(names[name])
        return standin


def _names_in(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names_in(constant)
