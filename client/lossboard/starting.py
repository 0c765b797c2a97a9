"""How a run starts, which runs are open in this process, and what happens to them at fork and exit."""

import os
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

from lossboard import endings
from lossboard.run import EXIT_DEADLINE_S, Run


class _Open(NamedTuple):
    """An open run and how it was started."""

    run: Run
    project: str
    name: str | None  # as given
    number: int  # how many runs this process had started by then


_open_runs: list[_Open] = []  # the newest last
_registered_pid = 0  # the process that `_finish_all` is registered in
_runs_named = 0  # by us, for want of an id
_runs_started = 0


def init(
    *,
    project: str | None = None,
    name: str | None = None,
    config: Mapping[str, Any] | None = None,
    tags: Iterable[str] | None = None,
    run: str | None = None,
    resume: bool | None = None,
    start_epoch: int | None = None,
    url: str | None = None,
    token: str | None = None,
    dir: str | os.PathLike[str] | None = None,  # noqa: A002 - the name that users expect
    mode: str | None = None,
    strict: bool | None = None,
) -> Run:
    """Start a run, for `run.log` or as a context manager.

    What is not given comes from LOSSBOARD_PROJECT, _RUN_ID, _URL, _TOKEN, _DIR and _MODE,
    then from the defaults. `run` is the id; with `resume=True` the run of that id goes on
    at `start_epoch`. `mode` is online, offline (journal only) or disabled.

    An open run of the same project and name that was started the same way is finished
    first, so that a notebook's cell may run twice; not where a `with` block holds it. Runs of
    different names stay open side by side.

    Raises: ValueError or TypeError naming the argument.
    """
    given = dict(locals())
    global _runs_named
    # Late, so that `import lossboard` stays light: from here on HTTP and JSON are needed.
    from lossboard.identity import make_name
    from lossboard.ranks import find_place
    from lossboard.settings import read_settings

    settings = read_settings(given)
    if endings.is_imported_again():
        return _stand_in(settings)
    if settings.resume and settings.run is None:
        raise ValueError("resume=True needs run=, the id of the run to go on with")
    _finish_former(settings.project, name, run)
    chosen = settings.run  # an id that somebody chose is the name they know the run by
    place = find_place(settings.run, _runs_named)
    if settings.run is None:
        settings = settings._replace(run=place.run)
        _runs_named += 1
    if settings.name is None:
        settings = settings._replace(name=chosen or make_name(str(settings.run)))
    return _remember(Run(settings, _make_launch(settings, place)), settings.project, name)


def watch(
    loss_func: Any,
    loader: Any = None,
    *,
    model: Any = None,
    series: str = "loss",
    weight: float | Callable[..., float] | None = None,
    run: str | Run | None = None,
    **common: Any,
) -> Run:
    """Watch a loss: every value that it gives in training and validation goes to the board.

    `loss_func` is a `torch.nn.Module`, which gets a forward hook, or a function: call the
    returned run's `loss` instead of it. `loader` tells epochs by being iterated. `model`
    tells evaluation by its `training` flag where gradients stay on. `series` names the
    loss, `weight` what a mean was divided by where that can't be seen. `run` is an open
    run to add this loss to, or an id; `common` are the arguments of `init`.

    Raises: ValueError or TypeError naming the argument.
    """
    if not callable(loss_func):
        raise TypeError(f"loss_func must be a torch.nn.Module or a function, not {type(loss_func).__name__}")
    from lossboard.watching.hook import watch_loss

    if isinstance(run, Run):
        if not run._is_open:
            raise ValueError(f"run {run.name} is finished; watch without run= starts another")
        if common:
            raise TypeError(f"{', '.join(common)}: the run is open already; these belong to where it starts")
        watch_loss(run, loss_func, loader, model, series, weight)
        return run
    started = init(run=run, **common)
    try:
        watch_loss(started, loss_func, loader, model, series, weight)
    except BaseException:
        started.finish("failed")
        raise
    return started


def active_run() -> Run | None:
    """Return the newest open run of this process."""
    return next((entry.run for entry in reversed(_open_runs) if entry.run._is_open), None)


def reopen(launch: Any) -> Run:
    """Make of a pickled run what this process may use.

    The run itself where it is open here; in a child of multiprocessing one that logs to the same run, as a
    forked child does; anywhere else (a checkpoint that is loaded later) one that records nothing.
    """
    if launch is not None:
        here = next((entry.run for entry in _open_runs if entry.run.id == launch.settings.run), None)
        if here is not None:
            return here
        if endings.is_worker():
            return _remember(Run(launch.settings, launch, is_late=True), launch.settings.project, None)
    from lossboard.settings import read_settings

    return Run(read_settings({"mode": "disabled", "run": "-", "name": "-"}), None)


def _make_launch(settings: Any, place: Any) -> Any:
    if settings.mode == "disabled":
        return None
    from lossboard.sending.writer import Launch

    return Launch(settings, place)


def _stand_in(settings: Any) -> Run:
    """Make what a spawned child gets that only imports its parent's script: the run is the parent's."""
    run = Run(settings._replace(mode="disabled", run=settings.run or "-", name=settings.name or "-"), None)
    run._outlet.write = lambda _slot: run._warn("imported-again", _IMPORTED_AGAIN)
    return run


def _finish_former(project: str, name: str | None, run_id: str | None) -> None:
    for entry in list(_open_runs):
        run = entry.run
        is_same = run.id == run_id if run_id is not None else entry.name == name
        if run._is_open and not run._is_entered and entry.project == project and is_same:
            run.finish(endings.find_state(entry.number))
    _open_runs[:] = [entry for entry in _open_runs if entry.run._is_open]


def _remember(run: Run, project: str, name: str | None) -> Run:
    global _registered_pid, _runs_started
    _runs_started += 1
    _open_runs.append(_Open(run, project, name, _runs_started))
    endings.mark_errors(_runs_started)
    if not _registered_pid and hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_forget_parents)
    if _registered_pid != os.getpid():
        _registered_pid = os.getpid()
        endings.call_at_exit(_finish_all)
    return run


def _finish_all() -> None:
    """At exit: all open runs together delay it by at most the deadline."""
    until = time.monotonic() + EXIT_DEADLINE_S
    for entry in _open_runs:
        state = endings.find_state(entry.number)
        entry.run.finish(state, deadline_s=max(0.0, until - time.monotonic()))


def _forget_parents() -> None:
    for entry in _open_runs:
        entry.run._outlet.forget_parent()


_IMPORTED_AGAIN: Final = (
    "multiprocessing has imported the script anew in this child, and what it logs to the run made by that is"
    ' not kept: its parent has the run. Start runs under `if __name__ == "__main__":` and hand them on to'
    " the children as an argument."
)
