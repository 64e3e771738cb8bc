"""Latency against load as an SVG, written as text."""

import math

COLOURS = ["#1b6ca8", "#c0392b", "#2e8b57", "#8e44ad", "#d68910", "#34495e", "#16a085", "#7f8c8d"]
WIDTH, HEIGHT = 860, 480
LEFT, RIGHT, TOP, BOTTOM = 80, 190, 44, 56


def logarithmic(low, high, start, end):
    scale = (end - start) / (math.log10(high) - math.log10(low))
    return lambda value: start + (math.log10(value) - math.log10(low)) * scale


def steps(low, high):
    """1, 2 and 5 of each decade between the two."""
    decade = math.floor(math.log10(low))
    while 10 ** decade <= high:
        for step in (1, 2, 5):
            if low <= step * 10 ** decade <= high:
                yield step * 10 ** decade
        decade += 1


def span(values):
    low, high = min(values), max(values)
    return low * 0.85, max(high, low * 1.01) * 1.15


def draw(curves, title):
    """`curves`: name to a list of (messages/s, p50 µs, p99 µs)."""
    points = [point for curve in curves.values() for point in curve]
    x_low, x_high = span([p[0] for p in points])
    y_low, y_high = span([y for p in points for y in p[1:]])
    x = logarithmic(x_low, x_high, LEFT, WIDTH - RIGHT)
    y = logarithmic(y_low, y_high, HEIGHT - BOTTOM, TOP)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
           f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
           f'<text x="{LEFT}" y="24" font-size="15">{title}</text>']
    for value in steps(x_low, x_high):
        text = f"{value / 1000:g}k" if value >= 1000 else f"{value:g}"
        out.append(f'<path d="M{x(value):.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="#e4e4e4"/>'
                   f'<text x="{x(value):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{text}</text>')
    for value in steps(y_low, y_high):
        text = f"{value:g} µs" if value < 1000 else f"{value / 1000:g} ms"
        out.append(f'<path d="M{LEFT} {y(value):.1f}H{WIDTH - RIGHT}" stroke="#e4e4e4"/>'
                   f'<text x="{LEFT - 8}" y="{y(value) + 4:.1f}" text-anchor="end">{text}</text>')
    out.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 14}" text-anchor="middle">offered messages per second</text>')
    out.append(f'<path d="M{LEFT} {TOP}V{HEIGHT - BOTTOM}H{WIDTH - RIGHT}" fill="none" stroke="black"/>')
    for number, (name, curve) in enumerate(curves.items()):
        colour = COLOURS[number % len(COLOURS)]
        for column, dash in ((1, ' stroke-dasharray="4 4"'), (2, "")):
            path = "L".join(f"{x(p[0]):.1f} {y(p[column]):.1f}" for p in curve)
            out.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>')
        out += [f'<circle cx="{x(p[0]):.1f}" cy="{y(p[2]):.1f}" r="3" fill="{colour}"/>' for p in curve]
        row = TOP + 16 + number * 20
        out.append(f'<path d="M{WIDTH - RIGHT + 14} {row - 4}h24" stroke="{colour}" stroke-width="2"/>'
                   f'<text x="{WIDTH - RIGHT + 44}" y="{row}">{name}</text>')
    row = TOP + 30 + len(curves) * 20
    out.append(f'<text x="{WIDTH - RIGHT + 14}" y="{row}">p99 solid, p50 dashed</text></svg>')
    return "\n".join(out) + "\n"
