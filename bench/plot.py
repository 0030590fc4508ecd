"""A run as a picture: the ratio of each row on a scale of doublings, as SVG that suits light and dark pages."""

import math
import statistics
from collections.abc import Iterator, Sequence
from xml.sax.saxutils import escape

from bench.goals import GOALS
from bench.history import Recorded
from bench.programs import SIDES
from bench.rounds import Result

WIDTH, ROW, TOP, BOTTOM = 900, 22, 56, 30
LEFT, RIGHT = 290, 690
"""Where the scale begins and ends; names stand before it, rates behind it."""
TICKS = (0.25, 0.5, 1, 2, 4, 8)
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.small { font-size: 11px; fill: #59636e }
.end { text-anchor: end } .middle { text-anchor: middle }
.grid { stroke: #d1d9e0 } .one { stroke: #59636e; stroke-width: 1.5 }
.ahead { fill: #1a7f64 } .behind { fill: #bc4c00 } .spread { stroke: #1f2328; stroke-width: 1.5 }
.goal { fill: none; stroke: #6639ba; stroke-width: 2 }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc } .small { fill: #9198a1 } .grid { stroke: #3d444d } .one { stroke: #9198a1 }
  .ahead { fill: #2ea98a } .behind { fill: #db6d28 } .spread { stroke: #f0f6fc } .goal { stroke: #b58cf0 }
}
"""


def svg(recorded: Recorded) -> str:
    """The rows that have a ratio, in the order they were measured. ValueError if there is none."""
    rows = [result for result in recorded.results if not result.problem]
    if not rows:
        raise ValueError("no row of the run has a ratio")
    height = TOP + ROW * len(rows) + BOTTOM
    peer = recorded.programs["theirs"]["name"]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
        f"<title>Rates of this node, divided by those of {escape(peer)}</title>",
        f"<style>{STYLE}</style>",
        *_scale(height, peer),
    ]
    for place, result in enumerate(rows):
        parts += _row(result, TOP + ROW * place)
    return "\n".join([*parts, "</svg>"]) + "\n"


def at(ratio: float) -> float:
    """The place of a ratio on the scale; those beyond it stand at its end."""
    low, high = math.log2(TICKS[0]), math.log2(TICKS[-1])
    share = (math.log2(min(max(ratio, TICKS[0]), TICKS[-1])) - low) / (high - low)
    return round(LEFT + share * (RIGHT - LEFT), 1)


def _scale(height: int, peer: str) -> Iterator[str]:
    end = height - BOTTOM
    for tick in TICKS:
        kind = "one" if tick == 1 else "grid"
        yield f'<line class="{kind}" x1="{at(tick)}" x2="{at(tick)}" y1="{TOP - 8}" y2="{end}"/>'
        yield f'<text class="small middle" x="{at(tick)}" y="{TOP - 14}">{tick:g}×</text>'
    yield f'<text class="small middle" x="{(LEFT + RIGHT) / 2}" y="16">slower than {escape(peer)} | faster</text>'
    yield f'<text class="small end" x="{WIDTH - 8}" y="{TOP - 14}">node/s : {escape(peer)}/s</text>'
    key = "bar: median of the pairs; line: least to most; diamond: goal"
    yield f'<text class="small middle" x="{(LEFT + RIGHT) / 2}" y="{height - 8}">{key}</text>'


def _row(result: Result, top: int) -> Iterator[str]:
    ratios = result.ratios()
    median, middle = statistics.median(ratios), top + ROW / 2
    one, end = at(1), at(median)
    kind = "ahead" if median >= 1 else "behind"
    yield f'<text class="end" x="{LEFT - 12}" y="{middle + 4}">{escape(str(result.workload))}</text>'
    bar = f'x="{min(one, end)}" width="{abs(end - one):.1f}" y="{top + 4}" height="{ROW - 8}"'
    yield f'<rect class="{kind}" {bar} rx="2"/>'
    yield f'<line class="spread" x1="{at(min(ratios))}" x2="{at(max(ratios))}" y1="{middle}" y2="{middle}"/>'
    for bound in _goals(result):
        x = at(bound)
        yield f'<path class="goal" d="M{x} {middle - 6}l5 6l-5 6l-5-6z"/>'
    ours, theirs = (result.median(side, lambda run: run.rate) for side in SIDES)
    yield f'<text class="small" x="{RIGHT + 10}" y="{middle + 4}">{median:.2f}×</text>'
    yield f'<text class="small end" x="{WIDTH - 8}" y="{middle + 4}">{ours:,.0f} : {theirs:,.0f}</text>'


def _goals(result: Result) -> Sequence[float]:
    return [goal.bound for goal in GOALS if goal.name == str(result.workload)]
