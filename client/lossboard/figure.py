"""A run's curve as a plotly figure, for notebooks."""

from importlib import import_module
from typing import Any, Final
from urllib.parse import urlencode

from lossboard import wire
from lossboard.sending.discovery import find_service
from lossboard.sending.transport import Transport, Unreachable
from lossboard.settings import Settings

MAX_CURVES_BYTES: Final = 16 << 20


def draw_run(run: str, name: str, settings: Settings) -> Any:
    """Fetch the run's curves and draw the loss per item of each series over the epochs.

    Raises: ModuleNotFoundError where plotly is missing, RuntimeError where the service is
    or refuses.
    """
    try:
        objects: Any = import_module("plotly.graph_objects")
    except ModuleNotFoundError:
        message = 'figure() needs plotly; install it with: pip install "plotly>=7.1,<8"'
        raise ModuleNotFoundError(message, name="plotly") from None
    figure = objects.Figure()
    for curve in _fetch_curves(run, settings):
        values = [wire.NONFINITE.get(value, value) for value in curve["views"]["per_item"]]
        figure.add_scatter(x=curve["x"], y=values, name=curve["series"], mode="lines+markers")
    figure.update_layout(title=name, xaxis_title="epoch", yaxis_title="loss per item")
    return figure


def _fetch_curves(run: str, settings: Settings) -> list[dict[str, Any]]:
    service = find_service(settings.dir, settings.url, settings.token)
    if service is None:
        raise RuntimeError("no service is running here; `lossboard serve` starts one")
    transport = Transport(service.url, service.token, max_answer_bytes=MAX_CURVES_BYTES)
    query = urlencode({"run": run, "x": "epoch", "view": "per_item"})
    try:
        answer = transport.request("GET", f"{wire.API_PREFIX}/curves?{query}")
    except Unreachable as error:
        raise RuntimeError(f"{service.url}: {error}") from error
    finally:
        transport.close()
    if answer.status != 200:
        raise RuntimeError(f"the service answered {answer.status}: {answer.body.get('detail', '')}")
    return list(answer.body["curves"])
