"""Running the script's own code on the side: no gradients, no records of it, and the dice set back."""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any, Final, cast

blocks: Final[list[object]] = []
"""Of every thread, what runs undisturbed now; while there is none, nobody is muted."""

_is_muted: ContextVar[bool] = ContextVar("lossboard_is_muted", default=False)


def is_muted() -> bool:
    """Whether what runs now is run by us, so that a hook of ours has nothing to record."""
    return _is_muted.get()


class Dice:
    """The random generators of this process as they stand: torch's on all devices, Python's and numpy's.

    `more` are generators of the script's own.
    """

    def __init__(self, more: Iterable[Any] = ()) -> None:
        torch = sys.modules["torch"]  # loaded: its tensors are in our hands
        self._held: list[tuple[Callable[[], Any], Callable[[Any], None], Any]] = []
        self._hold(torch.get_rng_state, torch.set_rng_state)
        if torch.cuda.is_initialized():
            for generator in torch.cuda.default_generators:
                self._hold(generator.get_state, generator.set_state)
        if (mps := sys.modules.get("torch.mps")) is not None and torch.backends.mps.is_available():
            self._hold(mps.get_rng_state, mps.set_rng_state)
        for generator in more:
            self._hold(generator.get_state, generator.set_state)
        if (python := sys.modules.get("random")) is not None:
            self._hold(python.getstate, python.setstate)
        if (numpy := sys.modules.get("numpy.random")) is not None:
            self._hold(numpy.get_state, numpy.set_state)

    def have_fallen(self) -> bool:
        """Whether any generator has drawn since."""
        return any(_bytes_of(read()) != _bytes_of(state) for read, _, state in self._held)

    def restore(self) -> None:
        """Set all generators back."""
        for _, write, state in self._held:
            write(state)

    def _hold(self, read: Callable[[], Any], write: Callable[[Any], None]) -> None:
        self._held.append((read, write, read()))


@contextmanager
def undisturbed(more_dice: Iterable[Any] = ()) -> Iterator[Dice]:
    """Run without gradients, without records of ours, and with the dice set back at the end."""
    torch = sys.modules["torch"]
    dice = Dice(more_dice)
    # Under autocast a weight that is cast without gradients is kept for the rest of the block, and
    # the training step after us would find a copy that leads no gradient to the weight.
    is_cached = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)
    token = _is_muted.set(True)
    blocks.append(token)
    try:
        with torch.no_grad():
            yield dice
    finally:
        blocks.remove(token)
        _is_muted.reset(token)
        torch.set_autocast_cache_enabled(is_cached)
        dice.restore()


def find_danger() -> str | None:
    """Say why calling the script's code on the side could hang or spoil it; None where it could not."""
    torch = sys.modules["torch"]
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1:
        return "The loss may talk to the other processes of this run, which would wait for it."
    if torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing():
        return "A CUDA graph is being captured."
    return "The loss is being compiled." if torch.compiler.is_compiling() else None


def uncompiled() -> AbstractContextManager[Any]:
    """Keep compiled functions from being compiled anew for each shape that they are called with."""
    stance = getattr(sys.modules["torch"].compiler, "set_stance", None)
    # Asking dynamo loads it, which takes a second; whoever has compiled something has it.
    if stance is None or "torch._dynamo" not in sys.modules:
        return nullcontext()
    return cast(AbstractContextManager[Any], stance("force_eager"))


def _bytes_of(state: Any) -> Any:
    """Return a generator's state in a form that can be compared."""
    if isinstance(state, tuple):
        return tuple(_bytes_of(part) for part in state)
    return state.tolist() if hasattr(state, "tolist") else state
