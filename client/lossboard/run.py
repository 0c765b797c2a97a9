"""A run as the training script holds it: what it logs, where its epochs stand, and how it ends."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial, partialmethod
from types import TracebackType
from typing import TYPE_CHECKING, Any
from zlib import crc32

from lossboard import wire
from lossboard.endings import call_at_exit, is_worker, means_failure
from lossboard.faults import Faults, guard
from lossboard.journal.slots import NAN, NO_CALL, NO_STEP, pack, pack_body, seal
from lossboard.logged import log_batch, log_values
from lossboard.outlet import Outlet
from lossboard.watching.backward import Scaling
from lossboard.watching.position import Position
from lossboard.watching.steps import StepClock

if TYPE_CHECKING:
    from lossboard.sending.writer import Launch
    from lossboard.settings import Settings

EXIT_DEADLINE_S = 3.0  # by how much `finish` and exit are delayed at most
WORKER_EXIT_DEADLINE_S = 1.0  # the exit of a worker that has logged: a loader waits for its workers

_MAX_SMALL = wire.MAX_SMALL
_MAX_POSITION = wire.MAX_POSITION
_now = time.time


class Run:
    """One training on the board; made by `watch` or `init`, never by hand.

    Nothing here raises into the training or waits for anything, unless the run was made
    with `strict=True`: what can't be recorded is warned about once and counted.
    """

    loss: Any = None  # where `watch` got a plain function: what to call instead of it

    def __init__(self, settings: "Settings", launch: "Launch | None", *, is_late: bool = False) -> None:
        self._settings = settings
        self._faults = Faults(strict=settings.strict)
        self._position = Position(settings.start_epoch)
        self._id = str(settings.run)
        self._name = str(settings.name)
        self._is_open = True
        self._is_entered = False  # a `with` block says when it ends
        self._has_records = False
        self._on_finish_callbacks: list[Callable[[], None]] = []
        self._on_fork_callbacks: list[Callable[[], None]] = []
        self._clock = StepClock()
        self._scaling = Scaling(partial(self._count, "skipped-step"))
        self._watched: list[tuple[Any, Any, str]] = []  # loss, the weight declared for it, series
        self._plain_numbers: dict[tuple[str, str, str], int] = {}  # what the fast path of `log` knows
        self._calls: dict[str, tuple[int, int]] = {}  # log(dict): name → epoch, records in it
        self._outlet = Outlet(launch, self._faults, self._forget_parent, self._begin_child, is_late=is_late)

    @property
    def id(self) -> str:
        """The run's id: letters, digits, _ and -."""
        return self._id

    @property
    def name(self) -> str:
        """The run's name on the page."""
        return self._name

    @property
    def url(self) -> str | None:
        """The address of the run's page, or None while no service is known."""
        writer = self._outlet.writer
        return writer.url() if writer is not None else None

    @property
    def epoch(self) -> int | None:
        """The current epoch; None while nothing has told one. Setting it begins that epoch."""
        return self._position.epoch if self._position.is_declared else None

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        try:
            self._position.set_epoch(wire.check_whole("epoch", epoch, wire.MAX_SMALL))
            if not self._has_records:
                self._outlet.start_at(epoch, 0)
        except wire.RecordError as error:
            self._refuse(error)

    def epochs(self, epochs: int | Iterable[Any]) -> Iterator[Any]:
        """Walk through the epochs, each step beginning one: `for epoch in run.epochs(10)`.

        A number is where to stop, as in `range`: after a resume at epoch 4 it gives 4 to 9.
        Whole numbers of an iterable are taken as epochs themselves; other things are
        handed on and their epochs counted.
        """
        start = self._position.start_epoch
        if isinstance(epochs, int):
            epochs = range(start, epochs)
        for count, item in enumerate(epochs, start):
            self.epoch = item if type(item) is int else count
            yield item

    def log(
        self,
        epoch: int | Mapping[str, float] | None,
        batch: int | None = None,
        loss: float | None = None,
        batch_size: int | None = None,
        *,
        series: str = "loss",
        split: str = "train",
        reduction: str = "mean",
        weight: float | None = None,
    ) -> None:
        """Record the loss of one batch, or a mapping of values whose meaning is not declared.

        `run.log(epoch, batch, loss, batch_size)`: `batch` counts from 0 in its epoch,
        `reduction` says how the batch became one number, `weight` what a mean was divided
        by where that is not the batch size. `run.log({"train/loss": 0.3})`: a name without
        a slash is a training series, and the record belongs to the current epoch.

        Cost: about 2 µs; the record is in the operating system's hands on return.
        """
        try:
            if (
                weight is None
                and type(epoch) is int
                and type(batch) is int
                and type(loss) is float
                and type(batch_size) is int
                and 0 <= epoch <= _MAX_SMALL
                and 0 <= batch <= _MAX_POSITION
                and 0 < batch_size <= _MAX_SMALL
            ):
                number = self._plain_numbers.get((series, split, reduction))
                if number is not None:
                    body = pack_body(
                        epoch, batch, loss, NAN, _now(), batch_size, 0, NO_STEP, number, NO_CALL, 0
                    )
                    self._outlet.write(seal(crc32(body), body))
                    return
            if isinstance(epoch, Mapping):
                log_values(self, epoch)
            else:
                log_batch(self, epoch, batch, loss, batch_size, series, split, reduction, weight)
        except wire.RecordError as error:
            self._refuse(error)
        except Exception:
            with guard(self):
                raise

    def finish(self, state: str = "finished", *, deadline_s: float = EXIT_DEADLINE_S) -> None:
        """End the run: send what is left for at most `deadline_s`; the journal keeps the rest."""
        if not self._is_open:
            return
        started = time.monotonic()
        self._device_until = started + deadline_s / 3  # for all watched losses together
        if state not in wire.SCRIPT_STATES:
            self._refuse(wire.RecordError("state", f"must be one of {', '.join(wire.SCRIPT_STATES)}"))
            state = "finished"
        for callback in (*self._on_finish_callbacks, self._scaling.finish, self._position.finish):
            with guard(self):
                callback()
        self._on_finish_callbacks.clear()
        self._on_fork_callbacks.clear()
        self._watched.clear()
        self._is_open = False
        self._outlet.close()
        with guard(self):
            self._outlet.finish(state, max(0.0, deadline_s - (time.monotonic() - started)))

    def figure(self) -> Any:
        """Return a plotly figure of the run: the loss per item over the epochs.

        Raises: ModuleNotFoundError naming the pip command where plotly is missing;
        RuntimeError where no service has the run.
        """
        from lossboard.figure import draw_run

        return draw_run(self._id, self._name, self._settings)

    def __enter__(self) -> "Run":
        self._is_entered = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_entered = False
        self.finish("failed" if means_failure(error) else "finished")

    def __deepcopy__(self, _memo: object) -> "Run":
        return self  # a copied trainer or model goes on with the run that it had

    __copy__ = partialmethod(__deepcopy__, None)

    def __reduce__(self) -> Any:
        from lossboard.starting import reopen

        return reopen, (self._outlet.launch,)

    def __repr__(self) -> str:
        return f"<lossboard.Run {self._name} ({self._id}){'' if self._is_open else ', finished'}>"

    def _told_of(self, loss_func: Any) -> tuple[Any, str]:
        """Return what `watch` was told of a loss: its declared weight and its series, without a split."""
        told = ((weight, series) for watched, weight, series in self._watched if watched is loss_func)
        return next(told, (None, "loss"))

    def _append(
        self,
        number: int,
        epoch: int,
        batch: int,
        loss: float,
        batch_size: int | None,
        weight: float | None,
        pass_no: int = 0,
        divisor: float | None = None,
        step: int | None = None,
        window_items: float | None = None,
        call: int | None = 0,
        time: float | None = None,
    ) -> None:
        """Append one record whose position is known; never raises unless strict."""
        try:
            if not self._has_records:
                self._has_records = True
                self._outlet.check_start()
            time = _now() if time is None else time
            place = (number, epoch, batch, loss, batch_size, weight, time)
            self._outlet.write(pack(*place, pass_no, step, call, divisor, window_items))
        except Exception:
            with guard(self):
                raise

    def _forget_parent(self) -> None:
        """In a forked child: what waits or is counted is its parent's to tell."""
        self._faults.begin_anew()
        for callback in self._on_fork_callbacks:
            with guard(self):
                callback()

    def _begin_child(self) -> None:
        if is_worker():
            call_at_exit(partial(self.finish, deadline_s=WORKER_EXIT_DEADLINE_S))

    def _refuse(self, error: wire.RecordError) -> None:
        self._faults.take(
            f"misuse-{error.field}", error, f"a record was refused: {error}", "refused-by-client"
        )

    def _warn(self, key: str, message: str) -> None:
        self._faults.warn(key, message)

    def _count(self, reason: str, n: int = 1) -> None:
        self._faults.count(reason, n)

    def _on_fork(self, callback: Callable[[], None]) -> None:
        self._on_fork_callbacks.append(callback)

    def _on_finish(self, callback: Callable[[], None]) -> None:
        self._on_finish_callbacks.append(callback)
