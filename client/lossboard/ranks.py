"""Which process of a training this is, and how its processes agree on one run without a collective."""

import json
import os
import sys
from collections.abc import Mapping
from threading import Thread
from typing import Any, Final, NamedTuple

from lossboard.identity import make_attempt, make_run_id

STORE_DEADLINE_S: Final = 2.0  # one question to the store of torch.distributed; normally 1 ms


class Place(NamedTuple):
    """A process's place in its training: its rank, and the run and attempt that it shares."""

    rank: int
    world_size: int
    run: str
    attempt: float


def find_place(run: str | None, number: int) -> Place:
    """Find this process's place; `run` is the id that somebody chose, `number` counts unnamed runs before.

    Where torch.distributed is initialised its store decides, by one compare-and-set: the
    first rank to come names the run for all, and nobody waits for anybody. Otherwise the
    launcher's words do, torchrun's or SLURM's.
    """
    rank, world_size = read_ranks()
    own = Place(
        rank, world_size, run or make_run_id(os.environ, world_size, number), make_attempt(world_size)
    )
    if world_size > 1 and _distributed() is not None:
        return _agree(own, f"lossboard/{run or number}", has_chosen=run is not None)
    return own


def read_ranks(environ: Mapping[str, str] | None = None) -> tuple[int, int]:
    """Return rank and world size as torch.distributed tells them, else the launcher, else 0 and 1."""
    distributed = _distributed() if environ is None else None
    if distributed is not None:
        return int(distributed.get_rank()), int(distributed.get_world_size())
    environ = os.environ if environ is None else environ
    for rank_name, size_name in (
        ("RANK", "WORLD_SIZE"),
        ("SLURM_PROCID", "SLURM_NTASKS"),
        ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ):
        rank, size = environ.get(rank_name, ""), environ.get(size_name, "")
        if rank.isdecimal() and size.isdecimal() and int(rank) < int(size):
            return int(rank), int(size)
    return 0, 1


def _distributed() -> Any:
    distributed: Any = sys.modules.get("torch.distributed")
    is_there = distributed is not None and distributed.is_available() and distributed.is_initialized()
    return distributed if is_there else None


def _agree(own: Place, key: str, has_chosen: bool) -> Place:
    """Take the run and attempt that the first rank wrote to the store; our own where it does not answer."""
    told: list[bytes] = []

    def ask() -> None:
        try:
            store = sys.modules["torch.distributed.distributed_c10d"]._get_default_store()
            told.append(store.compare_set(key, "", json.dumps([own.run, own.attempt])))
        except Exception:
            return  # a store without compare-and-set, or gone: the launcher's words are as good

    # In a thread, since a store that hangs would hold the script for its own timeout of minutes.
    asking = Thread(target=ask, name="lossboard-store", daemon=True)
    asking.start()
    asking.join(STORE_DEADLINE_S)
    if not told:
        return own
    run, attempt = json.loads(told[0])
    return own._replace(run=own.run if has_chosen else str(run), attempt=float(attempt))
