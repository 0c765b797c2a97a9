"""A fake accelerator for tests: its copies arrive when the test says so."""

import torch


class Device:
    """Copies arrive up to the number `arrived`, counted from the first."""

    def __init__(self):
        self.arrived = 0
        self.copies = []
        self.is_lost = False

    def copy(self, packed):
        """Start a copy, as `lossboard.watching.deferred.Copy` asks for."""
        self.copies.append(packed)
        return packed, Event(self, len(self.copies))


class Event:
    """Tells whether one copy has arrived."""

    def __init__(self, device, number):
        self.device, self.number = device, number

    def query(self):
        """Answer as torch's events do."""
        if self.device.is_lost:
            raise RuntimeError("CUDA error: unspecified launch failure")
        return self.number <= self.device.arrived


class OnDevice(torch.Tensor):
    """A tensor that says of itself, and of what is computed from it, that the host can't read it at once."""

    is_cpu = property(lambda self: False)
