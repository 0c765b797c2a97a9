"""Nothing of the script is changed by a probe: dice, buffers, counts, hooks, gradients, compiled code."""

import random
import threading
import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it

import lossboard
from lossboard.journal.reading import read_series
from lossboard.meaning.disturbance import is_muted
from losses import WEIGHTS, ask, classes, generator, mse, vectors


class Counting(torch.nn.Module):
    """A loss with all that a probe could disturb."""

    def __init__(self):
        super().__init__()
        self.norm = torch.nn.BatchNorm1d(3, momentum=0.5)
        self.alpha = torch.tensor([1.0, 2.0, 3.0])  # neither a parameter nor a buffer
        self.calls = 0

    def forward(self, output, target):
        self.calls += 1
        return (self.alpha * (self.norm(output) - target) ** 2).mean()


def test_dice_of_torch_python_and_numpy_fall_as_before():
    def loss(output, target):
        return mse(output, target) * (1 + torch.rand(()) + random.random() + np.random.rand())

    before = torch.get_rng_state(), random.getstate(), np.random.get_state()
    ask(loss, *vectors(8, generator(1)))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert np.array_equal(np.random.get_state()[1], before[2][1])


@pytest.mark.parametrize("is_captured", [False, True])
def test_module_keeps_buffers_mode_gradients_and_counts_and_no_hook_runs(is_captured):
    loss, fired = Counting(), []
    loss.norm.register_forward_hook(lambda *_: fired.append("inner"))
    loss.register_forward_hook(lambda *_: fired.append("outer"))
    loss.register_forward_pre_hook(lambda *_: fired.append("before"))
    state = {name: value.clone() for name, value in loss.state_dict().items()}
    found = ask((lambda o, t: loss(o, t)) if is_captured else loss, *vectors(16, generator(1)))
    assert found.finding in ("batch_coupled", "non_linear")
    assert all(torch.equal(value, state[name]) for name, value in loss.state_dict().items())
    assert (loss.training, loss.calls, fired, loss.alpha.dtype) == (True, 0, [], torch.float32)
    assert all(parameter.grad is None for parameter in loss.parameters())


def test_module_too_large_to_copy_has_its_buffers_set_back():
    large = torch.nn.Sequential(torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 700_000))
    before = large[0].running_mean.clone()
    ask(lambda o, t: large[0](o).mean() + large[1].weight[0, 0], *vectors(16, generator(1)))
    assert torch.equal(large[0].running_mean, before)
    assert large[0].num_batches_tracked == 0


def test_what_a_function_writes_stays_in_its_copy():
    history, calls = [], 0

    def loss(output, target):
        nonlocal calls
        calls += 1
        history.append(output)
        output -= target
        return output.square_().mean()

    batch = vectors(8, generator(1))
    before = [part.clone() for part in batch]
    assert ask(loss, *batch).finding == "mean"
    assert (calls, history) == (0, [])
    assert all(torch.equal(*pair) for pair in zip(batch, before, strict=True))


def test_object_that_is_called_keeps_what_it_counts():
    class Loss:
        calls = 0

        def __call__(self, output, target):
            self.calls += 1
            return F.cross_entropy(output, target, weight=self.weights)

        def compute(self, output, target):
            return self(output, target)

    loss = Loss()
    loss.weights = WEIGHTS
    for each in (loss, loss.compute):
        assert ask(each, *classes(16, generator(1))).finding == "mean_weighted"
    assert loss.calls == 0
    assert loss.weights is WEIGHTS


def test_gradients_warnings_and_records_are_as_they_were():
    modes = []

    def loss(output, target):
        warnings.warn("deprecated", stacklevel=1)
        modes.append((torch.is_grad_enabled(), is_muted(), output.requires_grad))
        print(*modes[-1])
        return mse(output, target)

    output, target = vectors(8, generator(1))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert ask(loss, output.requires_grad_(), target).finding == "mean"
    assert (told, torch.is_grad_enabled(), is_muted(), output.grad_fn) == ([], True, False, None)


def test_loss_sees_neither_gradients_nor_our_hooks(capsys):
    ask(lambda o: print(torch.is_grad_enabled(), is_muted()) or o.mean(), torch.rand(8))
    assert set(capsys.readouterr().out.splitlines()) == {"False True"}


def test_weights_that_autocast_casts_still_get_their_gradients():
    head = torch.nn.Linear(3, 700_000)  # too large to be copied
    output, target = vectors(8, generator(1))
    with torch.autocast("cpu", torch.bfloat16):
        ask(lambda o, t: mse(F.linear(o, head.weight[:3]), t), output, target)
        mse(F.linear(output, head.weight[:3]), target).backward()
        assert torch.is_autocast_cache_enabled()
    assert head.weight.grad is not None


def test_exceptions_that_are_the_scripts_to_handle_pass():
    def loss(output):
        raise KeyboardInterrupt

    dice = torch.get_rng_state()
    with pytest.raises(KeyboardInterrupt):
        ask(loss, torch.rand(8))
    assert torch.is_grad_enabled()
    assert not is_muted()
    assert torch.get_rng_state().shape == dice.shape


def test_compiled_losses_are_called_as_they_were_before_compiling():
    compiled = []

    def backend(graph, _):
        compiled.append(graph)
        return graph.forward

    function = torch.compile(mse, backend=backend)
    module = torch.compile(torch.nn.MSELoss(), backend=backend)
    for loss in (function, module, lambda o, t: function(o, t) + module(o, t)):
        assert ask(loss, *vectors(16, generator(1))).finding == "mean"
    assert compiled == []


def test_module_that_holds_a_lock_and_much_data_is_copied_without_them():
    class Holding(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.lock, self.data = threading.Lock(), list(range(2_000))
            self.head, self.seen = torch.nn.GRU(3, 3), {"calls": []}

        def forward(self, output, target):
            with self.lock:
                self.seen["calls"].append(len(self.data))
                return mse(self.head(output[None])[0][0], target)

    loss = Holding()
    assert ask(loss, *vectors(16, generator(1))).finding == "mean"
    assert loss.seen == {"calls": []}


def test_watched_loss_records_nothing_of_a_probe(start_run, state_folder):
    run = start_run(mode="offline")
    lossboard.watch(mse, run=run)
    watched, module = run.loss, torch.nn.MSELoss()
    lossboard.watch(module, run=run, series="other")
    assert ask(lambda o, t: watched(o, t) + module(o, t), *vectors(8, generator(1))).finding == "mean"
    (folder,) = (state_folder / "journal").iterdir()
    assert read_series(folder) == {}
