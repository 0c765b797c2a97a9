"""Reading request bodies: bytes to checked records and runs, every error with its field and row."""

import asyncio
import zlib
from collections.abc import Mapping
from typing import Any, NoReturn

from fastapi import Request
from pydantic_core import from_json

from lossboard import wire
from lossboard.wire import Record, RecordError
from lossboard_server.api.columns import read_group
from lossboard_server.api.intake import Held, Intake
from lossboard_server.domain.blocks import Block, as_blocks
from lossboard_server.errors import BadRequest, Busy, FieldError, InvalidInput, TooLarge, UnknownEncoding
from lossboard_server.store.writing.deliveries import Delivery, Sender, SeriesMeaning

MAX_BODY_BYTES = 16 * 2**20
MAX_RECORDS = 50_000  # in one request; our client sends up to 5,000
MAX_GZIP_MEMBERS = 16  # each costs a copy of what follows it, and may hold nothing
MAX_ERRORS = 20  # told of one request; its caller mends these first
ENVELOPE_KEYS = frozenset("writer seq attempt rank series records state dropped sent".split())
SERIES_KEYS = frozenset({"reduction", "weight_unit", "weight_source", "traits", *wire.COLUMN_KEYS})


async def read_json(request: Request, held: Held | None = None) -> dict[str, Any]:
    """Read a JSON object from a request, gzipped or not; `held` counts what of it is in memory.

    Raises: TooLarge; UnknownEncoding; BadRequest for what is no JSON object in UTF-8, or nests too deep;
    Busy where others hold too much.
    """
    is_gzipped = _read_encoding(request)
    body = await _read_body(request, held or Intake().hold())
    # On a thread: to inflate 16 MiB takes 30 ms, in which the loop would answer nobody.
    content = await asyncio.to_thread(_inflate, bytes(body)) if is_gzipped else bytes(body)
    if held is not None:
        held.grow_to(len(content))
    try:
        decoded = from_json(content, allow_inf_nan=False)
    except ValueError as error:
        hint = ' Send NaN as the string "NaN".' if "NaN" in str(error) or b"NaN" in content else ""
        raise BadRequest(f"The body is not JSON in UTF-8: {error}.{hint}") from None
    if not isinstance(decoded, dict):
        raise BadRequest("The body must be a JSON object.")
    return decoded


async def _read_body(request: Request, held: Held) -> bytearray:
    body, read, refusal = bytearray(), 0, None
    async for chunk in request.stream():
        read += len(chunk)
        if read > MAX_BODY_BYTES:
            _refuse_size()
        if refusal is None:
            try:
                held.grow_to(read)
            except Busy as error:
                # The rest is read and let go: cut off while it sends, a caller would not see the answer.
                refusal = error
                body.clear()
            else:
                body += chunk
    if refusal is not None:
        raise refusal
    return body


def read_delivery(body: dict[str, Any]) -> Delivery:
    """Check a body of `POST …/records`, rows or columns; all of it, before anything is stored.

    Raises: InvalidInput naming each wrong field with its row.
    """
    for key in body:
        if key not in ENVELOPE_KEYS:
            _refuse(key[:40], f"is not a key of this request; known: {', '.join(sorted(ENVELOPE_KEYS))}")
    sender, state = _read_sender(body), _read_state(body)
    if "records" in body:
        if "series" in body:
            _refuse("series", "beside records: send either rows or columns")
        records = _read_rows(body["records"])
        if sender is None:
            return Delivery(as_blocks(records), state=state)
        return Delivery(as_blocks(records, range(sender.seq, sender.seq + len(records))), sender, state=state)
    if sender is None:
        _refuse("records", 'is missing; send {"records":[{"epoch":0,"batch":0,"loss":4.5,"batch_size":2}]}')
    return _read_columns(body.get("series"), sender, state)


def _read_sender(body: dict[str, Any]) -> Sender | None:
    if "writer" not in body:
        for key in ("seq", "dropped", "attempt", "rank", "sent"):
            if key in body:
                _refuse(key, "needs a writer beside it")
        return None
    try:
        if not isinstance(body["writer"], str) or not wire.RUN_ID.fullmatch(body["writer"]):
            raise RecordError("writer", "must be 1 to 64 of the characters A–Z a–z 0–9 _ -")
        return Sender(
            writer=body["writer"],
            seq=wire.check_whole("seq", body.get("seq", 0), wire.MAX_POSITION),
            attempt=wire.check_attempt(body.get("attempt", 0)),
            rank=wire.check_whole("rank", body.get("rank", 0), wire.MAX_SMALL),
            dropped=_read_dropped(body.get("dropped")),
            sent=_read_sent(body.get("sent")),
        )
    except RecordError as error:
        _refuse(error.field, error.message)


def _read_state(body: dict[str, Any]) -> str | None:
    """Read the state that a request tells.

    A person without a writer says how a run ended, never that it was killed: that is found out
    on the writer's host, of one writer.
    """
    state = body.get("state")
    if state is None:
        return None
    known = wire.STATES if "writer" in body else ("running", *wire.SCRIPT_STATES)
    if not isinstance(state, str) or state not in known:
        needs = " (killed needs the writer that was found dead)" if state == "killed" else ""
        _refuse("state", f"must be one of {', '.join(known)}{needs}")
    return state


def _read_sent(value: object) -> float | None:
    try:
        return wire.check_time(value)
    except RecordError as error:
        raise RecordError("sent", error.message) from None


def _read_dropped(value: object) -> dict[str, int] | None:
    if value is None:
        return None
    if not isinstance(value, dict) or len(value) > 50:
        raise RecordError("dropped", "must be an object of at most 50 reasons and counts")
    return {
        str(reason)[:60]: wire.check_whole(f"dropped.{str(reason)[:60]}", count, wire.MAX_POSITION)
        for reason, count in value.items()
    }


def _read_rows(rows: object) -> list[Record]:
    if not isinstance(rows, list):
        _refuse("records", "must be a list of records")
    _check_count(len(rows))
    records = []
    errors = []
    for index, row in enumerate(rows):
        try:
            records.append(wire.read_row(row))
        except RecordError as error:
            field = f"records[{index}].{error.field}" if error.field else f"records[{index}]"
            errors.append(FieldError(field, error.message))
            if len(errors) >= MAX_ERRORS:
                break
    if errors:
        raise InvalidInput(_told(errors), errors)
    return records


def _read_columns(series: object, sender: Sender, state: str | None) -> Delivery:
    if not isinstance(series, dict):
        _refuse("series", "is missing; columns go under it by the series' name")
    blocks: list[Block] = []
    indexes: list[int] = []
    meanings = {}
    for name, columns in series.items():
        at = f"series.{str(name)[: wire.MAX_SERIES_NAME]}"
        try:
            wire.check_series_name(name)
            if not isinstance(columns, dict):
                raise RecordError("", "must be an object of columns")
            meanings[name] = _read_meaning(columns)
            block = read_group(name, columns, meanings[name].reduction, sender)
        except RecordError as error:
            _refuse(f"{at}.{error.field}" if error.field else at, error.message)
        if block is not None:
            blocks.append(block)
            indexes += block.index
            _check_count(len(indexes))
    if indexes and (min(indexes) != sender.seq or len(set(indexes)) != len(indexes)):
        _refuse("seq", "must be the smallest index, and no index may come twice")
    return Delivery(blocks, sender, meanings, state)


def _read_meaning(columns: Mapping[str, Any]) -> SeriesMeaning:
    for key in columns:
        if key not in SERIES_KEYS:
            raise RecordError(str(key)[:40], f"is no column; known: {', '.join(sorted(SERIES_KEYS))}")
    choices = {
        "reduction": wire.REDUCTIONS,
        "weight_unit": wire.WEIGHT_UNITS,
        "weight_source": wire.WEIGHT_SOURCES,
    }
    told = {
        key: wire.check_choice(key, columns[key], known)
        for key, known in choices.items()
        if columns.get(key) is not None
    }
    traits = {} if columns.get("traits") is None else wire.check_traits(columns["traits"])
    return SeriesMeaning(**told, traits=traits)


def _read_encoding(request: Request) -> bool:
    """Return whether the body is gzipped.

    Raises: UnknownEncoding for any other encoding, and for two on top of each other.
    """
    named = ",".join(request.headers.getlist("content-encoding")).lower().split(",")
    encodings = [name.strip() for name in named if name.strip() not in ("", "identity")]
    if encodings in ([], ["gzip"], ["x-gzip"]):
        return bool(encodings)
    raise UnknownEncoding(
        f"A body may come as it is or with Content-Encoding: gzip, not {', '.join(encodings)[:60]}.",
        headers={"Accept-Encoding": "gzip"},  # RFC 9110, section 12.5.3
    )


def _inflate(body: bytes) -> bytes:
    """Inflate a gzip body of one or several members.

    Memory: never more than MAX_BODY_BYTES and a little, whatever the body would come to.
    Raises: TooLarge; BadRequest for what is no gzip, or not all of it.
    """
    content = bytearray()
    rest = body
    for _ in range(MAX_GZIP_MEMBERS):
        engine = zlib.decompressobj(wbits=31)
        try:
            content += engine.decompress(rest, MAX_BODY_BYTES + 1 - len(content))
        except zlib.error:
            raise BadRequest("The body is not gzip, as its Content-Encoding says that it is.") from None
        if len(content) > MAX_BODY_BYTES:
            _refuse_size()
        if not engine.eof:
            raise BadRequest("The gzip body breaks off before its end. Nothing was stored.")
        rest = engine.unused_data
        if not rest:
            return bytes(content)
    raise BadRequest(f"A gzip body may have {MAX_GZIP_MEMBERS} members. Send it as one.")


def _check_count(count: int) -> None:
    if count > MAX_RECORDS:
        raise TooLarge(f"A request takes at most {MAX_RECORDS:,} records; send the rest in another.")


def _refuse_size() -> NoReturn:
    raise TooLarge(f"A body may have {MAX_BODY_BYTES // 2**20} MiB. Send fewer records at once.")


def _refuse(field: str, message: str) -> NoReturn:
    errors = [FieldError(field, message)]
    raise InvalidInput(_told(errors), errors)


def _told(errors: list[FieldError]) -> str:
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return f"{errors[0].field} {errors[0].message}{more}. Nothing of this request was stored."
