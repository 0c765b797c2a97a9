"""Two summaries agree where they are of the same records, and only there."""

import math
from dataclasses import replace

from lossboard_server.domain.agreement import agrees, agrees_as_bucket
from lossboard_server.domain.epoch_pyramid import bucket_epoch
from lossboard_server.domain.meaning import Evaluation, Reduction
from lossboard_server.domain.summary import Row, Summary, merge, summarise


def test_summaries_of_other_records_disagree() -> None:
    rows = [
        Row(0, batch, 0, Evaluation(0.1 * batch, 2, None, None, None, Reduction.MEAN), batch, 1e9)
        for batch in range(20)
    ]
    whole = summarise(rows)
    assert agrees(whole, merge(summarise(rows[:7]), summarise(rows[7:])))
    assert not agrees(whole, summarise(rows[1:]))
    value, low = whole.m
    ulp = math.ulp(value)
    assert agrees(whole, replace(whole, m=(value + ulp, low)))
    for field, other in (
        ("m", (value + 4 * ulp, low)), ("m2", whole.m2 * 1.001), ("high", 1.9 + 1e-15),
        ("seen", 21), ("last_step", None),
    ):  # fmt: skip
        assert not agrees(whole, replace(whole, **{field: other})), field
    one, other = (
        bucket_epoch({0: s}, Reduction.MEAN, is_training=True) for s in (whole, replace(whole, seen=21))
    )
    assert agrees_as_bucket(one, one)
    assert not agrees_as_bucket(one, other)
    assert not agrees_as_bucket(one, bucket_epoch({0: whole}, Reduction.UNKNOWN, is_training=True))
    assert not agrees(Summary(), whole)
