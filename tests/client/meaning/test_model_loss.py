"""The loss in a Hugging Face model's output, with real models: its weight is the count of kept labels."""

import pytest
import torch
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
)

SMALL = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
WORDS = 50


def gpt2():
    return GPT2LMHeadModel(
        GPT2Config(
            n_layer=1, n_head=2, n_embd=16, vocab_size=WORDS, n_positions=32, bos_token_id=0, eos_token_id=0
        )
    )


def llama():
    return LlamaForCausalLM(LlamaConfig(**SMALL, vocab_size=WORDS))


def masked():
    return BertForMaskedLM(BertConfig(**SMALL, vocab_size=WORDS))


def batch(rows, length, kept, seed):
    """Token ids and labels, the last ones of each row ignored."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(1, WORDS, (rows, length), generator=generator)
    labels = ids.clone()
    for row, count in enumerate(kept):
        labels[row, count:] = -100
    return {"input_ids": ids, "labels": labels}


BATCHES = [batch(3, 8, (8, 5, 2), 0), batch(3, 8, (3, 8, 8), 1), batch(1, 6, (4,), 2)]


def exact(model, shift):
    """The model's loss per token over all batches, from its logits."""
    total = count = 0.0
    with torch.no_grad():
        for each in BATCHES:
            logits = model(input_ids=each["input_ids"]).logits.double()
            labels = each["labels"]
            logits, labels = (logits[:, :-1], labels[:, 1:]) if shift else (logits, labels)
            flat = logits.reshape(-1, WORDS), labels.reshape(-1)
            total += torch.nn.functional.cross_entropy(*flat, reduction="sum").item()
            count += (labels != -100).sum().item()
    return total / count


@pytest.mark.parametrize(
    ("make", "shift", "window"),
    [(make, True, window) for make in (gpt2, llama) for window in (None, 31, torch.tensor(17))]
    + [(masked, False, None)],  # it takes no num_items_in_batch
)
def test_weight_is_the_count_of_kept_labels_whatever_the_model_divided_by(board, make, shift, window):
    torch.manual_seed(0)
    model = make().eval()
    expected = exact(model, shift)
    run = board.watch(model)
    run.epoch = 0
    for each in BATCHES:
        model(**each, **({} if window is None else {"num_items_in_batch": window})).loss.backward()
    rows = board.records(run, "loss", "weight", "window_items", "batch_size")
    kept = [each["labels"][:, 1:] if shift else each["labels"] for each in BATCHES]
    assert [weight for _, weight, *_ in rows] == [(labels != -100).sum().item() for labels in kept]
    assert [size for *_, size in rows] == [3, 3, 1]
    means = [loss if window is None else loss * own / weight for loss, weight, own, _ in rows]
    weights = [weight for _, weight, *_ in rows]
    found = sum(m * w for m, w in zip(means, weights, strict=True)) / sum(weights)
    assert found == pytest.approx(expected, rel=1e-6)
    reduction = "mean" if window is None else "sum_over_window"
    assert board.meanings(run) == {"train/loss": (reduction, "tokens", "exact")}


@pytest.mark.parametrize("labels", [3, 1])
def test_classifier_and_regression_weigh_the_items(board, labels):
    torch.manual_seed(0)
    model = BertForSequenceClassification(BertConfig(**SMALL, vocab_size=WORDS, num_labels=labels))
    run = board.watch(model)
    run.epoch = 0
    target = torch.tensor([0, 2, 1]) if labels > 1 else torch.tensor([0.5, 2.0, 1.0])
    model(input_ids=BATCHES[0]["input_ids"], labels=target).loss.backward()
    assert board.records(run, "weight", "batch_size") == [(3.0, 3)]
    assert board.meanings(run)["train/loss"][2] == "exact"


def test_loss_that_the_labels_do_not_explain_is_labelled_assumed(board):
    class Smoothed(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = llama()

        def forward(self, **inputs):
            output = self.model(**inputs)
            output.loss = output.loss + 0.1  # an auxiliary loss, say
            return output

    model = Smoothed()
    run = board.watch(model)
    run.epoch = 0
    model(**BATCHES[0]).loss.backward()
    assert board.records(run, "weight", "batch_size") == [(None, 3)]
    assert board.meanings(run) == {"train/loss": ("mean", "items", "assumed")}


def test_output_without_a_loss_is_an_inference_and_no_record(board, caplog):
    model = llama()
    run = board.watch(model, strict=False)
    model(input_ids=BATCHES[0]["input_ids"])
    assert board.records(run, "loss") == []
    assert caplog.records == []
