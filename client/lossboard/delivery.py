"""One writer's way to the service: run put, records posted as columns, bad rows left out, mark moved."""

import json
import re
import time
from collections.abc import Callable
from typing import Any, Final, Protocol

from lossboard import wire
from lossboard.faults import Faults
from lossboard.reading import Indexed, Series
from lossboard.slots import UNDECLARED, Stored
from lossboard.transport import Answer, Transport, encode

MAX_REQUEST_RECORDS: Final = 5_000  # about 400 kB of JSON
SLICE_RECORDS: Final = 500  # read without a rest: about 0.5 ms
# Every `os.write` of a `log` hands the interpreter's lock to us, and back it goes only when we wait or
# after 5 ms: a sender that worked through a backlog in one go would give the training one call in 5 ms.
REST_S: Final = 0.001

_ROW: Final = re.compile(r"series\.(?P<series>.+)\.(?P<column>\w+)\[(?P<row>\d+)\]")
_HEAD: Final = re.compile(r"series\.(?P<series>.+?)(?:\.(?:reduction|weight_unit|weight_source))?")
_BAD_ROWS: Final = (400, 413, 422)
_OFTEN_EMPTY: Final = ("weight", "divisor", "window_items", "step", "call")


class Refused(Exception):
    """The service does not take this writer now: wrong token, wrong address, or a newer wire."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        detail = answer.body.get("detail") or answer.body.get("title") or "no reason given"
        super().__init__(f"the service answered {answer.status}: {str(detail)[:300]}")


class Source(Protocol):
    """Where a writer's records come from: its journal, or the folder of a dead one."""

    writer: str
    series: list[Series]
    traits: dict[str, dict[str, Any]]

    def read(self, limit: int) -> list[Indexed]:
        """Return the next records, [] when there are none now."""

    def acknowledge(self, upto: int) -> None:
        """Note that everything below `upto` is committed."""


class Delivery:
    """Sends what a source has, in order, one request at a time, each record until it is committed.

    `describe` gives the body of PUT /runs. Every method raises Unreachable or Refused when
    it must be called again later; nothing is lost by that.
    """

    def __init__(
        self, source: Source, run: str, attempt: float, rank: int, describe: Callable[[], dict[str, Any]]
    ) -> None:
        self.run_path: str | None = None  # the run's page, once the service knows the run
        self.rest_s = REST_S  # between pieces of work on a backlog; 0 once nobody trains any more
        self._source = source
        self._run = run
        self._head: dict[str, Any] = {"writer": source.writer, "attempt": attempt, "rank": rank}
        self._describe = describe
        self._window: list[Indexed] = []  # read, not yet acknowledged
        self._was_full = False  # the last read of the journal left some of it
        self._limit = MAX_REQUEST_RECORDS
        self._known: tuple[int, dict[str, dict[str, Any]]] | None = None  # series and traits as last put

    def put_run(self, transport: Transport, faults: Faults) -> None:
        """Make the run known, again whenever a series was declared or more is known of one."""
        known = len(self._source.series), self._source.traits
        if self._known is not None and known[0] == self._known[0] and known[1] is self._known[1]:
            return
        body = self._describe() | {"series": self._meanings(*known)}
        path = f"{wire.API_PREFIX}/runs/{self._run}"
        answer = transport.request("PUT", path, encode(body))
        if answer.status in _BAD_ROWS:
            # A config that the service can't take must cost neither the records nor the rest.
            faults.warn("description", f"a part of the run's description is left out: {Refused(answer)}")
            named = {field.partition(".")[0] for field in _fields(answer)}
            answer = transport.request(
                "PUT", path, encode({key: body[key] for key in body if key not in named})
            )
        if answer.status in _BAD_ROWS:
            few = {key: body[key] for key in ("project", "name", "attempt") if key in body}
            answer = transport.request("PUT", path, encode(few))
        if answer.status >= 300:
            raise Refused(answer)
        url = answer.body.get("url")
        is_path = isinstance(url, str) and url.startswith("/") and url.isprintable()
        self.run_path = url if is_path else f"/?run={self._run}"
        self._known = known

    def send_some(self, transport: Transport, faults: Faults) -> bool:
        """Send up to one request; return whether there was anything to send."""
        self.put_run(transport, faults)
        if not self._window:
            self._read_window(faults)
            if not self._window:
                return False
            self.put_run(transport, faults)  # a series may have been declared with what was just read
        part, columns = self._cut()
        if columns:
            seq = min(index for group in columns.values() for index in group["index"])
            head = self._head | {"seq": seq} | _dropped(faults)
            answer = self._post(transport, self._encode(head, columns), faults)
            if answer.status in _BAD_ROWS:
                self._leave_out(answer, columns, faults)
                return True
            self._limit = min(MAX_REQUEST_RECORDS, self._limit * 2)
        self._source.acknowledge(part[-1][0] + 1)
        del self._window[: len(part)]
        return True

    def send_state(self, transport: Transport, state: str, faults: Faults) -> None:
        """Send a heartbeat (`running`) or the end (`finished`, `failed`)."""
        self.put_run(transport, faults)
        body = encode(self._head | {"records": [], "state": state} | _dropped(faults))
        answer = self._post(transport, body, faults)
        if answer.status >= 300:
            raise Refused(answer)

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
        meanings = {series.name: _meaning(series) for series in self._source.series[:count]}
        for name in meanings.keys() & traits.keys():
            meanings[name]["traits"] = traits[name]
        return meanings

    def _read_window(self, faults: Faults) -> None:
        while len(self._window) < MAX_REQUEST_RECORDS:
            records = self._source.read(SLICE_RECORDS)
            self._window += records
            if len(records) < SLICE_RECORDS:
                break
            time.sleep(self.rest_s)
        self._was_full = len(self._window) >= MAX_REQUEST_RECORDS
        damaged = sum(record is None for _, record in self._window)
        if damaged:
            faults.count("damaged", damaged)

    def _encode(self, head: dict[str, Any], columns: dict[str, dict[str, Any]]) -> bytes:
        """Encode a request column by column: in one call it would hold the lock for 10 ms."""
        groups = []
        for name, group in columns.items():
            parts = []
            for key, value in group.items():
                parts.append(json.dumps(key).encode() + b":" + encode(value))
                if isinstance(value, list) and len(value) >= SLICE_RECORDS:
                    time.sleep(self.rest_s)
            groups.append(json.dumps(name).encode() + b":{" + b",".join(parts) + b"}")
        return encode(head)[:-1] + b',"series":{' + b",".join(groups) + b"}}"

    def _post(self, transport: Transport, body: bytes, faults: Faults) -> Answer:
        path = f"{wire.API_PREFIX}/runs/{self._run}/records"
        answer = transport.request("POST", path, body)
        if answer.status == 404 and answer.body.get("code") == "run-not-found":
            # The service lost its database, or the run was deleted: make it again, once.
            self.forget_service()
            self.put_run(transport, faults)
            answer = transport.request("POST", path, body)
        if answer.status >= 300 and answer.status not in _BAD_ROWS:
            raise Refused(answer)
        return answer

    def _cut(self) -> tuple[list[Indexed], dict[str, dict[str, Any]]]:
        """Take from the window what one request can carry: a name stands for one meaning in it."""
        series = self._source.series
        rows: dict[str, list[tuple[int, Stored]]] = {}
        meanings: dict[str, Series] = {}
        taken = live = 0
        for index, record in self._window:
            if record is not None and record.series < len(series):
                meaning = series[record.series]
                first = meanings.setdefault(meaning.name, meaning)
                is_other = (meaning.reduction, meaning.weight_unit) != (first.reduction, first.weight_unit)
                if is_other or live == self._limit:
                    break
                rows.setdefault(meaning.name, []).append((index, record))
                live += 1
            taken += 1
        columns = {name: _meaning(meanings[name]) | _columns(pairs) for name, pairs in rows.items()}
        return self._window[:taken], columns

    def _leave_out(self, answer: Answer, columns: dict[str, dict[str, Any]], faults: Faults) -> None:
        """Drop the rows that the service names; where it names none, halve the request until one is left."""
        fields = _fields(answer)
        bad = _named_rows(fields, columns)
        if not bad:
            if fields and answer.status != 413:
                raise Refused(answer)  # it is the request's head that it refuses, no row
            indices = [index for group in columns.values() for index in group["index"]]
            if len(indices) > 1:
                self._limit = len(indices) // 2
                return
            bad = set(indices)
        faults.count("rejected", len(bad))
        faults.warn("rejected", f"the service refused a record: {Refused(answer)} ({', '.join(fields[:3])})")
        self._window = [(index, None if index in bad else record) for index, record in self._window]


def _fields(answer: Answer) -> list[str]:
    errors = answer.body.get("errors")
    return [str(entry.get("field")) for entry in errors if isinstance(entry, dict)] if errors else []


def _named_rows(fields: list[str], columns: dict[str, dict[str, Any]]) -> set[int]:
    bad: set[int] = set()
    for field in fields:
        row, head = _ROW.fullmatch(field), _HEAD.fullmatch(field)
        found = row or head
        indices = columns.get(found["series"], {}).get("index", []) if found else []
        if row:
            indices = indices[int(row["row"]) : int(row["row"]) + 1]
        bad.update(indices)
    return bad


def _columns(pairs: list[tuple[int, Stored]]) -> dict[str, list[Any]]:
    encode = wire.encode_number
    columns: dict[str, list[Any]] = {
        "index": [index for index, _ in pairs],
        "epoch": [None if r.epoch == UNDECLARED else r.epoch for _, r in pairs],
        "batch": [r.batch for _, r in pairs],
        "loss": [encode(r.loss) for _, r in pairs],
        "batch_size": [r.batch_size for _, r in pairs],
        "weight": [encode(r.weight) for _, r in pairs],
        "divisor": [encode(r.divisor) for _, r in pairs],
        "window_items": [encode(r.window_items) for _, r in pairs],
        "step": [r.step for _, r in pairs],
        "time": [r.time for _, r in pairs],
        "pass_no": [r.pass_no for _, r in pairs],
        "call": [r.call for _, r in pairs],
    }
    for key in _OFTEN_EMPTY:
        if all(value is None for value in columns[key]):
            del columns[key]
    return columns


def _meaning(series: Series) -> dict[str, Any]:
    return {
        "reduction": series.reduction,
        "weight_unit": series.weight_unit,
        "weight_source": series.weight_source,
    }


def _dropped(faults: Faults) -> dict[str, Any]:
    counts = faults.counts()
    return {"dropped": counts} if counts else {}
