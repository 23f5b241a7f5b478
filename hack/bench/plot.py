"""Bar charts as SVG text, small enough to be read in a diff. Pure: numbers in, one string out.

Colors work on light and dark pages; no script, no font, no style sheet.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, LABEL_WIDTH, VALUE_WIDTH = 760, 300, 60
ROW_HEIGHT, BAR_HEIGHT, HEAD_HEIGHT = 22, 14, 34
OURS, THEIRS, TEXT, LINE = "#2f7d4f", "#8a8f98", "#6b7280", "#b4553c"


@dataclass(frozen=True)
class Bar:
    label: str
    value: float
    is_ours: bool = False


@dataclass(frozen=True)
class Chart:
    """Shares from 0 to 1; `target` is drawn as a line across the bars it applies to all of."""

    title: str
    bars: tuple[Bar, ...]
    target: float | None = None


def svg(charts: Sequence[Chart]) -> str:
    """The charts below each other."""
    parts: list[str] = []
    top = 0
    for chart in charts:
        parts += _chart(chart, top)
        top += _height(chart)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" width="{WIDTH}" height="{top}" '
        f'font-family="sans-serif" font-size="12" fill="{TEXT}">'
    )
    return "\n".join([head, *parts, "</svg>"]) + "\n"


def _height(chart: Chart) -> int:
    return HEAD_HEIGHT + ROW_HEIGHT * len(chart.bars) + ROW_HEIGHT // 2


def _chart(chart: Chart, top: int) -> list[str]:
    scale = WIDTH - LABEL_WIDTH - VALUE_WIDTH
    most = max(1.0, *(bar.value for bar in chart.bars))
    parts = [f'<text x="0" y="{top + 18}" font-weight="bold" font-size="14">{escape(chart.title)}</text>']
    for index, bar in enumerate(chart.bars):
        y = top + HEAD_HEIGHT + index * ROW_HEIGHT
        width = round(scale * bar.value / most, 1)
        color = OURS if bar.is_ours else THEIRS
        parts += [
            f'<text x="{LABEL_WIDTH - 8}" y="{y + 11}" text-anchor="end">{escape(bar.label)}</text>',
            f'<rect x="{LABEL_WIDTH}" y="{y}" width="{width}" height="{BAR_HEIGHT}" fill="{color}"/>',
            f'<text x="{LABEL_WIDTH + width + 6}" y="{y + 11}">{bar.value:.1%}</text>',
        ]
    if chart.target is not None:
        x = round(LABEL_WIDTH + scale * chart.target / most, 1)
        bottom = top + HEAD_HEIGHT + ROW_HEIGHT * len(chart.bars) - (ROW_HEIGHT - BAR_HEIGHT)
        parts.append(f'<path d="M{x} {top + HEAD_HEIGHT - 4}V{bottom + 4}" stroke="{LINE}" stroke-dasharray="3 2"/>')
    return parts
