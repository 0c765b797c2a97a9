"""Whether the service lives, is ready, and proves that it is ours."""

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from doorway import TOKEN, assert_is_problem, make_app, visit
from lossboard.wire import prove


@pytest.fixture
def caller() -> Iterator[TestClient]:
    with visit(make_app()) as client:
        yield client


def test_a_service_whose_database_is_gone_is_alive_but_not_ready(caller, caplog):
    assert caller.get("/healthz").status_code == 200
    answer = caller.get("/readyz")
    assert_is_problem(answer, 503, "unavailable")
    assert "secret" not in answer.text
    assert "/secret/path is gone" in caplog.text


def test_health_proves_that_the_service_holds_the_token(caller):
    assert "proof" not in caller.get("/healthz").json()
    answer = caller.get("/healthz?nonce=00ff").json()
    assert (answer["status"], answer["name"]) == ("ok", "lossboard")
    assert answer["proof"] == prove(TOKEN, "00ff")
    assert TOKEN not in str(answer)


@pytest.mark.parametrize("nonce", ["", "xyz", "AA", "0" * 65])
def test_a_nonce_that_is_no_short_hex_is_refused(caller, nonce):
    assert_is_problem(caller.get("/healthz", params={"nonce": nonce}), 422, "invalid-input")


def test_without_a_token_there_is_nothing_to_prove():
    with visit(make_app(no_token="true")) as client:
        assert "proof" not in client.get("/healthz?nonce=00").json()
