"""What `docker compose` is told: by its schema, by what each command starts, and by a real balancer."""

import http.client
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from postgres_server import PostgresServer
from processes import poll
from replicas import TOKEN, Replicas, running_replicas

ROOT = Path(__file__).parents[1]
COMPOSE = ROOT / "docker-compose.yml"
BALANCER = ROOT / "backend" / "balancer.cfg"


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """The file with its anchors resolved."""
    loaded: dict[str, Any] = YAML(typ="safe").load(COMPOSE)
    return loaded


def check_schema(path: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def services_of(compose: dict[str, Any], *profiles: str) -> set[str]:
    """Name what `docker compose up` with these profiles starts."""
    return {
        name
        for name, service in compose["services"].items()
        if "profiles" not in service or set(profiles) & set(service["profiles"])
    }


def test_file_is_what_the_compose_schema_says() -> None:
    checked = check_schema(COMPOSE)
    assert checked.returncode == 0, checked.stdout


def test_schema_finds_a_misspelt_key(tmp_path: Path) -> None:
    wrong = tmp_path / "docker-compose.yml"
    wrong.write_text(COMPOSE.read_text().replace("depends_on:", "depend_on:"))
    assert check_schema(wrong).returncode == 1


def test_plain_up_is_one_service_on_sqlite_with_a_volume(compose: dict[str, Any]) -> None:
    assert services_of(compose) == {"lossboard"}
    service = compose["services"]["lossboard"]
    assert "LOSSBOARD_DATABASE" not in service["environment"]
    assert service["volumes"] == ["data:/data"]
    assert "data" in compose["volumes"]
    assert service["ports"] == ["127.0.0.1:8765:8765"]


def test_scale_is_postgresql_two_replicas_and_a_balancer(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert services_of(compose, "scale") - services_of(compose) == {
        "balancer",
        "replica-1",
        "replica-2",
        "postgres",
    }
    assert services["replica-1"] == services["replica-2"]
    replica = services["replica-1"]
    assert replica["build"] == services["lossboard"]["build"]
    assert (
        replica["environment"]["LOSSBOARD_TOKEN"] == services["lossboard"]["environment"]["LOSSBOARD_TOKEN"]
    )
    assert replica["environment"]["LOSSBOARD_DATABASE"].startswith("postgresql+psycopg://lossboard@postgres/")
    assert replica["environment"]["PGPASSWORD"] == services["postgres"]["environment"]["POSTGRES_PASSWORD"]
    assert set(services["balancer"]["depends_on"]) == {"replica-1", "replica-2"}
    assert set(replica["depends_on"]) == {"postgres"}
    for service in ("balancer", "replica-1"):
        waits = services[service]["depends_on"].values()
        assert all(wait["condition"] == "service_healthy" for wait in waits)


def test_only_the_service_and_the_balancer_are_reached_from_this_machine_alone_and_by_different_ports(
    compose: dict[str, Any],
) -> None:
    published = {
        name: service["ports"] for name, service in compose["services"].items() if "ports" in service
    }
    assert set(published) == {"lossboard", "balancer"}
    hosts = [port.rsplit(":", 1)[0] for ports in published.values() for port in ports]
    assert len(set(hosts)) == len(hosts)
    assert all(host.startswith("127.0.0.1:") for host in hosts)
    assert compose["networks"]["database"]["internal"]
    assert compose["services"]["postgres"]["networks"] == ["database"]


def test_everything_that_is_waited_for_says_when_it_is_healthy(compose: dict[str, Any]) -> None:
    image_checks = "HEALTHCHECK" in (ROOT / "backend" / "Dockerfile").read_text()
    for service in compose["services"].values():
        assert service.get("healthcheck", {}).get("test") or (image_checks and "build" in service)


def test_balancer_is_told_of_the_replicas_by_their_names(compose: dict[str, Any]) -> None:
    named = {line.split()[2] for line in BALANCER.read_text().splitlines() if line.split()[:1] == ["server"]}
    assert named == {f"{name}:8765" for name in compose["services"] if name.startswith("replica-")}
    assert f"./backend/{BALANCER.name}:" in compose["services"]["balancer"]["volumes"][0]


@pytest.fixture
def balanced(postgres: PostgresServer, tmp_path: Path) -> Iterator[tuple[Replicas, int]]:
    """Two replicas behind HAProxy with the file's own settings, but for addresses; and its port."""
    program = shutil.which("haproxy")
    if program is None:
        pytest.skip("HAProxy is not installed")
    with running_replicas(postgres, tmp_path) as replicas:
        # A port that is free: the balancer that spreads the tests' requests is not needed here.
        port = int(replicas.line.url.rsplit(":", 1)[1])
        replicas.line.stop()
        text = BALANCER.read_text().replace("bind :8765", f"bind 127.0.0.1:{port}")
        for number, service in enumerate(replicas.services, start=1):
            text = text.replace(f"replica-{number}:8765", f"127.0.0.1:{service.port}")
        text = text.replace(" resolvers docker init-addr last,libc,none", "")
        (tmp_path / "balancer.cfg").write_text(text)
        process = subprocess.Popen([program, "-f", str(tmp_path / "balancer.cfg")], stdout=subprocess.DEVNULL)
        try:
            poll(lambda: ask(port, "GET", "/readyz") == 200, "the balancer")
            yield replicas, port
        finally:
            process.terminate()
            process.wait(10)


def ask(port: int, method: str, path: str, body: str | None = None) -> int:
    """Return the status of a request, 0 where nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, body, {"Authorization": f"Bearer {TOKEN}"})
        answer = connection.getresponse()
        answer.read()
        return answer.status
    except OSError:
        return 0
    finally:
        connection.close()


@pytest.mark.live
@pytest.mark.postgres
def test_balancer_passes_events_on_as_they_come_and_goes_round_a_dead_replica(
    balanced: tuple[Replicas, int],
) -> None:
    replicas, port = balanced
    assert ask(port, "PUT", "/api/v1/runs/r", "{}") == 201
    stream = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    stream.request("GET", "/api/v1/events?run=r", headers={"Authorization": f"Bearer {TOKEN}"})
    events = stream.getresponse()
    assert events.readline() == b"retry: 1000\n"
    for batch in range(4):  # by both replicas: one of them has the stream
        body = f'{{"records": [{{"epoch": 0, "batch": {batch}, "loss": 1.0, "batch_size": 2}}]}}'
        began = time.monotonic()
        assert ask(port, "POST", "/api/v1/runs/r/records", body) == 200
        while not (line := events.readline()).startswith(b"event: change"):
            assert line
        assert time.monotonic() - began < 3
    stream.close()
    replicas.services[0].kill()
    assert [ask(port, "GET", "/api/v1/runs/r") for _ in range(10)] == [200] * 10
    replicas.services[1].kill()
    poll(lambda: ask(port, "GET", "/api/v1/runs/r") == 503, "the balancer's own answer")
