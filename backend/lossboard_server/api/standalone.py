"""A run as one HTML file that needs no service: Plotly's own page, with the page's switch."""

from collections.abc import Sequence
from typing import Any

from lossboard_server.domain.views import LABELS, PER_UNIT

SWITCH = ("raw_sum", "normalized_sum", "batch_mean", "per_item")
FIRST_VIEW = "per_item"
COLOURS = ("#2f6fde", "#d1622b", "#1c8a63", "#a3478f")
DASHES = {"train": "solid", "val": "dash"}


def write_page(name: str, epochs: Sequence[dict[str, Any]], records: Sequence[dict[str, Any]]) -> str:
    """Draw a run's curves, per epoch with the view switch and per batch below it.

    `epochs` and `records` are the curves of `/curves` on the axes epoch and batch.
    """
    # Imported here: plotly's Python side takes half a second, and only an export needs it.
    from plotly import graph_objects
    from plotly.subplots import make_subplots

    figure = make_subplots(rows=2, cols=1, vertical_spacing=0.12, row_heights=[0.6, 0.4])
    for number, curve in enumerate(epochs):
        figure.add_trace(_epoch_line(graph_objects, curve, number), row=1, col=1)
    for number, curve in enumerate(records):
        for trace in _record_lines(graph_objects, curve, number):
            figure.add_trace(trace, row=2, col=1)
    figure.update_layout(
        title={"text": name, "x": 0.01},
        template="plotly_white",
        height=860,
        hovermode="x unified",
        legend={"orientation": "h", "y": -0.08},
        margin={"l": 64, "r": 24, "t": 96, "b": 64},
        updatemenus=[_switch(epochs)],
    )
    figure.update_xaxes(title_text="Epoch", row=1, col=1)
    figure.update_xaxes(title_text="Batches seen in training", row=2, col=1)
    figure.update_yaxes(title_text=_label(FIRST_VIEW, epochs), row=1, col=1)
    figure.update_yaxes(title_text=LABELS["batch"], row=2, col=1)
    return str(figure.to_html(include_plotlyjs=True, full_html=True, config={"displaylogo": False}))


def _switch(epochs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    traces = list(range(len(epochs)))
    buttons = [
        {
            "label": _label(view, epochs),
            "method": "update",
            "args": [
                {"y": [curve["views"][view] for curve in epochs]},
                {"yaxis.title.text": _label(view, epochs)},
                traces,
            ],
        }
        for view in SWITCH
    ]
    return {
        "type": "buttons",
        "direction": "right",
        "buttons": buttons,
        "active": SWITCH.index(FIRST_VIEW),
        "x": 1,
        "xanchor": "right",
        "y": 1.02,
        "yanchor": "bottom",
    }


def _label(view: str, epochs: Sequence[dict[str, Any]]) -> str:
    units = {curve["weight_unit"] for curve in epochs}
    return PER_UNIT[units.pop()] if view == "per_item" and len(units) == 1 else LABELS[view]


def _epoch_line(graph_objects: Any, curve: dict[str, Any], number: int) -> Any:
    return graph_objects.Scatter(
        x=curve["x"],
        y=curve["views"][FIRST_VIEW],
        name=curve["series"],
        mode="lines+markers" if len(curve["x"]) < 60 else "lines",
        line={"color": COLOURS[number % len(COLOURS)], "dash": _dash(curve)},
    )


def _record_lines(graph_objects: Any, curve: dict[str, Any], number: int) -> list[Any]:
    colour = COLOURS[number % len(COLOURS)]
    shared = {"x": curve["x"], "legendgroup": f"{curve['series']} by batch"}
    lines = [
        graph_objects.Scatter(
            y=curve["views"]["batch"],
            name=f"{curve['series']} by batch",
            mode="lines+markers" if len(curve["x"]) < 60 else "lines",
            line={"color": colour, "width": 1, "dash": _dash(curve)},
            **shared,
        )
    ]
    # A whole validation pass stands at one x; a band between two of them would show what nobody measured.
    if curve["series"].startswith("train/") and any(count > 1 for count in curve["count"]):
        edge = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False}
        band = {"fill": "tonexty", "fillcolor": f"rgba{(*_rgb(colour), 0.18)}"}
        lines = [
            graph_objects.Scatter(y=curve["low"], **edge, **shared),
            graph_objects.Scatter(y=curve["high"], **edge, **band, **shared),
            *lines,
        ]
    return lines


def _dash(curve: dict[str, Any]) -> str:
    return DASHES.get(curve["series"].split("/", 1)[0], "dot")


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
