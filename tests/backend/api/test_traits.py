"""What else is known of a series' loss, over HTTP: told, taken back, refused, shown."""

from typing import Any

import pytest
from starlette.testclient import TestClient

TRAITS = {
    "finding": "mean",
    "dtype": "bfloat16",
    "dataset_items": 20,
    "divided_by": 4.0,
    "broadcast": "input (3, 1) and target (3,) were broadcast to (3, 3)",
    "parts": {"train/box": 7.5, "train/cls": 0.5},
    "parts_gap": 2e-7,
    "from_running": True,
}


def tell(service: TestClient, traits: dict[str, Any]) -> Any:
    return service.put("/api/v1/runs/r", json={"series": {"train/loss": {"traits": traits}}})


def shown(service: TestClient) -> dict[str, Any]:
    series: list[dict[str, Any]] = service.get("/api/v1/runs/r").json()["series"]
    traits: dict[str, Any] = series[0]["traits"]
    return traits


def test_traits_come_back_as_they_were_told(service: TestClient) -> None:
    assert tell(service, TRAITS).status_code == 201
    assert shown(service) == TRAITS


def test_traits_are_joined_by_name_and_null_takes_one_back(service: TestClient) -> None:
    tell(service, {"dtype": "float32", "dataset_items": 20})
    tell(service, {"dtype": None, "finding": "sum"})
    assert shown(service) == {"dataset_items": 20, "finding": "sum"}


def columns(**more: Any) -> dict[str, Any]:
    one = {"epoch": [0], "batch": [0], "loss": [2.3], "batch_size": [15], "index": [0]}
    series = {"train/loss": {"reduction": "mean", "weight_source": "exact", **one, **more}}
    return {"writer": "w", "seq": 0, "attempt": 1.0, "rank": 0, "series": series}


def test_columns_bring_traits_along(service: TestClient, run: str) -> None:
    service.post(f"{run}/records", json=columns(traits={"dtype": "float16"}))
    later = columns(traits={"dataset_items": 20}, index=[1], batch=[1]) | {"seq": 1}
    assert service.post(f"{run}/records", json=later).json()["stored"] == 1
    (series,) = service.get(run).json()["series"]
    assert series["traits"] == {"dtype": "float16", "dataset_items": 20}


@pytest.mark.parametrize(
    ("traits", "field"),
    [
        ({"colour": "red"}, "traits.colour"),
        ({"finding": "guess"}, "traits.finding"),
        ({"dtype": "int8"}, "traits.dtype"),
        ({"dataset_items": 1.5}, "traits.dataset_items"),
        ({"divided_by": 0}, "traits.divided_by"),
        ({"parts": {"box": 1}}, "traits.parts"),
        ({"parts": {"train/box": "much"}}, "traits.parts"),
        ({"from_running": 1}, "traits.from_running"),
        ({"broadcast": "x" * 301}, "traits.broadcast"),
        ([], "traits"),
    ],
)
def test_bad_trait_is_refused_by_name_and_nothing_is_stored(
    service: TestClient, run: str, traits: Any, field: str
) -> None:
    for answer in (tell(service, traits), service.post(f"{run}/records", json=columns(traits=traits))):
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["field"].endswith(field)
        assert service.get(run).json()["records"] == 0
        assert service.get(run).json()["series"] == []


def test_traits_stand_beside_every_number(service: TestClient, run: str) -> None:
    service.post(f"{run}/records", json=columns(traits={"dtype": "bfloat16", "dataset_items": 20}))
    told = {"dtype": "bfloat16", "dataset_items": 20}
    answer = service.get(f"{run}/epochs").json()
    assert answer["traits"] == told
    assert (answer["epochs"][0]["coverage"], answer["epochs"][0]["resolution"]) == (0.75, 1 / 64)
    for axis in ("epoch", "items"):
        (curve,) = service.get(f"/api/v1/curves?run=r1&x={axis}").json()["curves"]
        assert curve["traits"] == told
    assert service.get(f"{run}/epochs/0/explain").json()["traits"] == told


def test_factor_beyond_a_double_is_refused(service: TestClient) -> None:
    body = b'{"series": {"train/loss": {"traits": {"parts": {"train/box": 1e999}}}}}'
    answer = service.put("/api/v1/runs/r", content=body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"].endswith("traits.parts")
