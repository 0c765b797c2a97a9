"""A watched loader stays what it was, workers, copies and pickles included; only new iterations are told."""

import copy
import pickle

import pytest
import torch
from torch.utils.data import (
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    SubsetRandomSampler,
    TensorDataset,
)

from lossboard.watching import loaders
from lossboard.watching.position import Position


class Numbers(Dataset):
    """Eight numbers that a spawned worker can make again."""

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return float(index)


class SkippingLoader(DataLoader):
    """A loader of the script's own, with a recipe for pickle of its own."""

    def __iter__(self):
        iterator = super().__iter__()
        next(iterator)
        return iterator

    def __reduce__(self):
        return SkippingLoader, (self.dataset, self.batch_size)


class Stream(IterableDataset):
    def __iter__(self):
        return iter(range(6))


class Named(DataLoader):
    """A loader whose recipe for pickle has arguments for __new__."""

    def __new__(cls, *args, **options):
        return super().__new__(cls)

    def __getnewargs_ex__(self):
        return (), {"named": True}


class Slotted:
    __slots__ = ("items",)

    def __iter__(self):
        return iter(self.items)


class OwnLoader:
    """Not torch's, but a class that can be swapped."""

    def __iter__(self):
        yield from range(3)


def numbers(**options):
    return DataLoader(Numbers(), batch_size=3, **options)


def epochs_of(loader, position, n=2):
    """Iterate `n` times with one record a batch; return the (epoch, batch) of each."""
    return [position.train_record() for _ in range(n) for _ in loader]


TWO_EPOCHS_OF_3 = [(epoch, batch) for epoch in range(2) for batch in range(3)]


def test_watched_loader_is_still_a_data_loader_and_yields_the_same():
    torch.manual_seed(3)
    plain = [batch.tolist() for batch in numbers(shuffle=True)]
    loader, position = numbers(shuffle=True), Position()
    assert loaders.observe(loader, position)
    assert isinstance(loader, DataLoader)
    assert len(loader) == 3
    torch.manual_seed(3)
    assert [batch.tolist() for batch in loader] == plain


def test_released_loader_has_its_own_class_and_attributes_again():
    loader, position = numbers(), Position()
    before = set(vars(loader))
    loaders.observe(loader, position)
    loaders.release(loader, position)
    assert type(loader) is DataLoader
    assert set(vars(loader)) == before
    list(loader)
    assert position.arms == 0


def test_release_of_a_loader_that_nobody_watches_does_nothing():
    for loader in (numbers(), [1], None):
        kind = type(loader)
        loaders.release(loader, Position())
        assert type(loader) is kind


def test_two_runs_listen_to_one_loader_until_the_last_lets_go():
    loader, first, second = numbers(), Position(), Position()
    assert loaders.observe(loader, first)
    assert loaders.observe(loader, first)
    assert loaders.observe(loader, second)
    iter(loader)
    assert (first.arms, second.arms) == (1, 1)
    loaders.release(loader, first)
    iter(loader)
    assert (first.arms, second.arms) == (1, 2)
    loaders.release(loader, second)
    assert type(loader) is DataLoader


def test_attributes_that_torch_forbids_to_set_stay_forbidden():
    loader = numbers()
    loaders.observe(loader, Position())
    with pytest.raises(ValueError, match="batch_size attribute should not be set"):
        loader.batch_size = 7


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle_of_a_watched_loader_is_a_plain_loader(protocol):
    loader, position = numbers(), Position()
    loaders.observe(loader, position)
    again = pickle.loads(pickle.dumps(loader, protocol))
    assert type(again) is DataLoader
    assert loaders.POSITIONS not in vars(again)
    assert [batch.tolist() for batch in again] == [[0, 1, 2], [3, 4, 5], [6, 7]]
    assert position.arms == 0
    assert loaders.POSITIONS in vars(loader)


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy])
def test_copy_of_a_watched_loader_is_a_plain_loader(duplicate):
    loader, position = numbers(), Position()
    loaders.observe(loader, position)
    again = duplicate(loader)
    assert type(again) is DataLoader
    list(again)
    assert position.arms == 0
    assert again.dataset is loader.dataset or duplicate is copy.deepcopy


def test_loader_class_of_the_script_keeps_its_iteration_and_its_recipe():
    loader, position = SkippingLoader(Numbers(), 3), Position()
    assert loaders.observe(loader, position)
    assert isinstance(loader, SkippingLoader)
    assert epochs_of(loader, position) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert type(pickle.loads(pickle.dumps(loader))) is SkippingLoader


def test_loader_that_is_rebuilt_through_named_arguments_comes_back_plain():
    loader = Named(Numbers(), 3)
    loaders.observe(loader, Position())
    for again in (pickle.loads(pickle.dumps(loader)), copy.copy(loader)):
        assert type(again) is Named
        assert len(list(again)) == 3


def test_subclass_resolves_by_its_path_and_is_made_once():
    first, second = numbers(), numbers()
    loaders.observe(first, Position())
    loaders.observe(second, Position())
    assert type(first) is type(second)
    assert pickle.loads(pickle.dumps(type(first))) is type(first)


@pytest.mark.parametrize("persistent", [False, True])
@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_data_workers_run_and_epochs_are_counted(method, persistent):
    loader = numbers(num_workers=2, multiprocessing_context=method, persistent_workers=persistent)
    position = Position()
    loaders.observe(loader, position)
    assert epochs_of(loader, position) == TWO_EPOCHS_OF_3


def test_peek_and_abandoned_pass_cost_no_epoch():
    loader, position = numbers(), Position()
    loaders.observe(loader, position)
    next(iter(loader))
    for _batch in loader:
        position.train_record()
        break
    assert epochs_of(loader, position, 1) == [(1, 0), (1, 1), (1, 2)]


def test_pass_over_the_training_loader_in_mid_epoch_does_not_cut_the_epoch():
    loader, position = numbers(), Position()
    loaders.observe(loader, position)
    places = []
    for _epoch in range(2):
        for _batch in loader:
            places.append(position.train_record())
            for _ in loader:
                position.val_record()
            next(iter(loader))
    assert places == TWO_EPOCHS_OF_3


def test_iterable_dataset_and_foreign_loaders_are_observed():
    for loader in (DataLoader(Stream(), batch_size=2), OwnLoader()):
        position = Position()
        assert loaders.observe(loader, position)
        assert epochs_of(loader, position) == TWO_EPOCHS_OF_3
        loaders.release(loader, position)


def test_what_cannot_be_swapped_is_refused_and_untouched():
    slotted = Slotted()
    slotted.items = [1, 2]
    for loader in (
        [1],
        (1,),
        {1: 2},
        range(3),
        iter([1]),
        (n for n in range(3)),
        torch.zeros(3),
        slotted,
        5,
        None,
    ):
        position = Position()
        assert not loaders.observe(loader, position)
        assert not position.is_observed
    assert type(slotted) is Slotted


def test_batch_size_is_what_the_loader_states():
    sampler = torch.utils.data.BatchSampler(torch.utils.data.SequentialSampler(Numbers()), 4, drop_last=False)
    assert loaders.batch_size_of(numbers()) == 3
    assert loaders.batch_size_of(DataLoader(Numbers(), batch_sampler=sampler)) == 4
    assert loaders.batch_size_of(DataLoader(Numbers(), batch_size=None)) is None
    assert loaders.batch_size_of([1, 2]) is None


def test_loader_prepared_by_accelerate_is_observed_through_its_inside():
    accelerate = pytest.importorskip("accelerate")
    prepared = accelerate.Accelerator(cpu=True).prepare(
        DataLoader(TensorDataset(torch.arange(8.0)), batch_size=3, shuffle=True)
    )
    position = Position()
    assert loaders.observe(prepared, position)
    assert isinstance(prepared, DataLoader)
    next(iter(prepared))
    assert epochs_of(prepared, position) == TWO_EPOCHS_OF_3
    assert loaders.batch_size_of(prepared) == 3
    assert [len(batch) for batch in pickle.loads(pickle.dumps(prepared))] == [1, 1, 1]
    loaders.release(prepared, position)
    assert type(prepared.base_dataloader) is DataLoader
    skipped = accelerate.skip_first_batches(prepared, 1)
    assert loaders.observe(skipped, position)


def ranks_share(**options):
    return DistributedSampler(Numbers(), num_replicas=3, rank=0, **options)


@pytest.mark.parametrize(
    ("loader", "items"),
    [
        (DataLoader(Numbers(), batch_size=3), 8),
        (
            DataLoader(Numbers(), batch_size=3, drop_last=True),
            8,
        ),  # what an epoch should hold, not what it does
        (DataLoader(Numbers(), sampler=SubsetRandomSampler([1, 4, 6])), 3),
        (DataLoader(Numbers(), batch_size=2, sampler=ranks_share()), 8),  # 3 × 3 with one repeated
        (DataLoader(Stream(), batch_size=2), None),
        ([1, 2, 3], None),
        (None, None),
    ],
)
def test_items_that_an_epoch_should_hold(loader, items):
    assert loaders.dataset_items(loader) == items
