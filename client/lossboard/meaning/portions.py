"""The arguments of one call of a loss, and parts of its batch cut from them."""

import copy
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

from lossboard.meaning.standins import Standins
from lossboard.meaning.verdict import Unclear

MIN_ITEMS: Final = 7  # two in each of three parts: one alone may be squeezed or broadcast
MAX_ITEMS: Final = 256  # a loss over all triplets of them makes 16 million numbers
MAX_NUMBERS: Final = 2_000_000  # of all arguments together: 16 MB as float64


class Batch:
    """A batch of items as a loss's arguments hold it.

    The first tensor tells the number of `items`; whatever else has as many rows, or as
    many entries in a list, belongs to the items too. Containers are looked into one level
    deep. `taken` items, spread over the batch, are worked with; `sizes` of them are in each
    part.

    Raises: Unclear where there is no batch to cut.
    """

    def __init__(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        self._torch = sys.modules["torch"]
        self._names = tuple(kwargs)
        self._arguments = [_Argument(value, self._torch) for value in (*args, *kwargs.values())]
        tensors = [leaf for argument in self._arguments for leaf in argument.leaves if self._has_rows(leaf)]
        if not tensors:
            raise Unclear("No argument of the loss is a tensor with a batch dimension.")
        self.items: int = tensors[0].shape[0]
        self.device = tensors[0].device.type
        if self.items < MIN_ITEMS:
            raise Unclear(f"A batch of {self.items} can't be cut into parts; it takes {MIN_ITEMS} items.")
        for argument in self._arguments:
            argument.find_rows(self.items)
        rows = [tensor for tensor in tensors if tensor.shape[0] == self.items]
        self.taken = self._limit(tensors, rows)
        self._refuse_numbered(rows)
        # Not the first ones: padding often stands at the end.
        self._chosen = [place * self.items // self.taken for place in range(self.taken)]
        self._places = _cut(self.taken)
        self.sizes = {name: len(self._places[name]) for name in "ABCDE"}
        self.is_uniform = any(_is_uniform(tensor) for tensor in rows)
        # Else what belongs to the items may have been mistaken: class weights, say, for items.
        others = {length for tensor in tensors for length in tensor.shape[1:]}
        self.is_plain = len(rows) == len(tensors) and self.items not in others
        self._sample: list[list[Any]] = []

    def prepare(self, standins: Standins, *, is_varied: bool) -> None:
        """Copy the chosen items to where and in what type `standins` has them.

        With `is_varied` what is the same for all items is not left so: a mask of ones or
        targets of one class can't tell a loss that uses them from one that does not.
        """
        self._sample = [argument.sample(self._chosen, standins) for argument in self._arguments]
        if is_varied:
            for argument, leaves in zip(self._arguments, self._sample, strict=True):
                for at, leaf in enumerate(leaves):
                    if argument.is_row[at] and self._has_rows(leaf) and _is_uniform(leaf):
                        leaves[at] = self._vary(leaf)

    def part(self, name: str) -> tuple[list[Any], dict[str, Any]]:
        """Return the arguments for a set of items: fresh copies, since a loss may work in place."""
        places = [place for letter in name for place in self._places[letter]]
        return self._call(
            [
                argument.part(leaves, places)
                for argument, leaves in zip(self._arguments, self._sample, strict=True)
            ]
        )

    def is_balanced(self) -> bool:
        """Whether what differs between items, a mask say, has the same mean in all parts by chance."""
        for argument, leaves in zip(self._arguments, self._sample, strict=True):
            for is_row, leaf in zip(argument.is_row, leaves, strict=False):
                if not is_row:
                    continue
                each = leaf.reshape(self.taken, -1).sum(1).double().tolist()
                sums = {name: sum(each[place] for place in self._places[name]) for name in "ABC"}
                is_same = all(sums[name] * self.sizes["A"] == sums["A"] * self.sizes[name] for name in "BC")
                if is_same and min(each) != max(each):
                    return True
        return False

    def shaken(self, amount: float) -> tuple[list[Any], dict[str, Any]] | None:
        """Return the arguments with all floating values of the items moved far; None without any."""
        shaken = []
        is_moved = False
        for argument, leaves in zip(self._arguments, self._sample, strict=True):
            moved = list(leaves)
            for at, leaf in enumerate(leaves):
                if argument.is_row[at] and self._has_rows(leaf) and leaf.is_floating_point():
                    moved[at] = leaf + amount * (1 + leaf.abs().max()) * self._wave(leaf)
                    is_moved = True
            shaken.append(argument.part(moved, list(range(self.taken))))
        return self._call(shaken) if is_moved else None

    def _call(self, values: list[Any]) -> tuple[list[Any], dict[str, Any]]:
        count = len(values) - len(self._names)
        return values[:count], dict(zip(self._names, values[count:], strict=True))

    def _has_rows(self, leaf: Any) -> bool:
        return isinstance(leaf, self._torch.Tensor) and leaf.dim() > 0

    def _limit(self, tensors: list[Any], rows: list[Any]) -> int:
        """Return how many items may be taken."""
        each = sum(tensor.numel() for tensor in rows) // self.items
        others = sum(tensor.numel() for tensor in tensors) - each * self.items
        taken = min(self.items, MAX_ITEMS, (MAX_NUMBERS - others) // max(each, 1))
        if taken < MIN_ITEMS:
            raise Unclear(
                f"Its arguments are too large to be copied: {each:,} numbers an item, {others:,} beside."
            )
        return int(taken)

    def _refuse_numbered(self, rows: list[Any]) -> None:
        """Refuse similarities of all items with all items, whose target is the item's own number."""
        numbers = self._torch.arange(self.items)
        for tensor in rows:
            if (
                tensor.dim() == 1
                and not tensor.is_floating_point()
                and self._torch.equal(tensor.cpu().long(), numbers)
            ):
                raise Unclear(
                    "The targets are the items' own numbers, so what is compared was coupled before."
                )

    def _wave(self, tensor: Any) -> Any:
        places = self._torch.arange(tensor.numel(), device=tensor.device).reshape(tensor.shape)
        return (places.to(tensor.dtype) * 1.7 + 0.5).sin()

    def _vary(self, tensor: Any) -> Any:
        """Set about half of the values to another that is as plausible: 0, or 1 where they are 0."""
        places = self._torch.arange(tensor.numel()).reshape(tensor.shape)
        is_other = places * 2_654_435_761 % 2**32 // 2**16 % 2 == 1  # Knuth's multiplicative hash
        other = (tensor == 0).to(tensor.dtype)
        if not tensor.is_floating_point() and tensor.dtype != self._torch.bool:
            is_other = is_other & (tensor >= 0)  # −100 and the like mean something
        return self._torch.where(is_other, other, tensor)


class _Argument:
    """One argument, its leaves, and which of them have a row for each item."""

    def __init__(self, value: Any, torch: Any) -> None:
        self._torch = torch
        self._value = value
        self._is_list = isinstance(value, list | tuple)
        self._is_mapping = isinstance(value, Mapping)
        self.leaves = list(value.values() if self._is_mapping else value) if self._is_container() else [value]
        self.is_row = [False] * len(self.leaves)
        self._is_per_item = False

    def find_rows(self, items: int) -> None:
        tensor = self._torch.Tensor
        self.is_row = [
            isinstance(leaf, tensor) and leaf.dim() > 0 and leaf.shape[0] == items for leaf in self.leaves
        ]
        self._is_per_item = self._is_list and len(self.leaves) == items
        if self._is_per_item and any(self.is_row):
            raise Unclear(
                f"A list of {items} tensors of {items} rows does not tell which way the batch goes."
            )

    def sample(self, chosen: list[int], standins: Standins) -> list[Any]:
        if self._is_per_item:
            return [standins.of(self.leaves[place]) for place in chosen]
        sampled = []
        for leaf, is_row in zip(self.leaves, self.is_row, strict=True):
            if is_row:
                index = self._torch.tensor(chosen, device=leaf.device)
                sampled.append(standins.of_tensor(leaf.detach().index_select(0, index)))
            else:
                sampled.append(standins.of(leaf))
        return sampled

    def part(self, leaves: list[Any], places: list[int]) -> Any:
        if self._is_per_item:
            return self._rebuild([copy.copy(leaves[place]) for place in places])
        taken = []
        for leaf, is_row in zip(leaves, self.is_row, strict=True):
            if is_row:
                taken.append(leaf.index_select(0, self._torch.tensor(places, device=leaf.device)))
            else:
                taken.append(leaf.clone() if isinstance(leaf, self._torch.Tensor) else leaf)
        return self._rebuild(taken)

    def _is_container(self) -> bool:
        return self._is_list or self._is_mapping

    def _rebuild(self, leaves: list[Any]) -> Any:
        if self._is_mapping:
            rebuilt: Any = copy.copy(self._value)
            for key, leaf in zip(self._value, leaves, strict=True):
                rebuilt[key] = leaf
            return rebuilt
        if self._is_list:
            is_named = hasattr(self._value, "_fields")
            return type(self._value)(*leaves) if is_named else type(self._value)(leaves)
        return leaves[0]


def _cut(taken: int) -> dict[str, list[int]]:
    """Cut so many items into parts of 2 ninths, one more, and the rest.

    Sizes that follow each other have no factor in common: if a part of the items counts, it is never the
    same part of A and of B, and a mean over fewer than all can't pass for one over all.
    """
    first = taken * 2 // 9 if taken >= 9 else 2
    second = 2 * first + 1
    return {
        "A": list(range(first)),
        "B": list(range(first, second)),
        "C": list(range(second, taken)),
        "D": list(range(0, taken, 2)),
        "E": list(range(1, taken, 2)),
    }


def _is_uniform(tensor: Any) -> bool:
    return bool((tensor == tensor[:1]).all())
