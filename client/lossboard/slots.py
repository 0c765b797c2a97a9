"""One record in 64 bytes: what the journal holds, packed and unpacked with its checksum.

Little endian: crc32 of the 60 bytes behind it u32 | epoch i32, −1 undeclared | batch i64 |
loss f64 | weight f64, NaN none | time f64, unix seconds | batch_size i32, −1 none |
pass_no u32 | step u32, all ones none | series number u16 | call u14 and flags u2 |
divisor or window_items u64 (the bits of one f64, or of two f32 where a record has both).
"""

from struct import Struct
from typing import Final, NamedTuple
from zlib import crc32

SLOT_BYTES: Final = 64  # divides a page: a disk that fills up cuts between slots, never inside one
UNDECLARED: Final = -1  # epoch
NO_SIZE: Final = -1  # batch_size
NO_STEP: Final = 2**32 - 1
NO_CALL: Final = 2**14 - 1  # the service numbers evaluations of the same batch
MAX_SERIES_NUMBER: Final = 2**16 - 1
NAN: Final = float("nan")

_HAS_DIVISOR: Final = 1 << 14
_HAS_WINDOW: Final = 1 << 15
_CALL_BITS: Final = NO_CALL

_SLOT: Final = Struct("<IiqdddiIIHHQ")
_BODY: Final = Struct("<iqdddiIIHHQ")
_CRC: Final = Struct("<I")
_DOUBLE: Final = Struct("<d")
_TWO_SINGLES: Final = Struct("<ff")
_BITS: Final = Struct("<Q")

_pack_body = _BODY.pack
_pack_crc = _CRC.pack


class Stored(NamedTuple):
    """A record as the journal holds it; −1, NaN and the NO_ constants stand for what is missing."""

    series: int
    epoch: int
    batch: int
    loss: float
    batch_size: int | None
    weight: float | None
    time: float
    pass_no: int
    step: int | None
    call: int | None
    divisor: float | None
    window_items: float | None


def pack_plain(
    series: int, epoch: int, batch: int, loss: float, batch_size: int, weight: float, time: float
) -> bytes:
    """Pack what `run.log` has: no step, no divisor, and the service numbers the calls."""
    body = _pack_body(epoch, batch, loss, weight, time, batch_size, 0, NO_STEP, series, NO_CALL, 0)
    return _pack_crc(crc32(body)) + body


def pack(record: Stored) -> bytes:
    """Pack any record.

    A divisor beside a window keeps single precision, which is exact for the powers of
    two and small counts that they are.
    Raises: struct.error where a number does not fit.
    """
    flags, extra = _pack_extra(record.divisor, record.window_items)
    call = NO_CALL if record.call is None or record.call >= NO_CALL else record.call
    body = _pack_body(
        record.epoch,
        record.batch,
        record.loss,
        NAN if record.weight is None else record.weight,
        record.time,
        NO_SIZE if record.batch_size is None else record.batch_size,
        record.pass_no,
        NO_STEP if record.step is None else record.step,
        record.series,
        call | flags,
        extra,
    )
    return _pack_crc(crc32(body)) + body


def unpack(block: bytes) -> list[Stored | None]:
    """Unpack whole slots; None stands for one that is torn, zero or damaged."""
    view = memoryview(block)
    records: list[Stored | None] = []
    for start, fields in zip(range(0, len(block), SLOT_BYTES), _SLOT.iter_unpack(view), strict=True):
        if fields[0] != crc32(view[start + 4 : start + SLOT_BYTES]):
            records.append(None)
            continue
        _, epoch, batch, loss, weight, time, size, pass_no, step, series, call, extra = fields
        divisor, window = _unpack_extra(call, extra) if call > _CALL_BITS else (None, None)
        call &= _CALL_BITS
        records.append(
            Stored(
                series,
                epoch,
                batch,
                loss,
                None if size == NO_SIZE else size,
                None if weight != weight else weight,
                time,
                pass_no,
                None if step == NO_STEP else step,
                None if call == NO_CALL else call,
                divisor,
                window,
            )
        )
    return records


def _pack_extra(divisor: float | None, window: float | None) -> tuple[int, int]:
    if divisor is None and window is None:
        return 0, 0
    if divisor is not None and window is not None:
        both = _TWO_SINGLES.pack(divisor, window)
        return _HAS_DIVISOR | _HAS_WINDOW, _BITS.unpack(both)[0]
    flag, number = (_HAS_DIVISOR, divisor) if window is None else (_HAS_WINDOW, window)
    return flag, _BITS.unpack(_DOUBLE.pack(number))[0]


def _unpack_extra(flags: int, extra: int) -> tuple[float | None, float | None]:
    bits = _BITS.pack(extra)
    if flags & _HAS_DIVISOR and flags & _HAS_WINDOW:
        divisor, window = _TWO_SINGLES.unpack(bits)
        return divisor, window
    number = _DOUBLE.unpack(bits)[0]
    return (number, None) if flags & _HAS_DIVISOR else (None, number)
