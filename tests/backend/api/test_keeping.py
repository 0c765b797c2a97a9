"""What people do with runs: edit, archive, restore and delete them; what retention tells."""

from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from living_runs import World, Writer, by_hand
from lossboard_server.app import create_app
from lossboard_server.domain.retention import DAY_S
from lossboard_server.settings import Settings
from processes import poll

RUN = "/api/v1/runs/r"
ROW = {"epoch": 0, "batch": 0, "loss": 4.5, "batch_size": 2}


def end(world: World, run: str = "r") -> None:
    """Make a run of one record that has finished."""
    by_hand(world, run, state="finished")


def archive(world: World, run: str = "r") -> None:
    """Archive a run."""
    assert world.service.patch(f"/api/v1/runs/{run}", json={"archived": True}).status_code == 200


def listed(service: TestClient, query: str = "") -> list[str]:
    """Return the ids of a list of runs."""
    answer = service.get(f"/api/v1/runs{query}").json()
    assert answer["total"] == len(answer["runs"])
    return [run["run"] for run in answer["runs"]]


def wait_until_gone(service: TestClient) -> None:
    """Wait until no rows of deleted runs are left."""
    poll(lambda: not service.get("/api/v1/keeping").json()["deleting"], "the end of deleting")


def test_a_person_sets_name_notes_tags_and_colour(service, run):
    told = {"name": "Ann's run", "notes": "tried\n\tSGD", "tags": ["a", "b"], "colour": "#AbCdEf"}
    answer = service.patch(run, json=told)
    assert answer.status_code == 200
    shown = service.get(run).json()
    assert answer.json().keys() == shown.keys()
    assert {key: shown[key] for key in told} == told | {"colour": "#abcdef"}
    assert service.patch(run, json={"colour": None, "notes": ""}).json()["colour"] is None
    assert service.get("/api/v1/runs").json()["runs"][0]["name"] == "Ann's run"


def test_what_a_person_set_the_client_no_longer_changes(service, run):
    service.patch(run, json={"name": "mine"})
    service.put(run, json={"name": "theirs", "tags": ["t"], "project": "p"})
    shown = service.get(run).json()
    assert (shown["name"], shown["tags"], shown["project"], shown["edited"]) == ("mine", ["t"], "p", ["name"])


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": None}, "name"),
        ({"name": " "}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"name": "x" * 201}, "name"),
        ({"notes": "x" * 20_001}, "notes"),
        ({"notes": "\x00"}, "notes"),
        ({"tags": "one"}, "tags"),
        ({"tags": [""]}, "tags.0"),
        ({"tags": ["x"] * 101}, "tags"),
        ({"colour": "red"}, "colour"),
        ({"colour": "#12345"}, "colour"),
        ({"archived": "yes"}, "archived"),
        ({"archived": None}, "archived"),
        ({"state": "finished"}, "state"),
    ],
)
def test_a_wrong_field_is_named_and_nothing_is_stored(service, run, body, field):
    before = service.get(run).json()
    answer = service.patch(run, json=body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == field
    assert answer.json()["detail"].endswith("Nothing was stored.")
    after = service.get(run).json()
    assert {key: after[key] for key in ("name", "notes", "tags", "edited")} == {
        key: before[key] for key in ("name", "notes", "tags", "edited")
    }


def test_an_unknown_key_is_told_beside_the_known_ones(service, run):
    answer = service.patch(run, json={"color": "#ffffff"})
    assert "known: archived, colour, name, notes, tags" in answer.json()["detail"]


def test_an_archived_run_is_listed_only_where_it_is_asked_for(world):
    end(world, "a")
    end(world, "b")
    archive(world, "a")
    assert listed(world.service) == ["b"]
    assert listed(world.service, "?archived=only") == ["a"]
    assert sorted(listed(world.service, "?archived=with")) == ["a", "b"]
    assert world.service.get("/api/v1/runs/a").json()["archived_unix_s"] == world.now
    assert world.service.post("/api/v1/runs/a/restore").json()["archived_unix_s"] is None
    assert sorted(listed(world.service)) == ["a", "b"]


def test_an_archived_run_still_takes_records(world):
    end(world)
    archive(world)
    by_hand(world)
    assert world.service.get(RUN).json()["records"] == 2


def test_runs_are_found_by_every_word_of_name_project_notes_and_tags(service):
    service.put("/api/v1/runs/a", json={"name": "amber otter", "project": "digits", "tags": ["wide"]})
    service.put("/api/v1/runs/b", json={"name": "amber fox"})
    service.patch("/api/v1/runs/b", json={"notes": "with 100% dropout"})
    assert listed(service, "?search=amber+digits+WIDE") == ["a"]
    assert listed(service, "?search=100%25") == ["b"]
    assert listed(service, "?search=otter+fox") == []


def test_runs_are_listed_in_the_order_asked_for(world):
    for name, records in (("b", 1), ("A", 3), ("c", 2)):
        world.pass_by(1)
        for _ in range(records):
            by_hand(world, name)
    world.pass_by(1)
    by_hand(world, "b")
    assert listed(world.service) == ["c", "A", "b"]
    assert listed(world.service, "?order=oldest") == ["b", "A", "c"]
    assert listed(world.service, "?order=active") == ["b", "c", "A"]
    assert listed(world.service, "?order=name") == ["A", "b", "c"]
    assert listed(world.service, "?order=records")[0] == "A"
    assert world.service.get("/api/v1/runs?order=size").status_code == 422


def test_deleting_tells_the_size_first_and_needs_an_archived_run_that_is_not_alive(world):
    writer = Writer(world).start()
    writer.log(0)
    shown = world.service.get(RUN).json()["stored"]
    assert shown["records"] == 1
    assert shown["bytes"] >= 0
    answer = world.service.delete(RUN)
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert "Archive it first" in answer.json()["detail"]
    archive(world)
    answer = world.service.delete(RUN)
    assert answer.status_code == 409
    assert "r is running" in answer.json()["detail"]
    world.pass_by(3600)
    assert world.service.get(RUN).json()["state"] == "lost"
    answer = world.service.delete(RUN)
    assert answer.status_code == 202
    assert answer.json()["deleting"]["records"] == 1


def test_nothing_shows_a_deleted_run_and_its_id_is_free(world):
    end(world)
    archive(world)
    assert world.service.delete(RUN).status_code == 202
    assert listed(world.service, "?archived=with") == []
    series = "series=train/loss"
    for path in ("", f"/epochs?{series}", "/export?format=csv", f"/epochs/0/explain?{series}"):
        assert world.service.get(RUN + path).status_code == 404, path
    assert world.service.get(f"/api/v1/curves?run=r&{series}").status_code == 404
    assert world.service.delete(RUN).status_code == 404
    assert world.service.patch(RUN, json={}).status_code == 404
    answer = world.service.post(f"{RUN}/records", json={"records": [ROW]})
    assert (answer.status_code, answer.json()["code"]) == (404, "run-not-found")
    assert world.service.put(RUN, json={}).status_code == 201
    wait_until_gone(world.service)
    shown = world.service.get(RUN).json()
    assert (shown["records"], shown["series"]) == (0, [])


def test_others_are_left_as_they_are_when_a_run_is_deleted(world):
    for run in ("a", "r", "z"):
        end(world, run)
    before = {run: world.service.get(f"/api/v1/runs/{run}/export?format=csv").text for run in "az"}
    archive(world)
    world.service.delete(RUN)
    wait_until_gone(world.service)
    after = {run: world.service.get(f"/api/v1/runs/{run}/export?format=csv").text for run in "az"}
    assert after == before


def test_keeping_tells_what_is_stored_and_that_retention_is_off(world):
    end(world)
    told: dict[str, Any] = world.service.get("/api/v1/keeping").json()
    assert told["stored"]["records"] == 1
    assert told["deleting"] == []
    retention = told["retention"]
    assert (retention["keep_days"], retention["keep_gb"], retention["next"]) == (None, None, [])


def test_retention_tells_what_it_deletes_next_and_then_deletes_it(tmp_path: Path, database: str) -> None:
    world = World()
    given = {
        "dir": str(tmp_path),
        "database": database,
        "no_token": "true",
        "readers": "0",
        "keep_days": "30",
    }
    app = create_app(Settings.resolve(given, {}), lambda: world.now)
    with TestClient(app, base_url="http://127.0.0.1:8765") as world.service:
        end(world, "old")
        world.pass_by(20 * DAY_S)
        end(world, "new")
        told = world.service.get("/api/v1/keeping").json()["retention"]
        assert (told["keep_days"], told["planned"], [run["run"] for run in told["next"]]) == (
            *(30, 2, ["old", "new"]),
        )
        assert told["next"][0]["due_unix_s"] == pytest.approx(world.now + 10 * DAY_S)
        world.pass_by(11 * DAY_S)
        app.state.keeper.wake()
        poll(lambda: listed(world.service, "?archived=with") == ["new"], "the removal")
        assert world.service.get("/api/v1/keeping").json()["retention"]["removed"] == {"age": 1}
        assert 'lossboard_runs_removed_total{cause="age"} 1' in world.service.get("/metrics").text
