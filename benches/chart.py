"""The bar chart of the page, as SVG for a light or a dark page."""

from xml.sax.saxutils import escape

COLOURS = {
    "light": {"page": "#ffffff", "text": "#1f2328", "faint": "#59636e", "line": "#d1d9e0", "spread": "#1f2328"},
    "dark": {"page": "#0d1117", "text": "#f0f6fc", "faint": "#9198a1", "line": "#3d444d", "spread": "#f0f6fc"},
}
# Told apart by their names too, so a colour is never all that says whose a bar is.
BARS = {
    "light": ("#0969da", "#8c959f", "#b0b8c0", "#c69026", "#8250df"),
    "dark": ("#4493f8", "#768390", "#545d68", "#ae7c14", "#986ee2"),
}
WIDTH, MARGIN, GAP = 960, 20, 36
LABEL, VALUE = 136, 88
BAR, PITCH, TITLE = 12, 18, 30


def number(value):
    """Three figures, which is as much as they are worth."""
    return f"{value:,.0f}" if abs(value) >= 99.5 else f"{value:.1f}" if abs(value) >= 9.95 else f"{value:.2f}"


def panel(title, unit, bars, colours, fills, left, top, width):
    """`bars` are (name, (median, least, greatest) or what stands in its place)."""
    space = width - LABEL - VALUE
    most = max((spread[2] for _, spread in bars if not isinstance(spread, str)), default=0) or 1
    at = lambda value: left + LABEL + max(0, value) / most * space
    yield f'<text x="{left}" y="{top + 12}" class="title">{escape(title)} <tspan class="faint">{escape(unit)}</tspan></text>'
    for index, (name, spread) in enumerate(bars):
        y = top + TITLE + index * PITCH
        middle = y + BAR / 2
        yield f'<text x="{left + LABEL - 8}" y="{y + BAR - 2}" text-anchor="end">{escape(name)}</text>'
        if isinstance(spread, str):
            yield f'<text x="{left + LABEL}" y="{y + BAR - 2}" class="faint">{escape(spread)}</text>'
            continue
        value, least, greatest = spread
        yield f'<rect x="{left + LABEL}" y="{y}" width="{max(1, at(value) - left - LABEL):.1f}" height="{BAR}" rx="2" fill="{fills[index % len(fills)]}"/>'
        yield f'<path d="M{at(least):.1f} {middle}H{at(greatest):.1f}M{at(least):.1f} {middle - 3}v6M{at(greatest):.1f} {middle - 3}v6" class="spread"/>'
        yield f'<text x="{at(greatest) + 8:.1f}" y="{y + BAR - 2}">{number(value)}</text>'
    yield f'<path d="M{left + LABEL} {top + TITLE - 4}V{top + TITLE + len(bars) * PITCH - 2}" class="axis"/>'


def svg(panels, theme, description):
    """`panels` are (title, unit, bars); two stand beside each other."""
    colours, width = COLOURS[theme], (WIDTH - 2 * MARGIN - GAP) / 2
    parts, top = [], MARGIN
    for first in range(0, len(panels), 2):
        beside = panels[first : first + 2]
        for column, (title, unit, bars) in enumerate(beside):
            parts += panel(title, unit, bars, colours, BARS[theme], MARGIN + column * (width + GAP), top, width)
        top += TITLE + max(len(bars) for *_, bars in beside) * PITCH + 22
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" width="{WIDTH}" height="{top}" role="img" aria-label="{escape(description, {chr(34): "&quot;"})}">\n'
        f"<style>text{{font:12px system-ui,-apple-system,'Segoe UI',sans-serif;fill:{colours['text']}}}.title{{font-weight:600;font-size:13px}}"
        f".faint{{fill:{colours['faint']};font-weight:400}}.axis{{stroke:{colours['line']}}}.spread{{stroke:{colours['spread']};fill:none}}</style>\n"
        f'<rect width="{WIDTH}" height="{top}" fill="{colours["page"]}"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )
