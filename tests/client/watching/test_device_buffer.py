"""Numbers that travel from a device to the host: from a fake one that is late, hangs or is lost."""

import time

import pytest
import torch
from torch import nn

from devices import Device, OnDevice
from lossboard.watching import deferred


def make_buffer(device):
    """Return a buffer on a fake device, what arrived, and what was dropped."""
    written, dropped = [], []
    buffer = deferred.DeviceBuffer(lambda n, reason: dropped.append((n, reason)), device.copy)
    return buffer, lambda *numbers: written.append(numbers), written, dropped


def test_numbers_travel_in_batches_and_are_those_of_their_own_time():
    device = Device()
    buffer, write, written, dropped = make_buffer(device)
    shared = torch.zeros(())
    for n in range(600):
        shared.fill_(n)
        buffer.put(lambda *numbers, n=n: write(n, *numbers), shared, shared + 1 if n % 2 else n, None)
        shared.fill_(-1)  # as `loss /= k` would, in place
    assert [len(packed) for packed in device.copies] == [1, 384, 384]  # the first goes at once
    assert written == []
    device.arrived = 99
    buffer.flush(1.0)
    assert written == [(n, n, n + 1 if n % 2 else n, None) for n in range(600)]
    assert sum(n for n, _ in dropped) == 0


def test_nothing_is_handed_over_before_it_has_arrived_and_then_at_the_next_call():
    device = Device()
    buffer, write, written, _ = make_buffer(device)
    buffer.put(write, torch.tensor(1.0))
    buffer.send()
    assert written == []
    device.arrived = 1
    buffer.put(write, torch.tensor(2.0))
    assert written == [(1.0,)]


def test_what_waits_travels_when_an_epoch_ends_without_being_waited_for():
    device = Device()
    buffer, write, written, _ = make_buffer(device)
    for n in range(5):
        buffer.put(write, torch.tensor(float(n)))
    began = time.monotonic()
    buffer.send()
    assert time.monotonic() - began < 0.5
    assert [len(packed) for packed in device.copies] == [1, 4]
    device.arrived = 2
    buffer.collect()
    assert written == [(float(n),) for n in range(5)]


def test_stream_that_is_late_does_not_hold_up_another():
    device = Device()
    buffer, write, written, _ = make_buffer(device)
    for n in range(3):
        buffer.put(write, torch.tensor(float(n)))
        buffer.send()
    buffer._in_flight[0].event.number = 99
    device.arrived = 3
    buffer.collect()
    assert written == [(1.0,), (2.0,)]


def test_several_numbers_of_one_call_arrive_together():
    device = Device()
    buffer, write, written, _ = make_buffer(device)
    device.arrived = 1
    buffer.put(write, torch.tensor(1.5), torch.tensor(7), torch.tensor([3.25]), 8, None)
    buffer.collect()
    assert written == [(1.5, 7.0, 3.25, 8, None)]


def test_device_that_hangs_costs_no_more_than_the_deadline_and_is_counted():
    device = Device()
    buffer, write, written, dropped = make_buffer(device)
    for n in range(5):
        buffer.put(write, torch.tensor(float(n)))
    began = time.monotonic()
    buffer.flush(0.05)
    assert time.monotonic() - began < 2.0
    assert written == []
    assert dropped == [(5, "device-buffer")]
    buffer.put(write, torch.tensor(9.0))
    device.arrived = 99
    buffer.flush(1.0)
    assert written == [(9.0,)]


def test_device_that_never_answers_holds_a_bounded_number_of_copies():
    device = Device()
    buffer, write, _, dropped = make_buffer(device)
    for n in range(5000):
        buffer.put(write, torch.tensor(float(n)))
    assert len(buffer._in_flight) == deferred.MAX_IN_FLIGHT
    kept = sum(len(flight.rows) for flight in buffer._in_flight) + len(buffer._waiting)
    assert kept + sum(n for n, _ in dropped) == 5000


def test_device_that_is_lost_is_told_once_and_what_it_held_is_counted():
    device = Device()
    buffer, write, written, dropped = make_buffer(device)
    for n in range(4):
        buffer.put(write, torch.tensor(float(n)))
    device.is_lost = True
    with pytest.raises(RuntimeError, match="launch failure"):
        buffer.send()
    assert sum(n for n, _ in dropped) == 4
    buffer.collect()  # nothing is asked for again
    assert written == []


def test_receiver_that_raises_costs_nobody_else():
    device = Device()
    buffer, write, written, _ = make_buffer(device)
    device.arrived = 9
    buffer._due = time.monotonic() + 60
    buffer.put(write, torch.tensor(1.0))
    buffer.put(lambda number: 1 / 0, torch.tensor(2.0))
    buffer.put(write, torch.tensor(3.0))
    with pytest.raises(ZeroDivisionError):
        buffer.send()
    assert written == [(1.0,), (3.0,)]


def test_child_of_a_fork_hands_over_only_its_own():
    device = Device()
    buffer, write, written, dropped = make_buffer(device)
    for n in range(4):
        buffer.put(write, torch.tensor(float(n)))
    buffer.forget()
    device.arrived = 99
    buffer.put(write, torch.tensor(7.0))
    buffer.flush(1.0)
    assert written == [(7.0,)]
    assert sum(n for n, _ in dropped) == 0


def test_default_device_and_autocast_of_the_script_change_nothing():
    written = []
    buffer = deferred.DeviceBuffer(print)
    with torch.device("meta"), torch.autocast("cpu", torch.bfloat16), torch.inference_mode():
        for n in range(3):
            buffer.put(lambda *numbers: written.append(numbers), torch.tensor(n + 0.1, device="cpu"), n)
        buffer.flush(1.0)
    assert [value for value, _ in written] == pytest.approx([0.1, 1.1, 2.1], rel=1e-6)


@pytest.mark.parametrize("weight", [None, torch.tensor([0.5, 1.0, 2.0])])
def test_watched_loss_on_a_device_is_recorded_as_on_the_host(board, weight):
    """On a device whose copies are late; places and times are those of the calls."""
    torch.manual_seed(1)
    batches = [(torch.randn(n, 3), torch.randint(0, 3, (n,))) for n in (4, 4, 3)]
    host, device = nn.CrossEntropyLoss(weight), nn.CrossEntropyLoss(weight)
    fake = Device()
    runs = [board.watch(host, name="host"), board.watch(device, name="device")]
    (watcher,) = device._forward_hooks.values()
    watcher._device_buffer = watcher._main._buffer = deferred.DeviceBuffer(watcher._count_dropped, fake.copy)
    began = time.time()
    for epoch in range(2):
        for run in runs:
            run.epoch = epoch
        for x, y in batches:
            host(x.requires_grad_(), y).backward()
            on_device = x.detach().as_subclass(OnDevice).requires_grad_()
            value = device(on_device, y)
            value.backward()
            with torch.no_grad():
                value /= 7
    ended = time.time()
    assert board.records(runs[1], "loss") == []
    fake.arrived = 99
    for run in runs:
        run.finish()
    keys = ("epoch", "batch", "batch_size", "weight", "loss")
    assert board.records(runs[1], *keys) == board.records(runs[0], *keys)
    assert len(board.records(runs[1], "loss")) == 6
    assert all(began <= at <= ended for at in board.records(runs[1], "time"))
