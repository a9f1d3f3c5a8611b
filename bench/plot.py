"""The plot of `compare`, drawn by hand: a bar for each server, with the goal's line."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final

from bench.parts.compare import OF_FLOOR, OURS
from bench.report import Spread
from bench.variants import FLOOR

_WIDTH: Final = 760
_LEFT: Final = 120
_RIGHT: Final = 150
_TOP: Final = 64
_STEP: Final = 44
_BAR: Final = 24

# Readable on white and on GitHub's dark background.
_STYLE: Final = """
text { font: 14px system-ui, sans-serif; fill: #57606a }
.title { font-weight: 600; font-size: 16px }
.bar { fill: #8c959f } .ours { fill: #0969da }
.spread { stroke: #57606a; stroke-width: 2 }
.goal { stroke: #cf222e; stroke-width: 2; stroke-dasharray: 6 4 } .goal-text { fill: #cf222e }
.axis { stroke: #8c959f; stroke-width: 1 }
@media (prefers-color-scheme: dark) { text { fill: #c9d1d9 } .spread { stroke: #c9d1d9 } }
"""


def svg(rounds: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """CPU per call of each server as a multiple of the floor's, with the spread over the rounds."""
    cpu = {name: [each["server_cpu"] / each["calls"] * 1e6 for each in results] for name, results in rounds.items()}
    ratios = {name: Spread.ratio(values, cpu[FLOOR.name]) for name, values in cpu.items()}
    names = sorted(ratios, key=lambda name: ratios[name].middle)
    scale = (_WIDTH - _LEFT - _RIGHT) / max(OF_FLOOR, *(each.greatest for each in ratios.values()))
    bottom = _TOP + _STEP * len(names)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {bottom + 40}" role="img">',
        f"<title>CPU per call</title><style>{_STYLE}</style>",
        '<text class="title" x="12" y="24">CPU per call, as a multiple of the floor</text>',
    ]
    for number, name in enumerate(names):
        ratio, top = ratios[name], _TOP + _STEP * number
        middle = top + _BAR / 2
        least, greatest = (_LEFT + scale * each for each in (ratio.least, ratio.greatest))
        label = f"{ratio.middle:.2f} × ({Spread.of(cpu[name]).middle:,.0f} µs)"
        kind = "bar ours" if name == OURS else "bar"
        parts += [
            f'<text x="{_LEFT - 10}" y="{middle + 5}" text-anchor="end">{escape(name)}</text>',
            f'<rect class="{kind}" x="{_LEFT}" y="{top}" width="{scale * ratio.middle:.1f}" height="{_BAR}"/>',
            f'<line class="spread" x1="{least:.1f}" x2="{greatest:.1f}" y1="{middle}" y2="{middle}"/>',
            f'<text x="{_WIDTH - 12}" y="{middle + 5}" text-anchor="end">{label}</text>',
        ]
    aim = f"goal: at most {OF_FLOOR} × the floor"
    goal = _LEFT + scale * OF_FLOOR
    parts += [
        f'<line class="axis" x1="{_LEFT}" x2="{_LEFT}" y1="{_TOP - 10}" y2="{bottom}"/>',
        f'<line class="goal" x1="{goal:.1f}" x2="{goal:.1f}" y1="{_TOP - 10}" y2="{bottom}"/>',
        f'<text class="goal-text" x="{goal:.1f}" y="{bottom + 20}" text-anchor="middle">{aim}</text>',
        "</svg>",
    ]
    return "\n".join(parts) + "\n"
