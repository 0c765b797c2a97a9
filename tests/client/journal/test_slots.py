"""A record's 64 bytes: what goes in comes out, and damage is seen."""

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lossboard import wire
from lossboard.journal.slots import SLOT_BYTES, Stored, pack, unpack

FINITE = st.floats(allow_nan=False, allow_infinity=False)
RECORDS = st.builds(
    Stored,
    series=st.integers(0, 2**16 - 1),
    epoch=st.integers(-1, wire.MAX_SMALL),
    batch=st.integers(0, wire.MAX_POSITION),
    loss=st.floats(allow_nan=False),
    batch_size=st.none() | st.integers(0, wire.MAX_SMALL),
    weight=st.none() | FINITE,
    time=FINITE,
    pass_no=st.integers(0, wire.MAX_SMALL),
    step=st.none() | st.integers(0, 2**32 - 2),
    call=st.none() | st.integers(0, 2**14 - 2),
    divisor=st.none() | st.sampled_from([1.0, 4.0, 1 / 65536, 3.0]),
    window_items=st.none() | st.integers(1, 2**24).map(float),
)


@given(RECORDS)
def test_record_comes_out_as_it_went_in(record: Stored) -> None:
    slot = pack(*record)
    assert len(slot) == SLOT_BYTES
    assert unpack(slot) == [record]


@given(FINITE)
def test_divisor_alone_keeps_double_precision(divisor: float) -> None:
    record = Stored(0, 0, 0, 1.0, 1, None, 0.0, 0, None, None, divisor, None)
    assert unpack(pack(*record)) == [record]


def test_nan_and_infinity_stay_what_they_are() -> None:
    slots = b"".join(
        pack(0, 0, 0, loss, 1, None, 0.0, 0, None, None, None, None)
        for loss in (math.nan, math.inf, -math.inf)
    )
    losses = [record.loss for record in unpack(slots) if record is not None]
    assert math.isnan(losses[0])
    assert losses[1:] == [math.inf, -math.inf]


@given(RECORDS, st.integers(0, SLOT_BYTES * 8 - 1))
def test_any_flipped_bit_is_seen(record: Stored, bit: int) -> None:
    slot = bytearray(pack(*record))
    slot[bit // 8] ^= 1 << bit % 8
    assert unpack(bytes(slot)) == [None]


def test_zeros_are_no_record() -> None:
    assert unpack(bytes(SLOT_BYTES)) == [None]


def test_number_that_does_not_fit_is_refused() -> None:
    with pytest.raises(struct.error):
        pack(0, 2**31, 0, 1.0, 1, None, 0.0, 0, None, None, None, None)


def test_call_beyond_the_slot_is_left_to_the_service_to_number() -> None:
    record = Stored(0, 0, 0, 1.0, 1, None, 0.0, 0, None, 20_000, None, None)
    assert unpack(pack(*record)) == [record._replace(call=None)]
