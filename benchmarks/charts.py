"""Charts as SVG: small, without a library, readable in light and dark."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

_COLOURS = ("#3b6ea5", "#c8553d", "#4f8a5b", "#8a6d3b", "#7a5195")
_WIDTH, _ROW, _LEFT, _RIGHT, _TOP = 760, 18, 190, 90, 44
_PLOT = _WIDTH - _LEFT - _RIGHT


def bars(title: str, unit: str, values: Mapping[str, Mapping[str, float]], *, logarithmic: bool = False) -> str:
    """Horizontal bars, a group for each key and a bar for each series in it.

    Args:
        title: above the chart.
        unit: of the values.
        values: by group and series; a series that a group lacks is left out.
        logarithmic: whether ten times as much is always as much longer.
    """
    series = list(dict.fromkeys(name for group in values.values() for name in group))
    numbers = [value for group in values.values() for value in group.values()]
    largest, smallest = max(numbers, default=1.0), min(numbers, default=1.0)
    parts, y = [_legend(series)], _TOP + 20
    for group, by in values.items():
        parts.append(_text(_LEFT - 8, y + len(by) * _ROW / 2 + 1, group, anchor="end"))
        for name, value in by.items():
            length = _PLOT * _share(value, smallest, largest, logarithmic=logarithmic)
            colour = _COLOURS[series.index(name) % len(_COLOURS)]
            parts.append(f'<rect x="{_LEFT}" y="{y}" width="{length:.1f}" height="{_ROW - 4}" fill="{colour}"/>')
            parts.append(_text(_LEFT + length + 5, y + _ROW - 7, f"{value:,.3g}" if value < 100 else f"{value:,.0f}"))
            y += _ROW
        y += 8
    return _drawing(f"{title} ({unit})", parts, y + 6)


def lines(title: str, unit: str, points: Mapping[str, Sequence[tuple[float, float]]], x_label: str) -> str:
    """Lines over a common axis from 0.

    Args:
        title: above the chart.
        unit: of the values.
        points: x and y, by series.
        x_label: what x is.
    """
    height = 220
    flat = [point for each in points.values() for point in each] or [(1.0, 1.0)]
    largest_x, largest_y = max(x for x, _ in flat) or 1.0, max(y for _, y in flat) or 1.0
    top, bottom = _TOP + 24, _TOP + 24 + height
    parts = [_legend(list(points))]
    for share in (0, 0.5, 1):
        y = bottom - share * height
        parts.append(f'<path d="M{_LEFT} {y:.1f}H{_LEFT + _PLOT}" stroke="#8888" fill="none"/>')
        parts.append(_text(_LEFT - 8, y + 4, f"{share * largest_y:,.0f}", anchor="end"))
        parts.append(_text(_LEFT + share * _PLOT, bottom + 16, f"{share * largest_x:,.3g}", anchor="middle"))
    for number, each in enumerate(points.values()):
        path = " L".join(f"{_LEFT + x / largest_x * _PLOT:.1f} {bottom - y / largest_y * height:.1f}" for x, y in each)
        colour = _COLOURS[number % len(_COLOURS)]
        parts.append(f'<path d="M{path}" stroke="{colour}" stroke-width="2" fill="none"/>')
    parts.append(_text(_LEFT + _PLOT / 2, bottom + 32, x_label, anchor="middle"))
    assert top < bottom
    return _drawing(f"{title} ({unit})", parts, bottom + 42)


def _share(value: float, smallest: float, largest: float, *, logarithmic: bool) -> float:
    if not logarithmic:
        return value / largest
    floor = math.log10(smallest) - 0.3
    return (math.log10(value) - floor) / (math.log10(largest) - floor)


def _legend(series: Sequence[str]) -> str:
    parts, x = [], float(_LEFT)
    for number, name in enumerate(series):
        colour = _COLOURS[number % len(_COLOURS)]
        parts.append(f'<rect x="{x:.0f}" y="{_TOP - 8}" width="11" height="11" fill="{colour}"/>')
        parts.append(_text(x + 16, _TOP + 2, name))
        x += 34 + 7.2 * len(name)
    return "".join(parts)


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _drawing(title: str, parts: Sequence[str], height: float) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:.0f}" role="img" '
        f'aria-label="{escape(title, quote=True)}"><style>text{{font:12px system-ui,sans-serif;fill:#777}}</style>'
        f"{_text(_LEFT, 20, title)}{''.join(parts)}</svg>\n"
    )
