"""Observing a loader: swap its class for a subclass that tells a Position of every new iteration.

The loader keeps its identity, its iterators and its isinstance checks; a copy or a pickle
of it, as data workers and launchers make, is the plain loader again.
"""

import copyreg
import functools
import sys
import weakref
from collections.abc import Callable, Iterator
from typing import Any, Final

from lossboard.watching.position import Position

POSITIONS: Final = "_lossboard_positions"  # the loader's attribute that holds who listens

_NEW: Final = vars(copyreg)["__newobj__"]  # unknown to the stubs of copyreg
_NEW_WITH_NAMES: Final = vars(copyreg)["__newobj_ex__"]

_observed: dict[type, type] = {}  # plain class → observed subclass


def observe(loader: object, position: Position) -> bool:
    """Tell `position` of every new iteration of `loader`; accelerate's wrappers are looked through.

    Returns False where that can't be done: lists, generators and other iterators.
    """
    target: Any = innermost(loader)
    try:
        plain = type(target)
        if not _is_observed(plain):
            if not hasattr(plain, "__iter__") or hasattr(plain, "__next__") or _is_tensor(target):
                return False
            target.__class__ = _observed_class(plain)
        listening = target.__dict__.get(POSITIONS, ())
        if position not in listening:
            setattr(target, POSITIONS, (*listening, position))
    except (TypeError, AttributeError):
        # Classes in C, __slots__ without __dict__, or a metaclass that forbids subclasses.
        release(target, position)
        return False
    position.is_observed = True
    return True


def release(loader: object, position: Position) -> None:
    """Undo `observe`; with the last listener the loader has its own class again."""
    target: Any = innermost(loader)
    if not _is_observed(type(target)):
        return
    values = getattr(target, "__dict__", {})
    left = tuple(other for other in values.get(POSITIONS, ()) if other is not position)
    if left:
        values[POSITIONS] = left
        return
    values.pop(POSITIONS, None)
    target.__class__ = type(target).__base__


def refer(loader: object) -> Callable[[], object]:
    """Return what gives the loader while the script has it: its workers end with it, not with the run."""
    try:
        return weakref.ref(innermost(loader))
    except TypeError:
        return lambda: loader


def innermost(loader: object) -> object:
    """Return the loader whose iteration is an epoch: accelerate keeps it in `base_dataloader`."""
    # type() and vars(), since accelerate's wrappers answer __class__ and getattr for their inside.
    while (inner := getattr(loader, "__dict__", {}).get("base_dataloader")) is not None:
        loader = inner
    return loader


def batch_size_of(loader: object) -> int | None:
    """Return the batch size that a loader states, if it states one."""
    inner = innermost(loader)
    for source in (inner, getattr(inner, "batch_sampler", None)):
        size = getattr(source, "batch_size", None)
        if type(size) is int and size > 0:
            return size
    return None


def last_size_of(loader: object) -> int | None:
    """Return how many items the last batch of an epoch has where they are fewer than the batch size."""
    inner: Any = innermost(loader)
    size = batch_size_of(loader)
    batches: Any = getattr(inner, "batch_sampler", None)
    if size is None or getattr(batches, "drop_last", True):
        return None
    try:
        return len(batches.sampler) % size or None
    except Exception:
        return None  # a stream without a length, or a sampler of the script's own


def dataset_items(loader: object) -> int | None:
    """Return how many items an epoch of all ranks together should hold, if the loader can tell.

    A sampler that gives each rank its share counts the whole data set; any other one what
    it draws, so that a subset is no lack.
    """
    inner: Any = innermost(loader)
    dataset = getattr(inner, "dataset", None)
    if not hasattr(dataset, "__getitem__"):
        return None
    batches = getattr(inner, "batch_sampler", None)
    sampler = getattr(batches, "sampler", None) or getattr(inner, "sampler", None)
    try:
        return len(dataset if sampler is None or hasattr(sampler, "num_replicas") else sampler) or None  # type: ignore[arg-type]
    except TypeError:
        return None


def __getattr__(name: str) -> Any:
    # accelerate's pickles name the class of the loader inside, for a process that has not watched yet.
    torch = sys.modules.get("torch.utils.data")
    if name == "ObservedDataLoader" and torch is not None:
        return _observed_class(torch.DataLoader)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _is_observed(kind: type) -> bool:
    return _observed.get(kind.__base__ or object) is kind


def _is_tensor(value: object) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def _observed_class(plain: type) -> type:
    if plain not in _observed:
        # No lock, which a fork could leave held for ever: of two threads' classes the first one stays.
        kind = _observed.setdefault(plain, _make_class(plain))
        # Resolvable as lossboard.watching.loaders.<name>, for whatever names classes by their path.
        globals().setdefault(kind.__name__, kind)
    return _observed[plain]


def _make_class(plain: Any) -> type:
    def __iter__(self: Any) -> Iterator[Any]:  # noqa: N807
        iterator: Iterator[Any] = plain.__iter__(self)
        for position in self.__dict__.get(POSITIONS, ()):
            position.arm(iterator)
        return iterator

    def __reduce_ex__(self: Any, protocol: Any) -> Any:  # noqa: N807
        return _plain_recipe(plain.__reduce_ex__(self, protocol), type(self), plain)

    name = f"Observed{plain.__name__}"
    while name in globals():
        name += "_"
    body = {
        "__doc__": f"A {plain.__name__} that tells lossboard of every new iteration.",
        "__module__": __name__,
        "__qualname__": name,
        "__slots__": (),
        "__iter__": __iter__,
        "__reduce_ex__": __reduce_ex__,
    }
    return type(plain)(name, (plain,), body)  # type: ignore[no-any-return]


def _plain_recipe(recipe: Any, observed: type, plain: type) -> Any:
    """Rewrite what pickle and copy rebuild a loader from, so that the plain loader comes out."""
    if not isinstance(recipe, tuple):
        return recipe  # the name of a global
    function, args, *rest = recipe
    args = tuple(plain if arg is observed else arg for arg in args)
    if rest:
        rest[0] = _without_positions(rest[0])
    # pickle insists that __newobj__ makes an object of the very class it was given.
    if function is _NEW:
        function = plain.__new__
    elif function is _NEW_WITH_NAMES:
        _, positional, named = args
        function, args = functools.partial(plain.__new__, plain, *positional, **named), ()
    return (plain if function is observed else function, args, *rest)


def _without_positions(state: Any) -> Any:
    if isinstance(state, dict) and POSITIONS in state:
        return {key: value for key, value in state.items() if key != POSITIONS}
    if isinstance(state, tuple) and len(state) == 2:  # (__dict__, slots)
        return (_without_positions(state[0]), state[1])
    return state
