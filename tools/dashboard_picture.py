"""Draws the dashboard in deploy/grafana plainly: its panels in their grid, from what a Prometheus has of a real run."""

import itertools
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import httpx
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

PANELS: Final[Sequence[Mapping[str, Any]]] = json.loads(
    (Path(__file__).parents[1] / "deploy" / "grafana" / "seqstep.json").read_text(encoding="utf-8")
)["panels"]

# The run takes minutes, and rates over five minutes would show none of its faults.
RATE_SECONDS: Final = 20
_STEP_SECONDS: Final = 2

_COLUMNS: Final = 24
_WIDTH: Final = 14.0
_UNIT: Final = 0.3
_BACKGROUND, _PANEL, _TEXT, _GRID = "#f4f5f5", "#ffffff", "#24292e", "#e3e5e8"
_NAMED: Final = {"green": "#56a64b", "orange": "#ff9830", "red": "#e02f44", "purple": "#8f3bb8"}
# For series whose color the dashboard does not name.
_COLORS: Final = ("#3274d9", "#0d9c9c", "#b877d9", "#ff9830", "#8c6d31", "#5f6b76", "#d683ce", "#8f3bb8", "#1f60c4")

# What values are divided by, so that the marks of an axis are at round ones.
_SCALES: Final = {"bytes": 2**20}

Series = tuple[str, list[float], list[float]]


async def draw(prometheus: httpx.AsyncClient, start: float, end: float, path: Path) -> None:
    """Draws all panels, as they are between two times in seconds since 1970."""
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in PANELS)
    height = rows * _UNIT
    figure = Figure(figsize=(_WIDTH, height), facecolor=_BACKGROUND)
    for panel in PANELS:
        at = panel["gridPos"]
        left, top = at["x"] / _COLUMNS, 1 - at["y"] / rows
        width, tall = at["w"] / _COLUMNS, at["h"] / rows
        gap_x, gap_y = 0.05 / _WIDTH, 0.05 / height
        frame = figure.add_axes((left + gap_x, top - tall + gap_y, width - 2 * gap_x, tall - 2 * gap_y))
        frame.set(facecolor=_PANEL, xticks=[], yticks=[])
        for spine in frame.spines.values():
            spine.set_color(_GRID)
        frame.text(
            0.1 / (width * _WIDTH), 1 - 0.24 / (tall * height), panel["title"], color=_TEXT, size=10, weight="medium"
        )
        series = [one for target in panel["targets"] for one in await _series(prometheus, target, start, end)]
        if panel["type"] == "stat":
            value = series[0][2][-1] if series else math.nan
            shown = _shown(value, panel["fieldConfig"]["defaults"]["unit"])
            frame.text(
                0.5, 0.4, shown, ha="center", va="center", size=24, color=_threshold(panel, value), weight="bold"
            )
        else:
            _lines(figure, frame, panel["fieldConfig"], series, end - start)
    figure.savefig(path, dpi=90)


async def _series(prometheus: httpx.AsyncClient, target: Mapping[str, Any], start: float, end: float) -> list[Series]:
    """What an expression of a panel gives, each series with its legend and its times from the start."""
    expression = target["expr"].replace("[5m]", f"[{RATE_SECONDS}s]")
    asked: dict[str, Any] = {"query": expression, "start": start, "end": end, "step": _STEP_SECONDS}
    response = await prometheus.get("/api/v1/query_range", params=asked)
    found: list[Series] = []
    for each in response.raise_for_status().json()["data"]["result"]:
        labels = each["metric"]
        parts = re.split(r"{{(\w+)}}", target["legendFormat"])
        legend = "".join(labels.get(part, "") if number % 2 else part for number, part in enumerate(parts))
        times, values = zip(*each["values"], strict=True)
        found.append((legend.strip(), [time - start for time in times], [float(value) for value in values]))
    return sorted(found)


def _threshold(panel: Mapping[str, Any], value: float) -> str:
    """The color of a value by the panel's thresholds."""
    steps = panel["fieldConfig"]["defaults"].get("thresholds", {"steps": [{"color": "green", "value": None}]})["steps"]
    return _NAMED[[step["color"] for step in steps if step["value"] is None or value >= step["value"]][-1]]


def _lines(figure: Figure, frame: Axes, config: Mapping[str, Any], series: Sequence[Series], seconds: float) -> None:
    unit = config["defaults"]["unit"]
    named = {
        each["matcher"]["options"]: _NAMED[each["properties"][0]["value"]["fixedColor"]] for each in config["overrides"]
    }
    others = itertools.cycle(_COLORS)
    box = frame.get_position()
    inch_x, inch_y = 1 / _WIDTH, 1 / figure.get_figheight()
    below = 0.3 + 0.17 * math.ceil(len(series) / 3)
    axes = figure.add_axes(
        (
            box.x0 + 0.75 * inch_x,
            box.y0 + below * inch_y,
            box.width - 0.9 * inch_x,
            box.height - (below + 0.35) * inch_y,
        )
    )
    axes.set_facecolor(_PANEL)
    for legend, times, values in series:
        color = named.get(legend) or next(others)
        scaled = [value / _SCALES.get(unit, 1) for value in values]
        axes.plot(times, scaled, color=color, linewidth=1.3, label=legend)
        axes.fill_between(times, scaled, color=color, alpha=0.08, linewidth=0)
    axes.set_xlim(0, seconds)
    if "scaleDistribution" in config["defaults"].get("custom", {}):
        axes.set_yscale("symlog", linthresh=1)
    else:
        counts = all(value.is_integer() for _, _, values in series for value in values)
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=counts))
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _shown(value * _SCALES.get(unit, 1), unit)))
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 3, 6]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{int(value) // 60}:{int(value) % 60:02}"))
    axes.tick_params(colors=_TEXT, labelsize=8, length=0)
    axes.grid(color=_GRID, linewidth=0.6)
    for spine in axes.spines.values():
        spine.set_visible(False)
    if not series:
        axes.text(0.5, 0.5, "No data", transform=axes.transAxes, ha="center", color=_TEXT)
        return
    figure.legend(
        *axes.get_legend_handles_labels(),
        loc="lower left",
        bbox_to_anchor=(box.x0 + 0.1 * inch_x, box.y0),
        ncols=min(3, len(series)),
        fontsize=7.5,
        frameon=False,
        labelcolor=_TEXT,
        handlelength=1.2,
        columnspacing=1.4,
        labelspacing=0.3,
        borderpad=0.2,
    )


def _shown(value: float, unit: str) -> str:
    """A value as the dashboard's units show it."""
    if math.isnan(value):
        return "No data"
    if unit == "percentunit":
        return f"{value * 100:.3g}%"
    if unit == "bytes":
        return f"{value / 2**20:.4g} MiB"
    if unit == "s":
        return f"{value:.3g} s" if value >= 1 or not value else f"{value * 1000:.3g} ms"
    if value >= 1000:
        return f"{value / 1000:.3g} K"
    return f"{value:.3g}{' req/s' if unit == 'reqps' else ''}"
