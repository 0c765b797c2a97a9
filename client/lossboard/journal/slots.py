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
_BODY_BYTES: Final = _BODY.size
_SEALED: Final = Struct("<I60s")
_DOUBLE: Final = Struct("<d")
_TWO_SINGLES: Final = Struct("<ff")
_BITS: Final = Struct("<Q")

pack_body = _BODY.pack
"""Pack the fields of a slot behind its checksum, in their order; nothing may be missing."""
seal = _SEALED.pack
"""Put a body's crc32 before it."""


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


def pack(
    series: int,
    epoch: int,
    batch: int,
    loss: float,
    batch_size: int | None,
    weight: float | None,
    time: float,
    pass_no: int,
    step: int | None,
    call: int | None,
    divisor: float | None,
    window_items: float | None,
) -> bytes:
    """Pack any record: the fields of `Stored`.

    A divisor beside a window keeps single precision, which is exact for the powers of
    two and small counts that they are.
    Raises: struct.error where a number does not fit.
    """
    flags, extra = _pack_extra(divisor, window_items)
    body = pack_body(
        epoch,
        batch,
        loss,
        NAN if weight is None else weight,
        time,
        NO_SIZE if batch_size is None else batch_size,
        pass_no,
        NO_STEP if step is None else step,
        series,
        (NO_CALL if call is None or call >= NO_CALL else call) | flags,
        extra,
    )
    return seal(crc32(body), body)


def unpack(block: bytes) -> list[Stored | None]:
    """Unpack whole slots; None stands for one that is torn, zero or damaged."""
    view = memoryview(block)
    records: list[Stored | None] = []
    keep, new, start = records.append, tuple.__new__, 4
    for crc, epoch, batch, loss, weight, time, size, pass_no, step, series, call, extra in _SLOT.iter_unpack(
        view
    ):
        is_whole = crc == crc32(view[start : start + _BODY_BYTES])
        start += SLOT_BYTES
        if not is_whole:
            keep(None)
            continue
        divisor, window = _unpack_extra(call, extra) if call > _CALL_BITS else (None, None)
        call &= _CALL_BITS
        values = (
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
        keep(new(Stored, values))  # a third of the time of Stored(*values), which checks their number
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
