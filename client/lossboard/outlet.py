"""A run's way out of this process: its series, and the writer of its records; a forked child has its own."""

import os
from collections.abc import Callable
from threading import RLock
from typing import TYPE_CHECKING, Any, Final

from lossboard import wire
from lossboard.faults import Faults

if TYPE_CHECKING:
    from lossboard.sending.writer import Launch, Writer

_getpid = os.getpid


class Outlet:
    """What takes the records of one run.

    `launch` opens writers; without one the run is disabled and nothing is kept. With
    `is_late` the first record opens the writer: so begins a child that was handed its
    parent's run. In a forked child `forget` is called first of all, and `begin_child` when
    it has opened a writer of its own.
    """

    def __init__(
        self,
        launch: "Launch | None",
        faults: Faults,
        forget: Callable[[], None],
        begin_child: Callable[[], None],
        *,
        is_late: bool = False,
    ) -> None:
        self.launch = launch
        self.writer: Writer | None = None
        self.write: Callable[[bytes], None] = _keep_nothing
        """Append a packed record; replaced at a fork and at the end, so that none has to ask for them."""
        self.numbers: dict[tuple[str, str, str, str], int] = {}
        """The number of each series' meaning: name, reduction, weight unit, weight source."""
        self.traits: dict[str, dict[str, Any]] = {}
        """What else was told of each series' loss (`wire.TRAITS`)."""
        self._faults = faults
        self._forget, self._begin_child = forget, begin_child
        self._is_open = True
        # Only a child takes it in `log`: its threads wait for the one that opens their writer. Reentrant,
        # since a signal handler may log meanwhile; one that another thread held at the fork stays held.
        self._opening = RLock()
        self._pid = self._forked_pid = _getpid()
        if launch is not None and is_late:
            self._pid, self.write = 0, self._write_in_child
        elif launch is not None:
            self._attach(launch.open_writer(faults, is_forked=False))

    @property
    def is_writing(self) -> bool:
        """Whether records are kept."""
        return self.writer is not None and self._is_open

    def number_of(self, name: str, reduction: str, weight_unit: str, weight_source: str) -> int:
        """Return the number of a series with this meaning, declared where it is new.

        Raises: wire.RecordError where the run has too many series.
        """
        meaning = (name, reduction, weight_unit, weight_source)
        number = self.numbers.get(meaning)
        if number is None:
            self._check_process()
            number = len(self.numbers)
            if len({name} | {known[0] for known in list(self.numbers)}) > wire.MAX_SERIES:
                raise wire.RecordError("run", f"has {wire.MAX_SERIES} series; is a number part of a name?")
            if self.writer is not None:
                number = self.writer.declare(meaning)
            self.numbers[meaning] = number
        return number

    def tell(self, name: str, **traits: Any) -> None:
        """Note what else is known of a series' loss; what is None is left as it was."""
        told = self.traits.setdefault(name, {})
        news = {key: value for key, value in traits.items() if value is not None and told.get(key) != value}
        if news:
            told.update(wire.check_traits(news))
            self._check_process()
            if self.writer is not None and self._is_open:
                self.writer.tell(name, news)

    def start_at(self, epoch: int, batch: int) -> None:
        """Note where a resumed attempt starts; what a forked child sets is not the attempt's."""
        if self.writer is not None and self._pid == _getpid():
            self.writer.start_at(epoch, batch)

    def check_start(self) -> None:
        """Warn where the first record of a resumed attempt comes and nothing has told where that goes on."""
        if self.writer is not None and self.writer.is_start_unknown:
            self._faults.warn("position-unknown", _POSITION_UNKNOWN)

    def close(self) -> None:
        """Take no more records: each is counted."""
        self._is_open = False
        self.write = self._write_after_finish

    def finish(self, state: str, deadline_s: float) -> None:
        """Send what is left and the end; a parent's writer is left alone."""
        if self.writer is not None and self._pid == _getpid():
            self.writer.finish(state, deadline_s)

    def forget_parent(self) -> None:
        """Leave the parent's writer to the parent: what a forked child does first, and once."""
        if _getpid() in (self._pid, self._forked_pid):
            return
        self._forked_pid = _getpid()
        self._opening = RLock()
        self._forget()
        if self.writer is not None:
            self.writer.abandon()
            if self._is_open:
                self.write = self._write_in_child

    def _check_process(self) -> None:
        """In a forked child, open a writer of its own."""
        self.forget_parent()
        with self._opening:
            if _getpid() == self._pid or self.launch is None or not self._is_open:
                return
            self._pid = _getpid()
            self._attach(self.launch.open_writer(self._faults, is_forked=True))
            self._begin_child()

    def _attach(self, writer: "Writer") -> None:
        for meaning in sorted(self.numbers, key=self.numbers.__getitem__):  # a child: as in the parent
            writer.declare(meaning)
        for name, traits in list(self.traits.items()):
            writer.tell(name, traits)
        self.writer = writer
        self.write = writer.append

    def _write_in_child(self, slot: bytes) -> None:
        self._check_process()
        self.write(slot)

    def _write_after_finish(self, _slot: bytes) -> None:
        self._faults.count("after-finish")
        self._faults.warn("after-finish", "records after the run was finished are not kept")


_POSITION_UNKNOWN: Final = (
    "the run goes on, but nothing says at which epoch: pass start_epoch=, or set run.epoch before the first"
    " record. Nothing is hidden, and the new epochs are shown behind the old ones."
)


def _keep_nothing(_slot: bytes) -> None:
    """What a disabled run does with a record."""
