"""The keeper: a thread that deletes the rows of deleted runs and, where that is wanted, old runs."""

import logging
import threading
from collections import Counter
from functools import partial
from time import monotonic
from typing import Final

from sqlalchemy import Connection, select

from lossboard_server.domain.changes import Change
from lossboard_server.domain.retention import Kept, Removal, Retention, plan_removals
from lossboard_server.errors import Busy, Unavailable
from lossboard_server.store.keeping.deleting import delete_some, find_deleted, mark_deleted
from lossboard_server.store.keeping.sizes import measure_room
from lossboard_server.store.store import Store
from lossboard_server.store.tables import RunRow
from lossboard_server.store.writing.life import describe_life

LOOK_INTERVAL_S: Final = 300.0  # between looks for runs that have become too old or too many
RETRY_INTERVAL_S: Final = 10.0  # after a failure, such as a full disk: deleting needs some room itself
CLOSE_TIMEOUT_S: Final = 5.0

_log = logging.getLogger("lossboard_server")


class Keeper:
    """Does in the background what deleting leaves to do; what a kill interrupts goes on at the next start.

    `removed` counts the runs that retention has deleted since the start, by reason.
    """

    def __init__(self, store: Store, rule: Retention | None = None) -> None:
        self.rule = rule or Retention()
        self.removed: Counter[str] = Counter()
        self._store = store
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lossboard-keeper", daemon=True)

    def start(self) -> None:
        """Begin, at once with what an earlier process left."""
        self._thread.start()

    def wake(self) -> None:
        """Look again: a run was deleted."""
        self._wake.set()

    def close(self) -> None:
        """End between two chunks."""
        self._closing.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(CLOSE_TIMEOUT_S)

    def plan(self, connection: Connection) -> list[Removal]:
        """Return what retention would delete next, and when."""
        if not self.rule.is_on:
            return []
        now = self._store.clock()
        room = measure_room(connection)
        query = select(RunRow.__table__).where(RunRow.deleted_unix_s.is_(None))
        runs = [
            Kept(
                *(row.key, row.id, row.name, describe_life(row, now).state),
                last_unix_s=row.created_unix_s if row.last_record_unix_s is None else row.last_record_unix_s,
                records=row.records,
                bytes=room.share(row.records),
                is_archived=row.archived_unix_s is not None,
                tags=row.tags,
            )
            for row in connection.execute(query)
        ]
        used = sum(run.bytes for run in runs)  # what is on its way out counts as gone
        return plan_removals(runs, self.rule, used, now)

    def _run(self) -> None:
        while not self._closing.is_set():
            self._wake.clear()
            try:
                self._remove_due()
                self._delete_rows()
                wait_s = LOOK_INTERVAL_S
            except (Busy, Unavailable):
                wait_s = 1.0
            except Exception:
                _log.exception("deleting broke off; it goes on in %.0f s", RETRY_INTERVAL_S)
                wait_s = RETRY_INTERVAL_S
            if not self._closing.is_set():
                self._wake.wait(wait_s)

    def _remove_due(self) -> None:
        if not self.rule.is_on:
            return
        with self._store.reading() as connection:
            now = self._store.clock()
            due = [removal for removal in self.plan(connection) if removal.due_unix_s <= now]
        for removal in due:
            if self._store.write(partial(self._remove, removal=removal), removal.kept.run).result():
                self.removed[removal.cause] += 1
                _log.warning(
                    *("retention deletes run %s (%s, %d records): %s", removal.kept.run),
                    *(ascii(removal.kept.name), removal.kept.records, removal.reason),
                )

    def _remove(self, connection: Connection, removal: Removal) -> tuple[bool, list[Change]]:
        """Delete a run of the plan, unless it has been heard of since."""
        now = self._store.clock()
        found = select(RunRow.__table__).where(RunRow.key == removal.kept.key).with_for_update()
        row = connection.execute(found).first()
        if row is None or row.deleted_unix_s is not None or row.records != removal.kept.records:
            return False, []
        if describe_life(row, now).state != removal.kept.state:
            return False, []
        return True, mark_deleted(connection, row, now)[1]

    def _delete_rows(self) -> None:
        while not self._closing.is_set():
            with self._store.reading() as connection:
                key = find_deleted(connection)
            if key is None:
                return
            is_gone = False
            while not is_gone and not self._closing.is_set():
                began = monotonic()
                is_gone = self._store.write(partial(delete_some, key=key)).result()
                # Half of the writer's time at most: what trainings send goes first.
                self._closing.wait(0 if is_gone else monotonic() - began)
