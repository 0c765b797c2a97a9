"""Epochs of which an attempt shows only some batches: what of them is shown."""

from dataclasses import dataclass, field

from sqlalchemy import Connection, func, select

from lossboard_server.domain.attempts import ENDLESS
from lossboard_server.domain.summary import Row
from lossboard_server.store.reading.rows import read_part
from lossboard_server.store.reading.series import Series, is_train_of
from lossboard_server.store.tables import RecordRow

_record = RecordRow.__table__.c


@dataclass(slots=True)
class CutEpochs:
    """Reads what is shown of an epoch that an attempt's beginning or end cuts in two."""

    connection: Connection
    series: Series
    _times: dict[tuple[int, int, int], float | None] = field(default_factory=dict)

    def read(self, attempt: int, epoch: int, pass_no: int, rank: int, batches: range) -> list[Row]:
        """Return the records of training that are shown, none for an empty range."""
        if batches.start >= batches.stop:
            return []
        return list(read_part(self.connection, self.series, attempt, epoch, pass_no, batches, rank))

    def shows_pass(self, attempt: int, epoch: int, began: float | None, batches: range) -> bool:
        """Tell whether a pass began while training made these batches; where no time tells, it did not.

        Units: began in unix seconds.
        """
        if batches.start >= batches.stop:
            return False
        if batches.start > 0 and _is_before(began, self._time(attempt, epoch, batches.start)):
            return False
        end = None if batches.stop == ENDLESS else self._time(attempt, epoch, batches.stop)
        return _is_before(began, end)

    def _time(self, attempt: int, epoch: int, batch: int) -> float | None:
        """Return when an attempt trained the first batch from this one on; None: it never did."""
        key = (attempt, epoch, batch)
        if key not in self._times:
            query = select(func.min(_record.time_unix_s)).where(
                is_train_of(self.series.run),
                _record.attempt == attempt,
                _record.epoch == epoch,
                _record.batch >= batch,
            )
            self._times[key] = self.connection.execute(query).scalar()
        return self._times[key]


def _is_before(began: float | None, time: float | None) -> bool:
    return time is None or (began is not None and began < time)
