"""When viewers hear of a run's state, by a clock that the test holds."""

from pathlib import Path

from lossboard_server.domain.changes import Change
from lossboard_server.store.store import Store
from lossboard_server.store.writing.deliveries import AttemptStart, Delivery, RunSpec, Sender


def test_viewers_hear_when_a_silent_run_lives_again_and_when_a_rank_ends(tmp_path: Path) -> None:
    now = [1e9]
    heard: list[Change] = []
    store = Store(f"sqlite:///{tmp_path / 'n.db'}", heard.extend, lambda: now[0])
    store.put_run("r", RunSpec(attempt=AttemptStart(1.0))).result(5)

    def tell(state: str, rank: int = 0) -> bool:
        sender = Sender(f"w{rank}", 0, 1.0, rank)
        store.put_records("r", Delivery([], sender, state=state)).result(5)
        return heard[-1].is_about_run

    assert not tell("running"), "it ran before"
    now[0] += 40
    assert tell("running"), "it was lost"
    now[0] += 10
    assert not tell("running", rank=1)
    assert tell("killed", rank=1), "the run goes on, and a rank of it is gone"
    assert tell("finished")
    store.close()
