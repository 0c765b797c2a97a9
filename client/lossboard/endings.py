"""How processes end and what that says of a run: errors at the top, exits, children of multiprocessing."""

import atexit
import sys
from collections.abc import Callable, Iterator
from typing import Any, Final

_MARK: Final = "_lossboard_seen"  # on an error: the number of the first run that started after it


def find_state(number: int) -> str:
    """Tell how run `number` of this process ends: failed where an error reached the top since it started."""
    return "failed" if any(_is_new(error, number) for error in _errors()) else "finished"


def mark_errors(number: int) -> None:
    """Note on errors that were there before run `number` started that they are not this run's.

    On the error itself: a reference would keep its frames and their tensors alive, and an
    id may be given again.
    """
    for error in _errors():
        if not hasattr(error, _MARK):
            try:
                setattr(error, _MARK, number)
            except Exception:
                continue  # a class that forbids it: then the error counts against the run


def means_failure(error: BaseException | None) -> bool:
    """Whether leaving by `error` is a failure: `sys.exit()` and `sys.exit(0)` are none."""
    return error is not None and not (isinstance(error, SystemExit) and error.code in (None, 0))


def call_at_exit(finish: Callable[[], None]) -> None:
    """Call `finish` when this process ends; once more does no harm.

    A forked child of multiprocessing leaves by os._exit, which knows no atexit, but
    multiprocessing has its own.
    """
    atexit.unregister(finish)
    atexit.register(finish)
    if is_worker():
        from multiprocessing.util import Finalize

        Finalize(None, finish, exitpriority=-100)  # behind all others


def is_worker() -> bool:
    """Whether this process was made by multiprocessing."""
    process: Any = sys.modules.get("multiprocessing.process")
    if process is None:
        return False
    # While a spawned child takes its arguments out of their pickle it has no parent yet.
    # Source: multiprocessing/spawn.py, `_main`.
    return process.parent_process() is not None or getattr(process.current_process(), "_inheriting", False)


def is_imported_again() -> bool:
    """Whether a child that multiprocessing spawned is importing its parent's script right now.

    What that script starts at its top level was started by the parent already.
    Source: multiprocessing/spawn.py, `_fixup_main_from_path`.
    """
    if "__mp_main__" not in sys.modules:
        return False
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name == "<module>" and frame.f_globals.get("__name__") == "__mp_main__":
            return True
        frame = frame.f_back  # type: ignore[assignment]
    return False


def _errors() -> Iterator[BaseException]:
    """What the interpreter noted when it printed a traceback, and what is being raised right now.

    Reading it changes nothing. The latter is how multiprocessing ends a child whose target failed.
    """
    noted = (getattr(sys, "last_value", None), getattr(sys, "last_exc", None), sys.exc_info()[1])
    return (error for error in noted if isinstance(error, BaseException))


def _is_new(error: BaseException, number: int) -> bool:
    return means_failure(error) and getattr(error, _MARK, number + 1) > number
