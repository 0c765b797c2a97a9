"""The state of a run over HTTP: who may end it, who keeps it running."""

from typing import Any

from starlette.testclient import TestClient

GOOD = {"epoch": 0, "batch": 0, "loss": 4.5, "batch_size": 2}


def record_of(writer: str) -> dict[str, Any]:
    """Return one record as our client sends it."""
    columns = {"epoch": [0], "batch": [0], "loss": [1.0], "batch_size": [2], "index": [0]}
    return {"writer": writer, "seq": 0, "attempt": 1.7e9, "rank": 0, "series": {"train/loss": columns}}


def test_heartbeat_and_finish_tell_the_state(service: TestClient, run: str) -> None:
    beat = {"writer": "w1", "attempt": 1.0, "rank": 0, "records": [], "state": "running"}
    service.post(f"{run}/records", json=beat | {"dropped": {"disk-full": 3}})
    assert service.get(run).json()["state"] == "running"
    assert service.get(run).json()["counts"]["dropped"] == {"disk-full": 3}
    service.post(f"{run}/records", json=beat | {"writer": "w2", "rank": 1})
    service.post(f"{run}/records", json=beat | {"state": "finished"})
    assert service.get(run).json()["state"] == "running", "rank 1 still runs"
    service.post(f"{run}/records", json=beat | {"writer": "w2", "rank": 1, "state": "finished"})
    assert service.get(run).json()["state"] == "finished"


def test_evaluations_rightly_left_out_are_counted_apart_from_losses(service: TestClient, run: str) -> None:
    beat = {"attempt": 1.0, "records": [], "state": "running"}
    told = {"recompute": 4, "closure": 20, "disk-full": 3}
    service.post(f"{run}/records", json=beat | {"writer": "w1", "rank": 0, "dropped": told})
    service.post(f"{run}/records", json=beat | {"writer": "w2", "rank": 1, "dropped": {"closure": 1}})
    counts = service.get(run).json()["counts"]
    assert counts["dropped"] == {"disk-full": 3}
    assert counts["left_out"] == {"recompute": 4, "closure": 21}
    assert set(counts["reasons"]) == {"recompute", "closure"}
    assert "the first evaluation counts" in counts["reasons"]["closure"]


def test_losses_that_a_writer_told_are_not_taken_back_by_who_finds_it_dead(
    service: TestClient, run: str
) -> None:
    beat = {"writer": "w1", "attempt": 1.0, "rank": 0, "records": []}
    told = {"disk-full": 3, "journal-full": 5}
    service.post(f"{run}/records", json=beat | {"state": "running", "dropped": told})
    service.post(
        f"{run}/records", json=beat | {"state": "killed", "dropped": {"journal-full": 7, "damaged": 1}}
    )
    counts = service.get(run).json()["counts"]
    assert counts["dropped"] == {"disk-full": 3, "journal-full": 7, "damaged": 1}


def test_run_by_hand_is_ended_by_hand_and_its_last_epoch_is_complete(service: TestClient, run: str) -> None:
    service.post(f"{run}/records", json={"records": [GOOD]})
    service.post(f"{run}/records", json={"records": [], "state": "finished"})
    assert service.get(run).json()["state"] == "finished"
    assert service.get(f"{run}/epochs").json()["epochs"][0]["complete"]


def test_writer_that_never_told_a_state_does_not_keep_a_run_from_ending(
    service: TestClient, run: str
) -> None:
    service.post(f"{run}/records", json=record_of("child"))
    end = {"writer": "parent", "attempt": 1.0, "rank": 0, "records": [], "state": "finished"}
    service.post(f"{run}/records", json=end)
    assert service.get(run).json()["state"] == "finished"


def test_late_word_of_a_finished_run_does_not_start_it_again(service: TestClient, run: str) -> None:
    service.post(f"{run}/records", json={"records": [GOOD], "state": "finished"})
    service.put(run, json={"name": "renamed"})
    service.post(f"{run}/records", json=record_of("late"))
    assert service.get(run).json()["state"] == "finished"
    service.put(run, json={"attempt": {"started_unix_s": 2e9}})
    assert service.get(run).json()["state"] == "running"
