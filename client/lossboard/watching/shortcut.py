"""The short way of a training call to the journal: one function, once the first calls have settled all else.

In a training loop every function that a hook enters is cold: what takes 11 µs when it is called over and over
took 50 there. Whatever is out of the ordinary is left to the long way, through `hook` and `channel`.
"""

import math
import time
from collections.abc import Callable
from typing import Any
from zlib import crc32

from lossboard.journal.slots import NAN, NO_STEP, pack_body, seal
from lossboard.meaning.disturbance import blocks

Shortcut = Callable[[Any, Any, Any], bool]

_now = time.time
_INFINITY = math.inf


def make_shortcut(torch: Any, run: Any, channel: Any, model: Any, has_new: Callable[[], bool]) -> Shortcut:
    """Make the short way of one loss value's calls: (args, kwargs, output) → whether it was recorded.

    `has_new` tells whether compiled calls have left values, which come first. A call that
    it does not record has changed nothing.
    """
    tensor = torch.Tensor
    graph_task, is_tracing = torch._C._current_graph_task_id, torch._C._is_tracing
    position, clock, backward, outlet = run._position, run._clock, channel.backward, run._outlet
    rule, read, items_of = channel.meaning.rule, channel.meaning.read, channel.meaning.items
    numbers = channel.numbers
    name, batches = channel.names["train"], run._position.batches

    def take(args: Any, kwargs: Any, output: Any) -> bool:
        if (
            type(output) is not tensor
            or not output.requires_grad
            or not output.is_cpu
            or not position.is_steady
            or clock.is_inside
            or backward.is_curious
            or graph_task() != -1
            or blocks
            or (model is not None and not model.training)
            or has_new()
            or is_tracing()
        ):
            return False
        step = clock.count
        if not step:
            if not clock.is_silent:
                return False
            step = NO_STEP
        window = None
        if rule is None:
            value, weight, rows, reduction, window = read(args, kwargs, output)
        else:
            value, reduction = output, rule.reduction(kwargs, args)
            if reduction == "none":
                return False
            weight, rows = rule.weigh(args, kwargs, output)
        number, items = numbers.get(("train", reduction)), items_of("train", rows)
        if number is None or not items or window is not None:
            return False
        if weight is None:
            weight = NAN
        else:
            if type(weight) is tensor:
                weight = weight.item()
            if not 0 <= weight < _INFINITY:
                return False
        # Another thread may come in wherever something is called: none must be between these two lines.
        loss, at = value.item(), _now()
        if name not in batches:
            return False
        batch = batches[name]
        batches[name] = batch + 1
        body = pack_body(position.epoch, batch, loss, weight, at, items, 0, step, number, 0, 0)
        outlet.write(seal(crc32(body), body))
        return True

    return take
