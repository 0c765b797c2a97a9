"""Where training stands: which epoch, batch and validation pass the next record belongs to.

Pure bookkeeping: no torch, no I/O. `loaders` and `Run.epoch` tell it when epochs may
begin, `channel` and `logged` ask it for positions.
"""

import weakref
from collections.abc import Callable, Hashable
from typing import Any, Final

UNDECLARED: Final = -1  # the epoch while nothing has told one; null on the wire


class Position:
    """Count epochs, batches and passes of one run by the rules of training loops.

    A new iteration of the loader only arms an epoch; it begins with the next training
    record, so that a peek or a validation pass over the same loader counts for nothing.
    An epoch ends when the next begins. Epochs are shared by all series, batches are
    counted for each series, so that two losses of one step stay aligned.

    An epoch set by hand, with `set_epoch`, wins over the loader from then on.
    """

    def __init__(self, start_epoch: int | None = None) -> None:
        self.start_epoch = start_epoch or 0
        self.epoch = UNDECLARED
        self.is_observed = False  # a loader is going to arm epochs
        self.arms = 0  # iterations of the watched loader so far
        # Called before an epoch can change, so that late values still get their own.
        self.before_change: list[Callable[[], None]] = []
        self._is_set_by_hand = False
        self._is_armed = False
        self._newest: weakref.ref[Any] | None = None  # the iterator that armed
        self._current: weakref.ref[Any] | None = None  # the iterator of the epoch
        self._in_time: int | None = None  # records of the epoch until its iterator was gone
        self.is_steady = False
        """The next training record stands right behind the newest: no call is needed to place it."""
        self.batches: dict[Hashable, int] = {}
        """The next batch of each series with training records in this epoch."""
        self._pass_epoch = UNDECLARED
        self._pass_no = -1
        self._is_in_pass = False
        self._pass_batches: dict[Hashable, int] = {}

    @property
    def is_declared(self) -> bool:
        """Whether anything has told an epoch: a watched loader's iteration, or a hand."""
        return self.epoch != UNDECLARED

    @property
    def is_forsaken(self) -> bool:
        """Whether training goes on long after the epoch's iteration ended, and no other began.

        As many records as came during it: the loop makes a new loader for each epoch.
        """
        in_time = self._in_time or 0
        return in_time > 0 and self._records() - in_time >= max(2, in_time)

    @property
    def is_in_pass(self) -> bool:
        """Whether the newest record was one without gradients."""
        return self._is_in_pass

    @property
    def is_begun(self) -> bool:
        """Whether the epoch has training records."""
        return bool(self.batches)

    def end_pass(self) -> None:
        """End a stretch without gradients; the next such record begins another."""
        self._is_in_pass = False

    def arm(self, iterator: object = None) -> None:
        """Note that the watched loader is iterated anew; the next training record begins an epoch.

        `iterator` tells, by being alive or not, a pass in mid-epoch from a new epoch.
        """
        self._announce()
        self.arms += 1
        self._is_in_pass = False
        self.is_steady = False
        if self._is_set_by_hand:
            return
        self._is_armed = True
        try:
            self._newest = weakref.ref(iterator) if iterator is not None else None
        except TypeError:  # not every iterator can be referred to weakly: then each one counts
            self._newest = None

    def train_record(self, series: Hashable = "train/loss") -> tuple[int, int]:
        """Take the position of a training record: (epoch, batch); epoch −1 is undeclared."""
        if self._is_armed:
            self._begin_armed()
        self._is_in_pass = False
        batch = self.batches.get(series, 0)
        self.batches[series] = batch + 1
        self.is_steady = self._in_time is None
        return self.epoch, batch

    def val_record(self, series: Hashable = "val/loss") -> tuple[int, int, int]:
        """Take the position of a record without gradients: (epoch, pass_no, batch).

        A stretch of them is one pass of the epoch in which training stood; before any
        training that is the epoch of the start.
        """
        self.is_steady = False
        epoch = self.epoch
        if epoch == UNDECLARED and (self.is_observed or self._is_armed):
            epoch = self.start_epoch
        if epoch != self._pass_epoch:
            self._pass_epoch = epoch
            self._pass_no = -1
            self._is_in_pass = False
        if not self._is_in_pass:
            self._is_in_pass = True
            self._pass_no += 1
            self._pass_batches.clear()
        batch = self._pass_batches.get(series, 0)
        self._pass_batches[series] = batch + 1
        return epoch, self._pass_no, batch

    def set_epoch(self, epoch: int) -> None:
        """Begin `epoch` now, unless it is the current one; loaders are no longer heard.

        Raises: ValueError unless it is a whole number of at least 0.
        """
        if isinstance(epoch, bool) or not isinstance(epoch, int) or epoch < 0:
            raise ValueError(f"epoch must be a whole number of at least 0, not {epoch!r}")
        self._announce()
        self._is_set_by_hand = True
        self._is_armed = self.is_steady = False
        self._let_go()
        if epoch != self.epoch:
            self._begin(epoch)

    def finish(self) -> None:
        """End the epoch and the pass; nothing is armed any more."""
        self._announce()
        self._is_armed = self.is_steady = False
        self._is_in_pass = False

    def _begin_armed(self) -> None:
        self._is_armed = False
        newest, current = self._newest, self._current
        # Armed by an iterator that is gone, while the epoch's own still lives: that was an
        # evaluation over the training loader in mid-epoch, and training goes on where it was.
        if newest is not None and newest() is None and current is not None and current() is not None:
            return
        self._let_go()
        iterator = newest() if newest is not None else None
        if iterator is not None:
            self._current = weakref.ref(iterator, self._note_gone)
        self._begin(self.epoch + 1 if self.is_declared else self.start_epoch)

    def _begin(self, epoch: int) -> None:
        self.epoch = epoch
        self._is_in_pass = False
        self.batches.clear()

    def _let_go(self) -> None:
        """Listen no longer to the iterator that made the epoch."""
        self._current = self._in_time = None

    def _note_gone(self, iterator: "weakref.ref[Any]") -> None:
        if iterator is self._current:
            self._in_time = self._records()
            self.is_steady = False

    def _records(self) -> int:
        """Return the training records of this epoch, of all series together."""
        return sum(self.batches.values())

    def _announce(self) -> None:
        for callback in self.before_change:
            callback()
