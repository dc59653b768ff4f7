"""
A run's results as a drawing: one panel of bars for each of the figures that matter most.
"""

from __future__ import annotations

from html import escape

from benchmarks.contenders import MODES, Mode
from benchmarks.figures import Results, describing, title
from benchmarks.report import Run

_PANEL_WIDTH = 420
_COLUMNS = 2
_BAR = 15
_GAP = 6
_HEAD = 34
_NAME_WIDTH = 84
_VALUE_WIDTH = 56
_MARGIN = 18
_CLIP = 3.0

_OURS, _OTHERS, _WHISKER, _INK = "#1f77b4", "#b9c4cf", "#4a5560", "#20262c"

_STYLE = (
    "text{font:12px sans-serif;fill:" + _INK + "}"
    ".title{font-weight:bold;font-size:13px}.note{font-size:11px;fill:" + _WHISKER + "}"
)


def _panels(results: Results) -> list[tuple[Mode, str]]:
    panels: list[tuple[Mode, str]] = []
    for mode in MODES:
        for name in results.names(mode):
            stem, at, _ = name.partition("@")
            if name.endswith("Rate") or name.startswith("p99") or (at and stem != "idle"):
                continue
            panels.append((mode, name))
    return panels


def _text(x: float, y: float, content: str, style: str = "", anchor: str = "start") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" class="{style}" text-anchor="{anchor}">'
        f"{escape(content)}</text>"
    )


def _panel(results: Results, mode: Mode, name: str, left: float, top: float) -> list[str]:
    """Bars much longer than the others are cut, so that the others can be told apart."""
    figure = describing(name)
    parts = [_text(left, top + 14, f"{title(name)} ({figure.unit})", "title")]
    parts.append(_text(left, top + 28, f"{mode} mode; less is better", "note"))
    values = [(who, results.value(mode, who, name)) for who in results.contenders(mode)]
    known = [(who, value) for who, value in values if value is not None]
    medians = sorted(value.median for _, value in known)
    longest = min(medians[-1], _CLIP * medians[len(medians) // 2]) or 1.0
    room = _PANEL_WIDTH - _NAME_WIDTH - _VALUE_WIDTH - _MARGIN
    for row, (who, value) in enumerate(known):
        y = top + _HEAD + row * (_BAR + _GAP)
        start = left + _NAME_WIDTH

        def place(amount: float, start: float = start) -> float:
            return start + room * max(min(amount / longest, 1.0), 0.0)

        color = _OURS if who == "tlstunnel" else _OTHERS
        width = place(value.median) - start
        parts.append(_text(start - 6, y + _BAR - 3, who, anchor="end"))
        parts.append(
            f'<rect x="{start:.1f}" y="{y}" width="{width:.1f}" height="{_BAR}" fill="{color}"/>'
        )
        low, high = place(min(value.samples)), place(max(value.samples))
        parts.append(f'<path d="M{low:.1f} {y + _BAR / 2}H{high:.1f}" stroke="{_WHISKER}"/>')
        shown = figure.show(value.median) + (" »" if value.median > longest else "")
        parts.append(_text(max(start + width, high) + 5, y + _BAR - 3, shown))
    return parts


def svg(run: Run) -> str:
    """@return: the drawing, machine and versions named in it."""
    panels = _panels(run.results)
    most = max((len(run.results.contenders(mode)) for mode, _ in panels), default=0)
    height = _HEAD + most * (_BAR + _GAP) + _MARGIN
    rows = -(-len(panels) // _COLUMNS)
    total = (2 * _MARGIN + _COLUMNS * _PANEL_WIDTH, 3 * _MARGIN + 40 + rows * height)
    machine = run.machine
    versions = ", ".join(f"{name} {value}" for name, value in run.versions.items())
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{total[0]}" height="{total[1]}">',
        f"<style>{_STYLE}</style>",
        f'<rect width="{total[0]}" height="{total[1]}" fill="white"/>',
        _text(
            _MARGIN,
            _MARGIN + 10,
            f"{machine['processor']}, {machine['kernel']}, {machine['system']}; {run.when}",
            "note",
        ),
        _text(_MARGIN, _MARGIN + 26, versions, "note"),
        _text(
            _MARGIN,
            _MARGIN + 42,
            "ECDSA P-256, TLS 1.3, AES-128-GCM, one core; medians, lines from least to greatest",
            "note",
        ),
    ]
    for index, (mode, name) in enumerate(panels):
        row, column = divmod(index, _COLUMNS)
        left = _MARGIN + column * _PANEL_WIDTH
        parts += _panel(run.results, mode, name, left, 2 * _MARGIN + 40 + row * height)
    parts.append("</svg>")
    return "\n".join(parts) + "\n"
