"""From `log` to a service that misbehaves: every record exactly once, and one bad record costs itself."""

import math
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lossboard

StartRun = Callable[..., lossboard.Run]
Poll = Callable[..., None]


def log_some(run: lossboard.Run, count: int, start: int = 0) -> None:
    for batch in range(start, start + count):
        run.log(0, batch, float(batch), 4)


def test_logged_records_arrive_with_all_they_have(service: Any, start_run: StartRun) -> None:
    before = time.time()
    with start_run(run="A", project="P", name="N", config={"lr": 0.1}, tags=["t"]) as run:
        run.log(0, 0, 4.5, 2)
        run.log(0, 1, 3.0, 2, weight=1.5)
        run.log(1, 0, math.nan, 2, series="box", split="val", reduction="sum")
    body = service.puts[-1][1]
    assert {key: body[key] for key in ("project", "name", "config", "tags")} == {
        "project": "P",
        "name": "N",
        "config": {"lr": 0.1},
        "tags": ["t"],
    }
    assert service.column("series") == ["train/loss", "train/loss", "val/box"]
    assert service.column("loss") == [4.5, 3.0, "NaN"]
    assert service.column("epoch") == [0, 0, 1]
    assert service.column("weight", series="train/loss") == [None, 1.5]
    assert service.column("index") == [0, 1, 2]
    assert all(before <= at <= time.time() for at in service.column("time"))
    assert service.states[-1][1] == "finished"


def test_record_is_sent_soon_without_being_asked(service: Any, start_run: StartRun, poll: Poll) -> None:
    run = start_run()
    run.log(0, 0, 1.0, 4)
    poll(lambda: service.rows, timeout_s=5.0)
    assert run.url == f"{service.url}/?run={run.id}"


def test_delivered_journal_is_removed(service: Any, start_run: StartRun, state_folder: Path) -> None:
    run = start_run()
    log_some(run, 10)
    run.finish()
    assert list((state_folder / "journal").iterdir()) == []


def test_service_that_answers_500_and_429_gets_everything_once(service: Any, start_run: StartRun) -> None:
    service.faults += ["500", "503", "429", "408"]
    run = start_run()
    log_some(run, 100)
    run.finish(deadline_s=10.0)
    assert service.column("loss") == [float(n) for n in range(100)]


def test_lost_acknowledgement_stores_nothing_twice(service: Any, start_run: StartRun, poll: Poll) -> None:
    run = start_run()
    for start in range(0, 50, 10):
        service.faults.append("close")
        log_some(run, 10, start)
        poll(lambda: not service.faults)
    run.finish()
    assert service.column("index") == list(range(50))
    assert service.duplicates > 0


def test_garbage_for_an_answer_is_tried_again(service: Any, start_run: StartRun) -> None:
    service.faults.append("garbage")
    run = start_run()
    log_some(run, 5)
    run.finish()
    assert service.column("index") == list(range(5))


def test_retry_after_is_honoured(service: Any, start_run: StartRun, poll: Poll) -> None:
    run = start_run()
    poll(lambda: run._outlet.writer and run._outlet.writer._sender and run._outlet.writer._sender.url)
    service.headers = {"Retry-After": "1"}
    service.faults.append("503")
    log_some(run, 1)
    poll(lambda: not service.faults)
    refused = time.monotonic()
    poll(lambda: service.rows)
    assert time.monotonic() - refused >= 0.9


def test_named_row_is_left_out_and_counted(
    service: Any, start_run: StartRun, warnings_of_lossboard: Callable[[], list[str]]
) -> None:
    service.bad_losses = {3.0, 7.0}
    run = start_run()
    log_some(run, 10)
    run.finish()
    assert service.column("loss") == [0.0, 1.0, 2.0, 4.0, 5.0, 6.0, 8.0, 9.0]
    assert service.column("index") == [0, 1, 2, 4, 5, 6, 8, 9]
    assert list(service.dropped.values()) == [{"rejected": 2}]
    assert len([line for line in warnings_of_lossboard() if "refused" in line]) == 1


def test_bad_row_that_nobody_names_is_found_by_halving(service: Any, start_run: StartRun) -> None:
    service.bad_losses = {37.0}
    service.names_rows = False
    run = start_run()
    log_some(run, 100)
    run.finish()
    assert service.column("index") == [n for n in range(100) if n != 37]
    assert list(service.dropped.values()) == [{"rejected": 1}]


def test_request_of_bad_rows_only_does_not_stop_the_rest(
    service: Any, start_run: StartRun, poll: Poll
) -> None:
    service.bad_losses = {0.0}
    run = start_run()
    run.log(0, 0, 0.0, 4)
    poll(lambda: run._faults.counts().get("rejected"))
    run.log(0, 1, 1.0, 4)
    run.finish()
    assert service.column("index") == [1]


def test_run_that_the_service_forgot_is_put_again_at_once(
    service: Any, start_run: StartRun, poll: Poll
) -> None:
    run = start_run()
    log_some(run, 1)
    poll(lambda: service.rows)
    service.faults.append("forget-run")
    log_some(run, 1, 1)
    run.finish()
    assert service.column("index") == [0, 1]


def test_series_that_changes_its_reduction_travels_in_requests_of_its_own(
    service: Any, start_run: StartRun
) -> None:
    run = start_run()
    for batch in range(6):
        run.log(0, batch, 1.0, 4, reduction="mean" if batch < 3 else "sum")
    run.finish()
    reductions = [post["series"]["train/loss"]["reduction"] for post in service.posts if "series" in post]
    assert reductions[0] == "mean"
    assert reductions[-1] == "sum"
    assert service.column("index") == list(range(6))


def test_many_records_go_in_requests_of_at_most_5000(service: Any, start_run: StartRun) -> None:
    run = start_run()
    log_some(run, 12_000)
    run.finish(deadline_s=20.0)
    sizes = [len(post["series"]["train/loss"]["index"]) for post in service.posts if "series" in post]
    assert sum(sizes) == 12_000
    assert max(sizes) <= 5_000
    assert service.column("index") == list(range(12_000))


def test_service_that_comes_late_gets_what_was_logged_before(
    absent_service: Any, start_run: StartRun, poll: Poll
) -> None:
    run = start_run()
    log_some(run, 20)
    absent_service.start()
    poll(lambda: len(absent_service.rows) == 20)
    assert absent_service.column("index") == list(range(20))


def test_service_that_comes_back_on_another_port_is_found(
    service: Any, start_run: StartRun, poll: Poll
) -> None:
    run = start_run()
    log_some(run, 5)
    poll(lambda: len(service.rows) == 5)
    service.stop()
    (service.folder / "services" / f"{service.port}.json").unlink()
    log_some(run, 5, 5)
    service.port = 0
    service.token = "another token, made at the restart"
    service.start()
    poll(lambda: len(service.rows) == 10)
    assert service.column("index") == list(range(10))


def test_wrong_token_is_read_anew_and_nothing_is_lost(
    service: Any, start_run: StartRun, poll: Poll, warnings_of_lossboard: Callable[[], list[str]]
) -> None:
    run = start_run()
    log_some(run, 1)
    poll(lambda: service.rows)
    service.token = "a token that was changed meanwhile"
    log_some(run, 1, 1)
    poll(lambda: any("401" in line for line in warnings_of_lossboard()))
    service.tell()
    poll(lambda: len(service.rows) == 2)


def test_token_is_never_sent_to_who_cannot_prove_to_hold_it(
    service: Any, start_run: StartRun, poll: Poll, warnings_of_lossboard: Callable[[], list[str]]
) -> None:
    service.holds_token = False
    run = start_run()
    log_some(run, 1)
    poll(lambda: any("does not hold our token" in line for line in warnings_of_lossboard()))
    run.finish(deadline_s=0.2)
    assert set(service.authorizations) == {None}
    assert service.rows == []


def test_heartbeat_says_running_and_what_was_dropped(service: Any, start_run: StartRun, poll: Poll) -> None:
    run = start_run()
    run._count("monitoring", 3)
    poll(lambda: service.states)
    assert service.states[0][1] == "running"
    run.finish()
    assert list(service.dropped.values()) == [{"monitoring": 3}]


def test_read_only_journal_still_delivers(service: Any, start_run: StartRun, state_folder: Path) -> None:
    (state_folder / "journal").write_text("in the way")
    run = start_run(strict=False)
    log_some(run, 10)
    run.finish()
    assert service.column("index") == list(range(10))


def test_config_that_the_service_refuses_does_not_cost_the_records(service: Any, start_run: StartRun) -> None:
    accept = service.put
    service.put = lambda run, body: (422, {"code": "invalid"}) if "config" in body else accept(run, body)
    run = start_run(config={"x": 1})
    log_some(run, 3)
    run.finish()
    assert service.column("index") == [0, 1, 2]


def test_only_the_refused_part_of_a_description_is_left_out_and_one_warning_says_so(
    service: Any, start_run: StartRun, warnings_of_lossboard: Callable[[], list[str]]
) -> None:
    accept = service.put
    refusal = {"detail": "config has 300,000 bytes", "errors": [{"field": "config", "message": "too large"}]}
    service.put = lambda run, body: (422, refusal) if "config" in body else accept(run, body)
    run = start_run(config={"x": 1}, tags=["kept"])
    log_some(run, 3)
    run.finish()
    assert all(body["tags"] == ["kept"] and "environment" in body for _, body in service.puts)
    (warning,) = warnings_of_lossboard()
    assert "config has 300,000 bytes" in warning


def test_series_that_the_service_refuses_costs_itself_only(service: Any, start_run: StartRun) -> None:
    accept_put, accept_post = service.put, service.post

    def refuse(body: dict[str, Any], field: str) -> tuple[int, dict[str, Any]] | None:
        is_bad = "train/one too many" in (body.get("series") or {})
        return (
            (422, {"detail": "at most 500", "errors": [{"field": field, "message": "no"}]})
            if is_bad
            else None
        )

    service.put = lambda run, body: refuse(body, "series") or accept_put(run, body)
    service.post = lambda run, body: refuse(body, "series.train/one too many") or accept_post(run, body)
    run = start_run(strict=False)
    run.log({"fine": 1.0, "one too many": 2.0})
    log_some(run, 2)
    run.finish()
    assert sorted(service.column("series")) == ["train/fine", "train/loss", "train/loss"]
    assert list(service.dropped.values()) == [{"rejected": 1}]


def test_journal_folder_that_somebody_removed_costs_no_record(
    service: Any, start_run: StartRun, poll: Poll, state_folder: Path
) -> None:
    run = start_run(strict=False)
    log_some(run, 3)
    poll(lambda: service.column("index") == [0, 1, 2])
    shutil.rmtree(state_folder / "journal")
    log_some(run, 3, 3)
    run.finish()
    assert service.column("index") == [0, 1, 2, 3, 4, 5]
    assert [state for _, state in service.states][-1] == "finished"
    assert "internal-fault" not in run._faults.counts()
