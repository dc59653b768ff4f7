"""
A small chart of how something went in the last minutes, as SVG: it needs neither a script nor a
style of its own.
"""

from __future__ import annotations

from collections.abc import Sequence

from twisted.web.template import Flattenable, Tag

#: Units of the picture; the style says how large it is shown.
WIDTH, HEIGHT = 120, 24


def sparkline(values: Sequence[float], length: int, about: str) -> Tag:
    """
    A line with the area below it.

    @param values: the oldest first; fewer than C{length} of them begin further to the right.
    @param about: what those hear who do not see it.
    """
    most = max(values, default=0)
    step = WIDTH / (length - 1)
    begin = WIDTH - step * (len(values) - 1)
    points = [
        f"{begin + number * step:.1f},{HEIGHT - 1 - (HEIGHT - 3) * value / (most or 1):.1f}"
        for number, value in enumerate(values)
    ]
    # Where nothing is known yet there is this line alone.
    drawn: list[Flattenable] = [
        Tag("path", attributes={"d": f"M0 {HEIGHT - 1}H{WIDTH}", "class": "base"})
    ]
    if points:
        area = f"{begin:.1f},{HEIGHT} {' '.join(points)} {WIDTH},{HEIGHT}"
        drawn += [
            Tag("polygon", attributes={"points": area, "class": "area"}),
            Tag("polyline", attributes={"points": " ".join(points), "class": "line"}),
        ]
    return Tag(
        "svg",
        attributes={
            "class": "spark",
            "viewBox": f"0 0 {WIDTH} {HEIGHT}",
            "preserveAspectRatio": "none",
            "role": "img",
            "aria-label": about,
        },
        children=drawn,
    )
