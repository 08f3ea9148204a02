"""Pictures of figures: a line chart as SVG, made of nothing but text."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 640, 360
LEFT, RIGHT, TOP, BOTTOM = 80, 24, 48, 56
# Told apart in print and by those who do not see colours: each line has a mark of its own, too.
COLOURS = ("#1f5fa8", "#b3541e", "#2f7d4f", "#6b4c9a")
STEPS = 4


@dataclass(frozen=True)
class Line:
    name: str
    # In the order in which they are drawn.
    points: list[tuple[float, float]]


def chart(title: str, across: str, up: str, lines: list[Line]) -> str:
    """Each distinct value of the first axis gets the same room, so that 1, 16, 64 and 256 can all be read."""
    places = sorted({x for line in lines for x, _ in line.points})
    top = _nice(max((y for line in lines for _, y in line.points), default=1.0))
    wide, high = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def x_of(value: float) -> float:
        return LEFT + wide * (places.index(value) + 0.5) / len(places)

    def y_of(value: float) -> float:
        return TOP + high * (1 - value / top)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'font-family="sans-serif" font-size="13">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="22" font-size="16">{escape(title)}</text>',
    ]
    for step in range(STEPS + 1):
        value = top * step / STEPS
        y = y_of(value)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#dddddd"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value:,.0f}</text>')
    for value in places:
        parts.append(f'<text x="{x_of(value):.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{value:g}</text>')
    parts.append(f'<text x="{LEFT + wide / 2}" y="{HEIGHT - 12}" text-anchor="middle">{escape(across)}</text>')
    parts.append(f'<text x="16" y="{TOP - 10}">{escape(up)}</text>')
    for number, line in enumerate(lines):
        colour = COLOURS[number % len(COLOURS)]
        path = " ".join(f"{x_of(x):.1f},{y_of(y):.1f}" for x, y in line.points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [_mark(number, x_of(x), y_of(y), colour) for x, y in line.points]
        legend = LEFT + 220 * number
        parts.append(_mark(number, legend, 36, colour))
        parts.append(f'<text x="{legend + 10}" y="40">{escape(line.name)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _mark(number: int, x: float, y: float, colour: str) -> str:
    if number % 2:
        return f'<rect x="{x - 4:.1f}" y="{y - 4:.1f}" width="8" height="8" fill="{colour}"/>'
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" fill="{colour}"/>'


def _nice(value: float) -> float:
    """The next round number that is not below."""
    scale = 1.0
    while scale * 10 <= value:
        scale *= 10
    return next(factor * scale for factor in (1, 2, 4, 5, 8, 10) if factor * scale >= value)
