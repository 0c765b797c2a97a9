"""Records from elsewhere: what is taken, what is refused, and going on where an import broke off."""

import csv
import itertools
import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from lossboard import wire
from lossboard.cli import EXTRAS
from lossboard_server.commands.import_plan import check_file, send
from lossboard_server.commands.record_files import about_path, read_about, read_rows
from lossboard_server.remote import RemoteError

PLAIN = "epoch,batch,loss,batch_size\n0,0,4.5,2\n0,1,3,2\n0,2,2.5,2\n0,3,2,2\n"


def write(path: Path, text: str) -> str:
    """Write a file and return its name."""
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_plain_csv_becomes_a_finished_run_named_as_the_file(away, tmp_path):
    assert away.type("import", write(tmp_path / "mine.csv", PLAIN)) == 0
    with away.serving() as service:
        shown = service.get("/api/v1/runs/mine").json()
        epoch = service.get("/api/v1/runs/mine/epochs?series=train/loss").json()["epochs"][0]
    assert (shown["state"], shown["records"], shown["series"][0]["series"]) == ("finished", 4, "train/loss")
    assert (epoch["raw_sum"], epoch["per_item"], epoch["complete"]) == (12.0, 3.0, True)


@pytest.mark.parametrize(
    "text",
    [
        PLAIN.replace(",", ";"),
        PLAIN.replace(",", "\t"),
        "\ufeff" + PLAIN,
        PLAIN.replace("\n", "\r\n"),
        PLAIN.replace(",2\n", ",2.0\n"),
        PLAIN + "\n\n",
        PLAIN.replace("0,1,3,2", '"0","1"," 3","2"'),
    ],
    ids=["semicolons", "tabs", "a mark of the byte order", "DOS", "whole floats", "empty lines", "quotes"],
)
def test_csv_is_read_as_spreadsheets_and_pandas_write_it(tmp_path, text):
    file = Path(write(tmp_path / "a.csv", text))
    records = [wire.read_row(row) for _, row in read_rows(file, "csv")]
    assert [record.loss for record in records] == [4.5, 3.0, 2.5, 2.0]
    assert {record.batch_size for record in records} == {2}


@pytest.mark.parametrize(
    ("cell", "loss"), [("nan", math.nan), ("NaN", math.nan), ("inf", math.inf), ("-Infinity", -math.inf)]
)
def test_a_loss_that_is_no_number_is_taken_in_many_spellings(tmp_path, cell, loss):
    file = Path(write(tmp_path / "a.csv", f"epoch,batch,loss,batch_size\n0,0,{cell},2\n"))
    ((_, row),) = read_rows(file, "csv")
    assert wire.read_row(row).loss == pytest.approx(loss, nan_ok=True)


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("a.csv", "epoch,batch,loss\n", "no column 'batch_size'"),
        ("a.csv", "epoch,batch,loss,batch_size,lr\n", "column 'lr'"),
        ("a.csv", "epoch,batch,loss,batch_size,loss\n", "two columns 'loss'"),
        ("a.csv", "epoch,batch,loss,batch_size\n", "holds no records"),
        ("a.csv", PLAIN + "0,x,1,2\n", "line 6: batch must be a whole number, not 'x'"),
        ("a.csv", PLAIN + "0,4,,2\n", "line 6: loss is missing"),
        ("a.csv", PLAIN + "0,4,1\n", "line 6 has 3 values under 4 columns"),
        ("a.csv", PLAIN + "0,4,1,0\n", "line 6: batch_size is 0 beside a finite loss"),
        ("a.csv", PLAIN + '0,4,"1,2\n', "is not CSV"),
        ("a.jsonl", '{"epoch":0}\n', "line 1: batch is missing"),
        ("a.jsonl", '{"epoch":0\n', "line 1 is not JSON"),
        ("a.jsonl", "[1]\n", "line 1: must be an object"),
        ("a.parquet", "no parquet", "not a Parquet file"),
        ("a.txt", PLAIN, "--format"),
        ("a b.csv", PLAIN, "--as"),
        ("a.csv", "x" * 99, "no column 'epoch'"),
    ],
)
def test_a_file_that_is_wrong_is_refused_whole_with_its_line(away, tmp_path, capsys, name, text, told):
    assert away.type("import", write(tmp_path / name, text)) == 1
    said = capsys.readouterr().err
    assert told in said or told.replace("no column 'epoch'", "has a column") in said
    assert "Traceback" not in said
    assert not (away.folder / "lossboard.db").exists(), "the file was read before a database was made"


def test_a_file_that_is_not_there_or_not_utf8_is_told(away, tmp_path, capsys):
    assert away.type("import", str(tmp_path / "none.csv")) == 1
    assert "No such file" in capsys.readouterr().err
    (tmp_path / "latin.csv").write_bytes(PLAIN.encode() + b"0,4,\xe4,2\n")
    assert away.type("import", str(tmp_path / "latin.csv")) == 1
    assert "UTF-8" in capsys.readouterr().err


def test_without_pyarrow_parquet_says_which_pip_command_brings_it(service, away, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ModuleNotFoundError) as missing:
        away.type("import", write(tmp_path / "a.parquet", ""))
    assert EXTRAS[(missing.value.name or "").partition(".")[0]] == "parquet"
    service.put("/api/v1/runs/r", json={})
    answer = service.get("/api/v1/runs/r/export?format=parquet")
    assert 'pip install "lossboard[parquet]"' in answer.json()["detail"]


def test_a_run_with_records_of_others_is_left_alone(away, tmp_path, capsys):
    file = write(tmp_path / "r.csv", PLAIN)
    with away.serving() as service:
        service.put("/api/v1/runs/r", json={})
        rows = [{"epoch": 0, "batch": 0, "loss": 1.0, "batch_size": 1}]
        service.post("/api/v1/runs/r/records", json={"records": rows})
    assert away.type("import", file) == 1
    assert "There is a run r already, with 1 records. --as takes another id." in capsys.readouterr().err
    assert away.type("import", file, "--as", "r2") == 0
    with away.serving() as service:
        assert service.get("/api/v1/runs/r").json()["records"] == 1
        assert service.get("/api/v1/runs/r2").json()["records"] == 4


def test_a_run_without_records_is_filled(away, tmp_path):
    with away.serving() as service:
        service.put("/api/v1/runs/r", json={"name": "prepared"})
    assert away.type("import", write(tmp_path / "r.csv", PLAIN)) == 0
    with away.serving() as service:
        shown = service.get("/api/v1/runs/r").json()
    assert (shown["name"], shown["records"]) == ("prepared", 4)


def post_to(service: TestClient, cut_after: int = 99) -> Any:
    """Return what posts to a service, until the line is cut after some requests of records."""
    asked: list[str] = []

    def post(path: str, body: dict[str, Any]) -> Any:
        asked.extend([path] if path.endswith("/records") else [])
        if len(asked) > cut_after:
            raise RemoteError("the line is cut")
        answer = service.post(path, json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    return post


@pytest.mark.parametrize("survives", [0, 1])
def test_an_import_that_breaks_off_goes_on_where_it_stopped(away, tmp_path, survives):
    plan = check_file(Path(write(tmp_path / "r.csv", PLAIN)), None, None)
    with away.serving() as service:
        with pytest.raises(RemoteError, match=f"{2 * survives} of 4 records are in r"):
            send(post_to(service, survives), plan, 2)
        assert service.get("/api/v1/runs/r").json()["records"] == 2 * survives
        assert send(post_to(service), plan, 2)
        assert not send(post_to(service, 0), plan, 2), "nothing is left to do"
        rows = service.get("/api/v1/runs/r/export?format=csv").text.splitlines()
        assert service.get("/api/v1/runs/r").json()["state"] == "finished"
    assert [float(row["loss"]) for row in csv.DictReader(rows)] == [4.5, 3.0, 2.5, 2.0]


def test_an_import_does_not_end_before_its_records_have_come(service, tmp_path):
    plan = check_file(Path(write(tmp_path / "r.csv", PLAIN)), None, None)
    post_to(service)("/api/v1/runs/r/import", plan.body)
    answer = service.post("/api/v1/runs/r/import", json=plan.body | {"done": True})
    assert answer.status_code == 409
    assert "0 of 4 records have come" in answer.json()["detail"]


def test_jsonl_of_the_api_with_its_header_in_the_first_line_is_a_whole_run(home, away, tmp_path):
    with home.serving() as service:
        service.put("/api/v1/runs/r", json={"name": "told", "config": {"lr": 1}})
        rows = [{"epoch": 0, "batch": 0, "loss": 1.0, "batch_size": 1}]
        service.post("/api/v1/runs/r/records", json={"records": rows, "state": "failed"})
        text = service.get("/api/v1/runs/r/export?format=jsonl&header=true").text
    assert away.type("import", write(tmp_path / "x.jsonl", text)) == 0
    with away.serving() as service:
        shown = service.get("/api/v1/runs/r").json()
    assert (shown["name"], shown["config"], shown["state"]) == ("told", {"lr": 1}, "failed")


@pytest.mark.parametrize(
    "change",
    [
        {"state": "asleep"},
        {"created_unix_s": -1},
        {"writers": [{"writer": "w", "attempt": 9.0}]},
        {"attempts": None},
        {"series": {"loss": {}}},
        {"colour": "red"},
        {"more": 1},
    ],
)
def test_a_description_that_was_tampered_with_is_refused(home, away, tmp_path, capsys, change):
    with home.serving() as service:
        service.put("/api/v1/runs/r", json={})
        rows = [{"epoch": 0, "batch": 0, "loss": 1.0, "batch_size": 1}]
        service.post("/api/v1/runs/r/records", json={"records": rows})
    file = tmp_path / "r.csv"
    assert home.type("export", "r", "-o", str(file)) == 0
    beside = tmp_path / "r.run.json"
    beside.write_text(json.dumps(json.loads(beside.read_text()) | change))
    assert away.type("import", str(file)) == 1
    assert "Nothing was stored" in capsys.readouterr().err
    with away.serving() as service:
        assert service.get("/api/v1/runs").json()["total"] == 0


def test_a_file_that_was_cut_off_is_not_taken_for_the_whole(home, away, tmp_path, capsys):
    with home.serving() as service:
        service.put("/api/v1/runs/r", json={})
        rows = [{"epoch": 0, "batch": batch, "loss": 1.0, "batch_size": 1} for batch in range(5)]
        service.post("/api/v1/runs/r/records", json={"records": rows})
    file = tmp_path / "r.csv"
    assert home.type("export", "r", "-o", str(file)) == 0
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-2]))
    assert away.type("import", str(file)) == 1
    assert "3 of the run's 5 records" in capsys.readouterr().err


whole = st.integers(0, wire.MAX_SMALL)
positive = st.floats(5e-324, allow_nan=False, allow_infinity=False)
names = st.text(
    st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="/"), min_size=1, max_size=9
)
ODD = st.fixed_dictionaries(
    {
        "epoch": st.none() | whole,
        "batch": st.integers(0, wire.MAX_POSITION),
        "loss": st.floats().map(wire.encode_number),
        "batch_size": st.none() | st.integers(1, wire.MAX_SMALL),
        "series": st.builds("{}/{}".format, names, names),
        "reduction": st.sampled_from(["mean", "sum", "unknown"]),
        "call": st.integers(0, 3),
        "attempt": st.sampled_from([0, 1, 1e9 + 0.1]),
        "rank": st.integers(0, 2),
        "pass_no": st.integers(0, 2),
    },
    optional={
        "weight": st.floats(0, allow_nan=False, allow_infinity=False),
        "divisor": positive,
        "window_items": positive,
        "step": st.integers(0, wire.MAX_POSITION),
        "time": st.floats(0, wire.MAX_TIME_UNIX_S),
    },
)


numbers = itertools.count()


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(ODD, min_size=1, max_size=6), file_format=st.sampled_from(["csv", "jsonl", "parquet"]))
def test_odd_records_come_back_by_every_format(service, tmp_path, rows, file_format):
    one, two = f"a{next(numbers)}", f"b{next(numbers)}"
    service.put(f"/api/v1/runs/{one}", json={})
    assert service.post(f"/api/v1/runs/{one}/records", json={"records": rows}).status_code == 200
    first, second = tmp_path / f"{one}.{file_format}", tmp_path / f"{two}.{file_format}"
    download(service, one, first)
    assert send(post_to(service), check_file(first, None, two))
    download(service, two, second)
    before, after = list(read_rows(first, file_format)), list(read_rows(second, file_format))
    assert repr(after) == repr(before)
    assert len(before) == len(rows)
    assert read_about(second, file_format) == read_about(first, file_format) | {"run": two}


def download(service: TestClient, run: str, file: Path) -> None:
    """Write a run and what is known of it, as the command does."""
    content = service.get(f"/api/v1/runs/{run}/export?header=true&format={file.suffix[1:]}").content
    about, _, records = content.partition(b"\n")
    file.write_bytes(records)
    if file.suffix != ".parquet":
        about_path(file).write_text(json.dumps(json.loads(about)["run"]))
