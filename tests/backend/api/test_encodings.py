"""Compressed request bodies: what is inflated, and how every other one is refused before it costs much."""

import gzip
import json
import tracemalloc

import pytest
from starlette.testclient import TestClient

from lossboard_server.api.bodies import MAX_BODY_BYTES, MAX_GZIP_MEMBERS

ROWS = json.dumps({"records": [{"epoch": 0, "batch": 0, "loss": 4.5, "batch_size": 2}]}).encode()
PACKED = gzip.compress(ROWS)


def post(service: TestClient, run: str, body: bytes, encoding: str | None) -> tuple[int, str]:
    headers = {} if encoding is None else {"Content-Encoding": encoding}
    answer = service.post(f"{run}/records", content=body, headers=headers)
    if answer.status_code == 200:
        return 200, ""
    assert answer.headers["content-type"] == "application/problem+json"
    assert service.get(run).json()["records"] == 0
    return answer.status_code, answer.json()["detail"]


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (ROWS, None),
        (ROWS, "identity"),
        (ROWS, ""),
        (PACKED, "gzip"),
        (PACKED, "GZIP"),
        (PACKED, "x-gzip"),
        (PACKED, "identity, gzip"),
        (gzip.compress(ROWS[:30]) + gzip.compress(b"") + gzip.compress(ROWS[30:]), "gzip"),
    ],
)
def test_body_is_read_plain_and_gzipped(
    service: TestClient, run: str, body: bytes, encoding: str | None
) -> None:
    assert post(service, run, body, encoding) == (200, "")
    assert service.get(run).json()["records"] == 1


@pytest.mark.parametrize("encoding", ["deflate", "br", "zstd", "gzip, gzip", "aes128gcm", "gzip;q=1"])
def test_other_encodings_are_refused_with_what_is_read(service: TestClient, run: str, encoding: str) -> None:
    status, detail = post(service, run, PACKED, encoding)
    assert status == 415
    assert "Content-Encoding: gzip" in detail
    answer = service.post(f"{run}/records", content=PACKED, headers={"Content-Encoding": encoding})
    assert answer.headers["accept-encoding"] == "gzip"
    assert answer.json()["code"] == "unknown-encoding"


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (PACKED[:-1], "breaks off"),
        (PACKED[:-9], "breaks off"),
        (PACKED[:12], "breaks off"),
        (PACKED[:3], "breaks off"),
        (b"", "breaks off"),
        (ROWS, "not gzip"),
        (PACKED[:-8] + b"\0\0\0\0" + PACKED[-4:], "not gzip"),  # another checksum
        (PACKED + b"rest", "not gzip"),
        (b"\x1f\x8b\x07" + PACKED[3:], "not gzip"),  # an unknown method
    ],
)
def test_gzip_that_is_none_or_not_whole_is_refused(
    service: TestClient, run: str, body: bytes, word: str
) -> None:
    status, detail = post(service, run, body, "gzip")
    assert status == 400
    assert word in detail


def test_gzipped_nonsense_is_told_as_what_it_is(service: TestClient, run: str) -> None:
    status, detail = post(service, run, gzip.compress(b"\xff\xfe{"), "gzip")
    assert status == 400
    assert "not JSON in UTF-8" in detail


@pytest.mark.parametrize("members", [1, 3])
def test_bomb_is_refused_without_being_inflated(service: TestClient, run: str, members: int) -> None:
    bomb = gzip.compress(b" " * (64 * 2**20)) * members
    tracemalloc.start()
    status, detail = post(service, run, bomb, "gzip")
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert status == 413
    assert "16 MiB" in detail
    assert most < 3 * MAX_BODY_BYTES


def test_body_may_be_as_large_inflated_as_plain(service: TestClient, run: str) -> None:
    full = ROWS + b" " * (MAX_BODY_BYTES - len(ROWS))
    assert post(service, run, gzip.compress(full, 1), "gzip")[0] == 200
    assert service.post(f"{run}/records", content=full).status_code == 200
    more = gzip.compress(full + b" ", 1)
    assert (
        service.post(f"{run}/records", content=more, headers={"Content-Encoding": "gzip"}).status_code == 413
    )


def test_body_of_countless_members_is_refused(service: TestClient, run: str) -> None:
    status, detail = post(service, run, gzip.compress(b"") * 100_000, "gzip")
    assert status == 400
    assert f"{MAX_GZIP_MEMBERS} members" in detail


def test_every_body_may_be_gzipped(service: TestClient) -> None:
    body = gzip.compress(json.dumps({"name": "packed"}).encode())
    answer = service.put("/api/v1/runs/r2", content=body, headers={"Content-Encoding": "gzip"})
    assert answer.json()["name"] == "packed"
