"""Summaries: exact, mergeable in any order and grouping."""

import math
import random
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lossboard_server.domain.meaning import Evaluation, Reduction
from lossboard_server.domain.summary import Row, Summary, merge, merge_all, summarise

losses = st.floats(-1e6, 1e6, allow_subnormal=False)
rows = st.lists(
    st.tuples(losses, st.integers(1, 512), st.sampled_from([None, 0.0, 0.5, 3.0])), min_size=1, max_size=40
)


def row(batch: int, loss: float, batch_size: int | None = 1, weight: float | None = None) -> Row:
    evaluation = Evaluation(loss, batch_size, weight, None, None, Reduction.MEAN)
    return Row(0, batch, 0, evaluation, None, 1_000.0 + batch)


def as_rows(values: list[tuple[float, int, float | None]]) -> list[Row]:
    return [row(batch, *value) for batch, value in enumerate(values)]


@given(rows)
def test_mean_is_the_exact_weighted_mean(values: list[tuple[float, int, float | None]]) -> None:
    summary = summarise(as_rows(values))
    pairs = [(Fraction(loss), Fraction(size if weight is None else weight)) for loss, size, weight in values]
    total = sum(weight for _, weight in pairs)
    if total == 0:
        assert summary.mean is None
        return
    exact = float(sum(loss * weight for loss, weight in pairs) / total)
    scale = max(abs(loss) for loss, _, _ in values)
    assert summary.mean == pytest.approx(exact, rel=1e-12, abs=1e-13 * scale)


def merge_at_random(parts: list[Summary], rng: random.Random) -> Summary:
    """Merge in any order and any grouping."""
    parts = list(parts)
    while len(parts) > 1:
        a = parts.pop(rng.randrange(len(parts)))
        b = parts.pop(rng.randrange(len(parts)))
        parts.append(merge(a, b))
    return parts[0]


@given(rows, st.randoms(use_true_random=False))
def test_merging_in_any_order_and_grouping_gives_the_same(
    values: list[tuple[float, int, float | None]], rng: random.Random
) -> None:
    whole = summarise(as_rows(values))
    merged = merge_at_random([summarise([each]) for each in as_rows(values)], rng)
    for name in ("seen", "count", "items", "items_seen", "empty", "low", "high", "batch_size", "last_batch",
                 "last_batch_size", "first_time", "last_time"):  # fmt: skip
        assert getattr(merged, name) == getattr(whole, name), name
    counted = [row.evaluation for row in as_rows(values) if row.evaluation.weight != 0]
    terms = {
        "m": [each.loss for each in counted],
        "sized": [(each.batch_size or 0) * each.loss for each in counted],
    }
    for name, added in terms.items():
        assert is_rounded_sum(getattr(merged, name)[0], added), name
        assert is_rounded_sum(getattr(whole, name)[0], added), name


def is_rounded_sum(total: float, terms: list[float]) -> bool:
    """Tell whether a total is the exact sum to the last bit, up to what compensation can't see."""
    exact = sum(map(Fraction, terms), Fraction())
    unseen = len(terms) * sum(abs(Fraction(term)) for term in terms) / 2**104
    return float(exact - unseen) <= total <= float(exact + unseen)


@given(
    st.lists(st.tuples(st.floats(0.5, 100.0), st.integers(1, 512)), min_size=2, max_size=40),
    st.randoms(use_true_random=False),
)
def test_scatter_merges_to_twelve_digits(values: list[tuple[float, int]], rng: random.Random) -> None:
    made = [row(batch, loss, size) for batch, (loss, size) in enumerate(values)]
    merged = merge_at_random([summarise([each]) for each in made], rng)
    items = sum(size for _, size in values)
    mean = sum(Fraction(loss) * size for loss, size in values) / items
    exact = float(sum(size * (Fraction(loss) - mean) ** 2 for loss, size in values))
    # A mean is known to its last bit, so of a scatter far below it fewer digits can be known.
    ulps = 16 * math.ulp(float(mean))
    unknown = ulps * math.sqrt(exact * items) + ulps**2 * items
    assert abs(merged.m2 - exact) <= 1e-12 * exact + unknown
    assert abs(summarise(made).m2 - exact) <= 1e-12 * exact + ulps**2 * items


@given(st.permutations([1e16, 1.0, -1e16, 3.0, 2.0**60, -(2.0**60)]), st.randoms(use_true_random=False))
def test_cancellation_keeps_the_small_terms_in_any_order(losses: list[float], rng: random.Random) -> None:
    parts = [summarise([row(batch, loss)]) for batch, loss in enumerate(losses)]
    assert merge_at_random(parts, rng).m[0] == 4.0
    assert merge_all(parts).m[0] == 4.0


def test_nonfinite_is_counted_and_kept_out_of_the_sums() -> None:
    summary = summarise([row(0, 3.0, 2), row(1, math.nan, 2), row(2, -math.inf, 2)])
    assert (summary.count, summary.nonfinite, summary.seen) == (1, 2, 3)
    assert (summary.items, summary.items_seen, summary.mean) == (2, 6, 3.0)


def test_weight_zero_is_empty_and_no_alarm() -> None:
    summary = summarise([row(0, math.nan, 4, 0.0), row(1, 2.0, 4)])
    assert (summary.empty, summary.nonfinite, summary.mean) == (1, 0, 2.0)


def test_nothing_finite_has_no_mean() -> None:
    assert summarise([row(0, math.nan)]).mean is None
    assert Summary().mean is None


def test_standard_error_is_that_of_the_batches_scatter() -> None:
    # SEMANTICS §4.4 on the seed at batch size 2: item variance 7/3, Σn 8.
    summary = summarise([row(b, m, 2) for b, m in enumerate([4.5, 3.0, 2.5, 2.0])])
    assert summary.std_error == pytest.approx(math.sqrt(7 / 3 / 8), rel=1e-12)


def test_one_batch_has_no_standard_error() -> None:
    assert summarise([row(0, 3.0, 8)]).std_error is None


def test_losses_at_the_end_of_the_doubles_do_not_raise() -> None:
    summary = summarise([row(0, 1.7e308, 4), row(1, 1.7e308, 4), row(2, -1.0, 4)])
    assert summary.count == 3
    assert merge(summary, summary).count == 6
