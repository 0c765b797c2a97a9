"""How a run starts, which runs are open in this process, and what happens to them at fork and exit."""

import atexit
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from lossboard.run import EXIT_DEADLINE_S, Run

_open_runs: list[tuple[Run, str, str | None]] = []  # run, project, name as given; the newest last
_is_registered = False
_runs_named = 0  # by us, for want of an id
_last_error_id = 0  # of sys.last_value when the newest run started: an old error is not this run's


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
    first, so that a notebook's cell may run twice. Runs of different names stay open side
    by side.

    Raises: ValueError or TypeError naming the argument.
    """
    given = dict(locals())
    global _runs_named
    # Late, so that `import lossboard` stays light: from here on HTTP and JSON are needed.
    from lossboard.identity import make_name
    from lossboard.ranks import find_place
    from lossboard.settings import read_settings

    settings = read_settings(given)
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
    started = Run(settings, _open_writer(settings, place))
    _remember(started, settings.project, name)
    return started


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
    from lossboard.watching import watch_loss

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
    return next((run for run, *_ in reversed(_open_runs) if run._is_open), None)


def _open_writer(settings: Any, place: Any) -> Any:
    if settings.mode == "disabled":
        return None
    from lossboard.writer import Launch

    return Launch(settings, place).open_writer


def _finish_former(project: str, name: str | None, run_id: str | None) -> None:
    for run, former_project, former_name in list(_open_runs):
        is_same = run.id == run_id if run_id is not None else former_name == name
        if run._is_open and former_project == project and is_same:
            run.finish()
    _open_runs[:] = [entry for entry in _open_runs if entry[0]._is_open]


def _remember(run: Run, project: str, name: str | None) -> None:
    global _is_registered, _last_error_id
    _open_runs.append((run, project, name))
    _last_error_id = id(_last_error())
    if not _is_registered:
        _is_registered = True
        atexit.register(_finish_all)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=_forget_parents)


def _finish_all() -> None:
    """At exit: all open runs together delay it by at most the deadline."""
    error = _last_error()
    state = "failed" if error is not None and id(error) != _last_error_id else "finished"
    until = time.monotonic() + EXIT_DEADLINE_S
    for run, *_ in _open_runs:
        run.finish(state, deadline_s=max(0.0, until - time.monotonic()))


def _forget_parents() -> None:
    for run, *_ in _open_runs:
        run._forget_parent()


def _last_error() -> BaseException | None:
    """What the interpreter noted when it printed a traceback; reading it changes nothing."""
    return getattr(sys, "last_value", None)
