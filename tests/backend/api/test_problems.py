"""That every failure has the one shape, wherever it comes from."""

import logging
from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from doorway import BEARER, assert_is_problem, make_app, visit


@pytest.fixture
def caller() -> Iterator[TestClient]:
    with visit(make_app()) as client:
        yield client


def test_unknown_address_and_method_are_problems(caller):
    assert_is_problem(caller.get("/none", headers=BEARER), 404, "not-found")
    answer = caller.delete("/api/v1/things", headers=BEARER)
    assert_is_problem(answer, 405, "method-not-allowed")
    assert answer.headers["allow"] == "POST"


def test_a_wrong_parameter_is_a_problem_that_names_the_field(caller):
    answer = caller.get("/api/v1/things/x", headers=BEARER)
    assert_is_problem(answer, 422, "invalid-input")
    assert answer.json()["errors"][0]["field"] == "number"


def test_a_wrong_record_is_a_problem_that_names_the_row(caller):
    answer = caller.get("/api/v1/record", headers=BEARER)
    assert_is_problem(answer, 422, "invalid-input")
    assert answer.json()["errors"] == [{"field": "records[17].epoch", "message": "is missing"}]


def test_our_own_failure_keeps_its_words_and_its_headers(caller):
    answer = caller.get("/api/v1/conflict", headers=BEARER)
    assert_is_problem(answer, 409, "conflict")
    assert answer.json()["detail"] == "It is there already."
    assert answer.headers["retry-after"] == "3"


def test_an_unexpected_failure_tells_the_caller_its_id_and_the_log_the_cause(caller, caplog):
    with caplog.at_level(logging.ERROR):
        answer = caller.get("/api/v1/fail", headers=BEARER)
    assert_is_problem(answer, 500, "internal-error")
    assert "secret" not in answer.text
    assert "a secret of the inside" in caplog.text
    assert answer.json()["request_id"] in caplog.text
