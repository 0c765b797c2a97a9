"""The loss of a model on all items of a loader: a full pass without updates, whatever the batch size."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from lossboard import wire
from lossboard.faults import Faults, guard
from lossboard.logged import next_call

if TYPE_CHECKING:
    from lossboard.meaning.meaning import Meaning
    from lossboard.tally import Tally

_NO_MEAN: Final = ("non_linear", "batch_coupled")
_FAULTS: Final = Faults()  # what evaluations without a run have warned of


def evaluate(model: Any, loss_func: Any, loader: Iterable[Any]) -> float:
    """Return the loss per item of `model` over everything in `loader`, without updating anything.

    Each batch counts by what its mean was divided by, so the batch size makes no
    difference. A batch is (inputs, targets) or a mapping of the two in that order. For a
    model that computes its own loss, as Hugging Face's do, give the model as the loss too,
    and batches that are mappings of its arguments. A loss that is watched with a `weight`
    keeps it. What an unknown function does with a batch is found out by calling it on
    parts; where no mean per item exists, a warning says so. Modes and random numbers are
    afterwards what they were. When a run is open, the result is recorded in its split
    `eval`.

    Raises: ValueError where the loader gives nothing to weigh, TypeError for batches or
    losses of another form.
    """
    # Late, since `import lossboard` brings this function to scripts that never evaluate.
    from lossboard.meaning.meaning import Meaning
    from lossboard.meaning.model_loss import is_inference
    from lossboard.starting import active_run
    from lossboard.tally import Call, Tally
    from lossboard.watching.loaders import dataset_items
    from lossboard.watching.parts import find_total

    loss_func = _unwatched(loss_func)
    if not callable(loss_func):
        raise TypeError(f"loss_func must be a torch.nn.Module or a function, not {type(loss_func).__name__}")
    run = active_run()
    declared, series = (None, "loss") if run is None else run._told_of(loss_func)
    if isinstance(declared, Mapping):
        declared = declared.get(find_total(declared))
    tally = Tally(loss_func, Meaning(loss_func, declared, None), is_model=loss_func is model)
    # Not the module itself: its hooks, ours among them, are for the script's own calls.
    function = getattr(loss_func, "forward", loss_func)
    with _evaluating((model, loss_func), loader):
        for batch in loader:
            args, kwargs, items = _read_batch(model, loss_func, batch)
            output = function(*args, **kwargs)
            if is_inference(output):
                raise TypeError("the model returned no loss; evaluate needs labels in the loader's batches")
            tally.add(Call(args, kwargs, output), items)
        tally.settle()
    result = tally.result()
    _warn(run, loss_func, tally.meaning)
    if run is not None:
        with guard(run):
            _record(run, f"eval/{series}", result, tally, dataset_items(loader))
    return result


@contextmanager
def _evaluating(parts: tuple[Any, ...], loader: Any) -> Iterator[None]:
    """Put model and loss in evaluation mode; afterwards every part trains or not as before.

    A shuffling loader draws from torch's generator or its own, so an evaluation in
    mid-training would otherwise change all batches that come after it.
    """
    from lossboard.meaning.disturbance import undisturbed

    modules = [part for part in parts if hasattr(part, "modules")]
    modes = [(inner, inner.training) for module in modules for inner in module.modules()]
    with undisturbed(_generators_of(loader)):
        try:
            for module in modules:
                module.eval()
            yield
        finally:
            for inner, is_training in modes:
                inner.training = is_training


def _generators_of(loader: Any) -> list[Any]:
    """Return the random generators that a loader draws its order from."""
    from lossboard.watching.loaders import innermost

    inner: Any = innermost(loader)
    batches = getattr(inner, "batch_sampler", None)
    owners = (inner, getattr(inner, "sampler", None), batches, getattr(batches, "sampler", None))
    held = (getattr(owner, "generator", None) for owner in owners)
    return list({id(each): each for each in held if hasattr(each, "set_state")}.values())


def _read_batch(model: Any, loss_func: Any, batch: Any) -> tuple[tuple[Any, ...], dict[str, Any], int | None]:
    """Return the arguments of the loss for one batch, and its items."""
    device = _device_of(model)
    if loss_func is model:
        if not isinstance(batch, Mapping):
            raise TypeError(
                "a model that computes its own loss needs batches that are mappings of its arguments, not"
                f" {type(batch).__name__}"
            )
        moved = {name: _move(part, device) for name, part in batch.items()}
        return (), moved, _count(moved)
    parts = list(batch.values()) if isinstance(batch, Mapping) else batch
    if not isinstance(parts, list | tuple) or len(parts) != 2:
        said = f"{len(parts)} parts" if isinstance(parts, list | tuple) else type(batch).__name__
        raise TypeError(
            f"evaluate needs batches of (inputs, targets), or a mapping of these two, not {said}; let the"
            " loader's collate_fn, or a generator around the loader, give pairs"
        )
    inputs, targets = (_move(part, device) for part in parts)
    items = _count(targets)
    return (model(inputs), targets), {}, _count(inputs) if items is None else items


def _count(value: Any) -> int | None:
    """Return the rows of the first tensor in a value, looking one level into containers."""
    if isinstance(value, Mapping):
        value = list(value.values())
    parts = value if isinstance(value, list | tuple) else (value,)
    return next((int(part.shape[0]) for part in parts if getattr(part, "shape", None)), None)


def _move(part: Any, device: Any) -> Any:
    if device is None:
        return part
    if hasattr(part, "to"):
        return part.to(device)
    if isinstance(part, Mapping):
        return {name: _move(inner, device) for name, inner in part.items()}
    if type(part) in (list, tuple):
        return type(part)(_move(inner, device) for inner in part)
    return part


def _device_of(model: Any) -> Any:
    held = next(model.parameters(), None) if hasattr(model, "parameters") else None
    return None if held is None else held.device


def _unwatched(loss_func: Any) -> Any:
    """Return a function without the watcher that `watch` has put around it."""
    is_ours = getattr(loss_func, "__globals__", {}).get("__name__") == "lossboard.watching.hook"
    return loss_func.__wrapped__ if is_ours else loss_func


def _warn(run: Any, loss_func: Any, meaning: "Meaning") -> None:
    """Say once where the result is not the mean of all items."""
    finding = meaning.finding
    source = meaning.source()
    if finding is None or meaning.is_vector or source == "declared" or finding.finding in ("mean", "sum"):
        return
    name = getattr(loss_func, "__name__", type(loss_func).__name__)
    faults = _FAULTS if run is None else run._faults
    if finding.finding in _NO_MEAN:
        told = "has no mean over the items, so its evaluation depends on the batch size"
    elif finding.finding == "constant":
        told = "does not depend on the data"
    else:
        told = "was taken for a mean over the items; watch it with weight= to say what it is divided by"
    faults.warn(f"evaluate-{finding.finding}-{name}", f"{name} {told}. {finding.reason}")


def _record(run: Any, name: str, result: float, tally: "Tally", dataset_items: int | None) -> None:
    reduction, unit, source = tally.described
    finding = tally.meaning.finding
    number = run._outlet.number_of(name, reduction, unit, source)
    dtype = tally.dtype if tally.dtype in wire.DTYPES else None
    told = None if finding is None else finding.finding
    run._outlet.tell(name, dtype=dtype, finding=told, dataset_items=dataset_items)
    epoch, batch = next_call(run, name)
    weight = None if reduction == "unknown" else tally.weight
    run._append(number, epoch, batch, result, tally.items, weight, call=None)
