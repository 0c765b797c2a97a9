"""What of a loss's arguments is cut into parts, and what stays whole."""

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it

from lossboard.meaning.portions import Batch
from losses import CLASSES, WEIGHTS, ask, classes, generator, mse, vectors


def test_what_has_another_number_of_rows_stays_whole():
    batch = *classes(12, generator(1)), WEIGHTS, torch.tensor(2.0)
    loss = lambda o, t, w, temperature: F.cross_entropy(o / temperature, t, w)  # noqa: E731
    assert ask(loss, *batch).finding == "mean_weighted"


def test_mappings_lists_and_keywords_are_looked_into():
    o, t = vectors(12, generator(1))
    assert ask(lambda d, ts: mse(d["o"], ts[0]), {"o": o, "scale": 2}, [t]).finding == "mean"
    assert ask(lambda pair, *, target: mse(pair[0], target), (o,), target=t).finding == "mean"


def test_list_with_an_entry_for_each_item_is_cut_like_a_tensor():
    o, t = vectors(12, generator(1))
    loss = lambda o, ts: sum(mse(a, b) for a, b in zip(o, ts, strict=True)) / len(ts)  # noqa: E731
    assert ask(loss, o, list(t)).finding == "mean"


def test_class_weights_as_long_as_the_batch_are_no_wrong_mean():
    batch = *classes(CLASSES * 2, generator(1)), torch.rand(CLASSES * 2)
    found = ask(lambda o, t, w: F.cross_entropy(o, t, w[:CLASSES]), *batch)
    assert found.finding == "not_probed"


def test_at_most_256_items_from_all_over_the_batch_are_taken(capsys):
    ask(lambda o: print(len(o), o.min().item(), o.max().item()) or o.mean(), torch.arange(10_000.0))
    whole, *_, largest = sorted(capsys.readouterr().out.splitlines(), key=lambda line: int(line.split()[0]))
    assert largest == "256 0.0 9960.0"
    assert int(whole.split()[0]) == 56
    found = ask(torch.mean, torch.rand(999))
    assert found.reason.endswith("Told from 256 of the batch's 999 items.")


def test_padding_at_the_end_of_a_large_batch_is_seen():
    logits, targets = classes(4_000, generator(1))
    targets[2_000:] = -100
    assert ask(lambda o, t: F.cross_entropy(o, t), logits, targets).finding == "mean_weighted"


def test_batch_is_plain_where_nothing_can_be_mistaken_for_its_items():
    logits, targets = classes(8, generator(1))
    assert Batch((logits, targets), {}).is_plain
    assert not Batch((logits, targets, WEIGHTS), {}).is_plain
    assert not Batch((torch.rand(8, 8), targets, torch.rand(8)), {}).is_plain
