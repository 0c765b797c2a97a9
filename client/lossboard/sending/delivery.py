"""One writer's way to the service: run put, records posted as columns, bad rows left out, mark moved."""

import time
from collections.abc import Callable
from typing import Any, Final, Protocol

from lossboard import wire
from lossboard.faults import Faults
from lossboard.journal.reading import Indexed, Series
from lossboard.sending.answers import (
    BAD_ROWS,
    Refused,
    check_taken,
    find_rows,
    is_verdict,
    read_fields,
    read_next,
)
from lossboard.sending.columns import Group, make_columns
from lossboard.sending.transport import Answer, NotNow, TimedOut, Transport, encode

MAX_REQUEST_RECORDS: Final = 5_000  # about 400 kB of JSON
SLICE_RECORDS: Final = 500  # read without a rest: about 0.5 ms
# Every `os.write` of a `log` hands the interpreter's lock to us, and back it goes only when we wait or
# after 5 ms: a sender that worked through a backlog in one go would give the training one call in 5 ms.
REST_S: Final = 0.001


class Source(Protocol):
    """Where a writer's records come from: its journal, or the folder of a dead one."""

    writer: str
    series: list[Series]
    traits: dict[str, dict[str, Any]]

    def read(self, limit: int) -> list[Indexed]:
        """Return the next records, [] when there are none now."""

    def rewind(self, to: int) -> int | None:
        """Read again from `to`, or from the oldest record that is still there; return from where.

        None where nothing can be read again.
        """

    def acknowledge(self, upto: int) -> None:
        """Note that everything below `upto` is committed."""


class Delivery:
    """Sends what a source has, in order, one request at a time, each record until it is committed.

    `describe` gives the body of PUT /runs. Every method raises Unreachable or Refused when
    it must be called again later; nothing is lost by that.
    """

    def __init__(
        self,
        source: Source,
        faults: Faults,
        run: str,
        attempt: float,
        rank: int,
        describe: Callable[[], dict[str, Any]],
    ) -> None:
        self.run_path: str | None = None  # the run's page, once the service knows the run
        self.rest_s = REST_S  # between pieces of work on a backlog; 0 once nobody trains any more
        self._source = source
        self._faults = faults
        self._run = run
        self._head: dict[str, Any] = {"writer": source.writer, "attempt": attempt, "rank": rank}
        self._describe = describe
        self._window: list[Indexed] = []  # read, not yet acknowledged
        self._was_full = False  # the last read of the journal left some of it
        self._limit = MAX_REQUEST_RECORDS
        self._mark = 0  # the service has said that it holds every record below
        self._marked_on: tuple[Transport, int] | None = None  # the connection on which it said so
        self._known: tuple[int, dict[str, dict[str, Any]]] | None = None  # series and traits as last put

    def put_run(self, transport: Transport) -> None:
        """Make the run known, again whenever a series was declared or more is known of one."""
        known = len(self._source.series), self._source.traits
        if self._known is not None and known[0] == self._known[0] and known[1] is self._known[1]:
            return
        body = self._describe() | {"series": self._meanings(*known)}
        path = f"{wire.API_PREFIX}/runs/{self._run}"
        answer = transport.request("PUT", path, encode(body))
        if answer.status in BAD_ROWS:
            # A config that the service can't take must cost neither the records nor the rest.
            left_out = f"a part of the run's description is left out: {Refused(answer)}"
            self._faults.warn("description", left_out)
            named = {field.partition(".")[0] for field in read_fields(answer)}
            answer = transport.request(
                "PUT", path, encode({key: body[key] for key in body if key not in named})
            )
        if answer.status in BAD_ROWS:
            few = {key: body[key] for key in ("project", "name", "attempt") if key in body}
            answer = transport.request("PUT", path, encode(few))
        if answer.status >= 300:
            raise Refused(answer)
        url = answer.body.get("url")
        is_path = isinstance(url, str) and url.startswith("/") and url.isprintable()
        self.run_path = url if is_path else f"/?run={self._run}"
        self._known = known

    def send_some(self, transport: Transport) -> bool:
        """Send up to one request; return whether there was anything to send."""
        self.put_run(transport)
        if not self._window:
            self._read_window()
            if not self._window:
                return False
            self.put_run(transport)  # a series may have been declared with what was just read
        is_known = not self._mark or self._marked_on == (transport, transport.connection_number())
        if not is_known and self._is_behind(transport):
            return True
        part, columns = self._cut()
        if columns:
            seq = min(group["index"][0] for group in columns.values())  # ascending, as they were read
            head = self._head | {"seq": seq, "sent": time.time()} | self._dropped()
            try:
                answer = self._post(transport, self._encode(head, columns))
            except TimedOut:  # a slow line or service may manage half of it in time
                self._limit = max(1, min(self._limit, len(part)) // 2)
                raise
            if answer.status in BAD_ROWS:
                self._leave_out(answer, columns)
                return True
            upto = max(group["index"][-1] for group in columns.values()) + 1
            check_taken(answer, upto)
            self._mark, self._marked_on = upto, (transport, transport.connection_number())
            self._limit = min(MAX_REQUEST_RECORDS, self._limit * 2)
        self._source.acknowledge(part[-1][0] + 1)
        del self._window[: len(part)]
        return True

    def send_state(self, transport: Transport, state: str) -> None:
        """Send a heartbeat (`running`) or the end (`finished`, `failed`)."""
        self.put_run(transport)
        body = encode(self._head | {"records": [], "state": state} | self._dropped())
        answer = self._post(transport, body)
        if answer.status >= 300:
            raise Refused(answer)
        check_taken(answer, 0)
        if self._go_back(answer, transport):
            raise NotNow("the service no longer has what it had taken")

    @property
    def has_backlog(self) -> bool:
        """Whether more is known to wait; else the next look comes in its time, with what came meanwhile.

        Asking again at once posted 290 times a second beside a loop that logs every 2 ms,
        and cost it a quarter of its speed.
        """
        return bool(self._window) or self._was_full

    def unsent(self) -> int:
        """Return how many records were read and not yet committed."""
        return len(self._window)

    def forget_service(self) -> None:
        """Put the run again before the next request: the service may be another one."""
        self._known = None

    def _meanings(self, count: int, traits: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        meanings = {series.name: series.meaning() for series in self._source.series[:count]}
        for name in meanings.keys() & traits.keys():
            meanings[name]["traits"] = traits[name]
        return meanings

    def _read_window(self) -> None:
        while len(self._window) < MAX_REQUEST_RECORDS:
            records = self._source.read(SLICE_RECORDS)
            self._window += records
            if len(records) < SLICE_RECORDS:
                break
            time.sleep(self.rest_s)
        self._was_full = len(self._window) >= MAX_REQUEST_RECORDS
        damaged = sum(record is None for _, record in self._window)
        if damaged:
            self._faults.count("damaged", damaged)

    def _encode(self, head: dict[str, Any], columns: dict[str, dict[str, Any]]) -> bytes:
        """Encode a request column by column: in one call it would hold the lock for 10 ms."""
        groups = []
        for name, group in columns.items():
            parts = []
            for key, value in group.items():
                parts.append(encode(key) + b":" + encode(value))
                if not isinstance(value, str) and len(value) >= SLICE_RECORDS:
                    time.sleep(self.rest_s)
            groups.append(encode(name) + b":{" + b",".join(parts) + b"}")
        return encode(head)[:-1] + b',"series":{' + b",".join(groups) + b"}}"

    def _post(self, transport: Transport, body: bytes) -> Answer:
        path = f"{wire.API_PREFIX}/runs/{self._run}/records"
        answer = transport.request("POST", path, body)
        if answer.status == 404 and answer.body.get("code") == "run-not-found":
            # The service lost its database, or the run was deleted: it is made again at the next try.
            self.forget_service()
            raise NotNow("the service does not know the run any more")
        if answer.status >= 300 and answer.status not in BAD_ROWS:
            raise Refused(answer)
        return answer

    def _is_behind(self, transport: Transport) -> bool:
        """Ask at a new connection how far the service is; return whether records must be sent again."""
        body = encode(self._head | {"records": []} | self._dropped())
        answer = self._post(transport, body)
        return answer.status < 300 and self._go_back(answer, transport)

    def _go_back(self, answer: Answer, transport: Transport) -> bool:
        """Where the service no longer has what it acknowledged, read that again as far as it is still here.

        It may have been restored from a backup, have begun with an empty database, or be another one.
        What of it has left the journal is counted.
        """
        told = read_next(answer)
        if told is None or told >= self._mark:
            return False
        start = self._source.rewind(told)
        lost = (self._mark if start is None else min(start, self._mark)) - told
        if lost:
            self._faults.count("lost-by-service", lost)
        self._faults.warn(
            "lost-by-service",
            f"the service at {transport.url} no longer has {self._mark - told} records that it had taken (is "
            f"it a restored backup, or another one?); {lost} are lost, the others are sent again",
        )
        self._mark = told
        if start is None:
            return False
        self._window.clear()
        return True

    def _cut(self) -> tuple[list[Indexed], dict[str, dict[str, Any]]]:
        """Take from the window what one request can carry: a name stands for one meaning in it."""
        series = self._source.series
        groups: dict[int, Group] = {}  # by number: most requests have one or two
        meanings: dict[str, Series] = {}
        taken = live = 0
        for index, record in self._window:
            if record is not None and record.series < len(series):
                if live == self._limit:
                    break
                group = groups.get(record.series)
                if group is None:
                    meaning = series[record.series]
                    first = meanings.setdefault(meaning.name, meaning)
                    if (meaning.reduction, meaning.weight_unit) != (first.reduction, first.weight_unit):
                        break
                    same = next((known for known in groups.values() if known.name == meaning.name), None)
                    group = groups[record.series] = same or Group(meaning.name, [], [])
                group.indices.append(index)
                group.records.append(record)
                live += 1
            taken += 1
        columns = {
            group.name: meanings[group.name].meaning() | make_columns(group) for group in groups.values()
        }
        return self._window[:taken], columns

    def _leave_out(self, answer: Answer, columns: dict[str, dict[str, Any]]) -> None:
        """Drop the rows that the service names; where it names none, halve the request until one is left."""
        fields = read_fields(answer)
        bad = find_rows(fields, columns)
        if not bad:
            indices = [index for group in columns.values() for index in group["index"]]
            is_size = answer.status == 413 and len(indices) > 1
            if not is_size and (fields or not is_verdict(answer)):
                raise Refused(answer)  # of the request's head, or by a proxy: it says nothing of a row
            if len(indices) > 1:
                self._limit = len(indices) // 2
                return
            bad = set(indices)
        self._faults.count("rejected", len(bad))
        refused = f"the service refused a record: {Refused(answer)} ({', '.join(fields[:3])})"
        self._faults.warn("rejected", refused)
        self._window = [(index, None if index in bad else record) for index, record in self._window]

    def _dropped(self) -> dict[str, Any]:
        counts = self._faults.counts()
        return {"dropped": counts} if counts else {}
