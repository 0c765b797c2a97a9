"""A run as the training script holds it: what it logs, where its epochs stand, and how it ends."""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any

from lossboard import wire
from lossboard.backward import Scaling
from lossboard.faults import Faults, guard
from lossboard.logged import log_batch, log_values
from lossboard.position import Position
from lossboard.slots import NAN, Stored, pack, pack_plain
from lossboard.steps import StepClock

if TYPE_CHECKING:
    from lossboard.settings import Settings
    from lossboard.writer import Writer

EXIT_DEADLINE_S = 3.0  # by how much `finish` and exit are delayed at most

_MAX_SMALL = wire.MAX_SMALL
_MAX_POSITION = wire.MAX_POSITION
_getpid = os.getpid
_now = time.time


class Run:
    """One training on the board; made by `watch` or `init`, never by hand.

    Nothing here raises into the training or waits for anything, unless the run was made
    with `strict=True`: what can't be recorded is warned about once and counted.
    """

    loss: Any = None  # where `watch` got a plain function: what to call instead of it

    def __init__(self, settings: "Settings", open_writer: "Callable[[Run, bool], Writer] | None") -> None:
        self._settings = settings
        self._faults = Faults(strict=settings.strict)
        self._position = Position(settings.start_epoch)
        self._id = str(settings.run)
        self._name = str(settings.name)
        self._is_open = True
        self._has_records = False
        self._on_finish_callbacks: list[Callable[[], None]] = []
        self._numbers: dict[tuple[str, str, str, str], int] = {}
        self._clock = StepClock()
        self._scaling = Scaling(partial(self._count, "skipped-step"))
        self._watched: list[tuple[Any, Any, str]] = []  # loss, the weight declared for it, series
        self._traits: dict[str, dict[str, Any]] = {}
        self._plain_numbers: dict[tuple[str, str, str], int] = {}  # what the fast path of `log` knows
        self._calls: dict[str, tuple[int, int]] = {}  # log(dict): name → epoch, records in it
        self._open_writer = open_writer
        self._pid = _getpid()
        self._writer: Writer | None = None
        self._write_slot: Callable[[bytes], None] = _keep_nothing
        if open_writer is not None:
            self._attach(open_writer(self, False))

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
        return self._writer.url() if self._writer is not None else None

    @property
    def epoch(self) -> int | None:
        """The current epoch; None while nothing has told one. Setting it begins that epoch."""
        return self._position.epoch if self._position.declared else None

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        try:
            self._position.set_epoch(wire.check_whole("epoch", epoch, wire.MAX_SMALL))
            if not self._has_records and self._writer is not None:
                self._writer.start_at(epoch)
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
                if number is not None and _getpid() == self._pid:
                    slot = pack_plain(number, epoch, batch, loss, batch_size, NAN, _now())
                    self._write_slot(slot)
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
        self._device_until = (started := time.monotonic()) + deadline_s / 3  # for all watched losses together
        if state not in wire.END_STATES:
            self._refuse(wire.RecordError("state", f"must be one of {', '.join(wire.END_STATES)}"))
            state = "finished"
        for callback in (*self._on_finish_callbacks, self._scaling.finish, self._position.finish):
            with guard(self):
                callback()
        self._on_finish_callbacks.clear()
        self._watched.clear()
        self._is_open = False
        self._plain_numbers.clear()
        with guard(self):
            if self._writer is not None and self._pid == _getpid():
                self._writer.finish(state, max(0.0, deadline_s - (time.monotonic() - started)))

    def figure(self) -> Any:
        """Return a plotly figure of the run: the loss per item over the epochs.

        Raises: ModuleNotFoundError naming the pip command where plotly is missing;
        RuntimeError where no service has the run.
        """
        from lossboard.figure import draw_run

        return draw_run(self._id, self._name, self._settings)

    def __enter__(self) -> "Run":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.finish("finished" if kind is None else "failed")

    def __repr__(self) -> str:
        return f"<lossboard.Run {self._name} ({self._id}){'' if self._is_open else ', finished'}>"

    def _series_number(self, name: str, reduction: str, weight_unit: str, weight_source: str) -> int:
        meaning = (name, reduction, weight_unit, weight_source)
        number = self._numbers.get(meaning)
        if number is None:
            self._check_process()
            number = len(self._numbers)
            if len({name} | {known[0] for known in self._numbers}) > wire.MAX_SERIES:
                raise wire.RecordError("run", f"has {wire.MAX_SERIES} series; is a number part of a name?")
            if self._writer is not None:
                number = self._writer.declare(meaning)
            self._numbers[meaning] = number
        return number

    def _told_of(self, loss_func: Any) -> tuple[Any, str]:
        """Return what `watch` was told of a loss: its declared weight and its series, without a split."""
        told = ((weight, series) for watched, weight, series in self._watched if watched is loss_func)
        return next(told, (None, "loss"))

    def _tell_traits(self, name: str, **traits: Any) -> None:
        """Note what else is known of a series' loss, `wire.TRAITS`; what is None is left as it was."""
        told = self._traits.setdefault(name, {})
        news = {key: value for key, value in traits.items() if value is not None and told.get(key) != value}
        if news:
            told.update(wire.check_traits(news))
            self._check_process()
            if self._writer is not None and self._is_open:
                self._writer.tell(name, news)

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
            self._check_process()
            if not self._is_open:
                self._faults.count("after-finish")
                self._warn("after-finish", "records after the run was finished are not kept")
                return
            if self._writer is not None:
                time = _now() if time is None else time
                place = (number, epoch, batch, loss, batch_size, weight, time)
                self._write_slot(pack(Stored(*place, pass_no, step, call, divisor, window_items)))
                self._has_records = True
        except Exception:
            with guard(self):
                raise

    def _check_process(self) -> None:
        """In a forked child, open a writer of its own: the parent's is the parent's."""
        if _getpid() == self._pid or self._open_writer is None or not self._is_open:
            return
        self._forget_parent()
        self._pid = _getpid()
        self._attach(self._open_writer(self, True))

    def _attach(self, writer: "Writer") -> None:
        for meaning in sorted(self._numbers, key=self._numbers.__getitem__):  # a child: as in the parent
            writer.declare(meaning)
        for name, traits in self._traits.items():
            writer.tell(name, traits)
        self._writer = writer
        self._write_slot = writer.append  # bound here, since `log` counts its lookups

    def _forget_parent(self) -> None:
        """What a forked child does first: a lock that another thread of the parent held stays held."""
        self._faults.renew_lock()
        if self._writer is not None and self._pid != _getpid():
            self._writer.abandon()

    def _refuse(self, error: wire.RecordError) -> None:
        self._faults.take(
            f"misuse-{error.field}", error, f"a record was refused: {error}", "refused-by-client"
        )

    def _warn(self, key: str, message: str) -> None:
        self._faults.warn(key, message)

    def _count(self, reason: str, n: int = 1) -> None:
        self._faults.count(reason, n)

    def _on_finish(self, callback: Callable[[], None]) -> None:
        self._on_finish_callbacks.append(callback)


def _keep_nothing(_slot: bytes) -> None:
    """What a disabled run does with a record."""
