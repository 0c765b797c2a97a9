"""A service whose clock a test holds, and processes that train against it, for tests of a run's state."""

from typing import Any

from starlette.testclient import TestClient

from lossboard_server.domain.run_state import RUN_STATES

NOW = 1_800_000_000.0


class World:
    """A service on an empty database, and its clock."""

    def __init__(self) -> None:
        self.now = NOW
        self.service: TestClient

    def pass_by(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds

    def get(self, run: str = "r") -> dict[str, Any]:
        """Show a run; the list and its filters must say the same."""
        shown: dict[str, Any] = self.service.get(f"/api/v1/runs/{run}").json()
        listed = {each["run"]: each for each in self.service.get("/api/v1/runs").json()["runs"]}
        keys = ("state", "ranks", "state_holds_s", "last_record_age_s", "last_seen_age_s", "stalled_after_s")
        assert {key: listed[run][key] for key in keys} == {key: shown[key] for key in keys}
        counts = {}
        for state in RUN_STATES:
            answer = self.service.get("/api/v1/runs", params={"state": state, "limit": 1}).json()
            counts[state] = answer["total"]
            assert all(each["state"] == state for each in answer["runs"])
        assert sum(counts.values()) == len(listed)
        assert counts[shown["state"]] == sum(each["state"] == shown["state"] for each in listed.values())
        return shown

    def state(self, run: str = "r") -> str:
        """Return a run's state."""
        return str(self.get(run)["state"])


class Writer:
    """One process that trains, with a clock that may differ from the service's."""

    def __init__(
        self, world: World, *, run: str = "r", attempt: float = 1.0, rank: int = 0, ahead: float = 0
    ) -> None:
        self.world, self.ahead, self.index = world, ahead, 0
        self.path = f"/api/v1/runs/{run}"
        self.head = {"writer": f"w{attempt:.0f}-{rank}", "attempt": attempt, "rank": rank}

    def start(self) -> "Writer":
        """Put the run with this attempt, as a client does first."""
        answer = self.world.service.put(self.path, json={"attempt": {"started_unix_s": self.head["attempt"]}})
        assert answer.status_code in (200, 201)
        return self

    def tell(self, state: str) -> None:
        """Send a heartbeat or an end."""
        self._post({"records": [], "state": state})

    def log(self, *ages: float, tells_clock: bool = True, state: str | None = None) -> None:
        """Send records that were logged so many seconds ago."""
        size = len(ages)
        columns = {
            "epoch": [0] * size,
            "batch": list(range(self.index, self.index + size)),
            "loss": [1.0] * size,
            "batch_size": [2] * size,
            "index": list(range(self.index, self.index + size)),
            "time": [self.world.now + self.ahead - age for age in ages],
        }
        body: dict[str, Any] = {"seq": self.index, "series": {"train/loss": columns}}
        if tells_clock:
            body["sent"] = self.world.now + self.ahead
        self.index += size
        self._post(body | ({"state": state} if state else {}))

    def train(self, seconds: float, step: float, *, tells_clock: bool = True) -> None:
        """Train on, with a record every step and a heartbeat at least every ten seconds."""
        for _ in range(round(seconds / step)):
            waited = 0.0
            while step - waited > 10:
                self.world.pass_by(10)
                waited += 10
                self.tell("running")
            self.world.pass_by(step - waited)
            self.log(0, tells_clock=tells_clock)
            self.tell("running")

    def wait(self, seconds: float) -> None:
        """Live on for whole tens of seconds without a record."""
        for _ in range(round(seconds / 10)):
            self.world.pass_by(10)
            self.tell("running")

    def _post(self, body: dict[str, Any]) -> None:
        answer = self.world.service.post(f"{self.path}/records", json=self.head | body)
        assert answer.status_code == 200, answer.text


def by_hand(world: World, run: str = "r", **body: Any) -> None:
    """Post a row, as a person types it."""
    world.service.put(f"/api/v1/runs/{run}", json={})
    row = {"epoch": 0, "batch": 0, "loss": 4.5, "batch_size": 2}
    assert (
        world.service.post(f"/api/v1/runs/{run}/records", json={"records": [row]} | body).status_code == 200
    )
