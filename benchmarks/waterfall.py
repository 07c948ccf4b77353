"""A trace as a picture: one bar for each span, each service in its colour, parents above their children."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

from measuring import Span

WIDTH, LABEL_WIDTH, ROW_HEIGHT, MARGIN = 980, 330, 24, 20
HEADER_HEIGHT = 58
COLOURS = {"frontend": "#2f5d9b", "scheduler": "#b08d2e", "codestore": "#7a5195", "hostagent": "#3f7d4e"}
GUEST_COLOUR = "#b3261e"
"""Of what was measured in the guest, which the host agent reports."""
STEPS_MS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
MAX_STEPS = 10


def draw(title: str, spans: Sequence[Span], path: Path) -> None:
    """Writes the picture of a trace as SVG."""
    rows = in_order(spans)
    start_ns = min(span.start_ns for span in spans)
    total_ms = (max(span.end_ns for span in spans) - start_ns) / 1e6
    scale = (WIDTH - LABEL_WIDTH - 3 * MARGIN - 50) / total_ms
    height = HEADER_HEIGHT + ROW_HEIGHT * len(rows) + 2 * MARGIN
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        'font-family="system-ui, sans-serif" font-size="13">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
        f'<text x="{MARGIN}" y="26" font-weight="600" font-size="15" fill="#1c1c1c">{escape(title)}</text>',
    ]
    bottom = HEADER_HEIGHT + ROW_HEIGHT * len(rows)
    step_ms = next((step for step in STEPS_MS if total_ms / step <= MAX_STEPS), STEPS_MS[-1])
    for number in range(int(total_ms // step_ms) + 1):
        x = LABEL_WIDTH + MARGIN + number * step_ms * scale
        lines.append(f'<path d="M{x:.1f} {HEADER_HEIGHT - 8}V{bottom}" stroke="#ddd"/>')
        lines.append(
            f'<text x="{x:.1f}" y="{HEADER_HEIGHT - 12}" text-anchor="middle" fill="#444" font-size="11">'
            f"{number * step_ms} ms</text>"
        )
    for row, (depth, span) in enumerate(rows):
        y = HEADER_HEIGHT + row * ROW_HEIGHT
        x = LABEL_WIDTH + MARGIN + (span.start_ns - start_ns) / 1e6 * scale
        length_ms = (span.end_ns - span.start_ns) / 1e6
        width = max(1.5, length_ms * scale)
        colour = GUEST_COLOUR if is_in_guest(span) else COLOURS.get(span.service, "#666")
        lines.append(f'<text x="{MARGIN + depth * 12}" y="{y + 15}" fill="#1c1c1c">{escape(_label(span))}</text>')
        lines.append(f'<rect x="{x:.1f}" y="{y + 4}" width="{width:.1f}" height="14" rx="2" fill="{colour}"/>')
        lines.append(f'<text x="{x + width + 5:.1f}" y="{y + 15}" fill="#444" font-size="11">{length_ms:.1f} ms</text>')
    for number, (name, colour) in enumerate([*COLOURS.items(), ("guest", GUEST_COLOUR)]):
        x = MARGIN + number * 110
        lines.append(f'<rect x="{x}" y="{bottom + 12}" width="12" height="12" rx="2" fill="{colour}"/>')
        lines.append(f'<text x="{x + 18}" y="{bottom + 22}" fill="#444" font-size="12">{name}</text>')
    path.write_text("\n".join([*lines, "</svg>", ""]))


def in_order(spans: Sequence[Span]) -> list[tuple[int, Span]]:
    """The spans with their depths, each below its parent, those of one parent by their beginning."""
    ids = {span.span_id for span in spans}
    children: Mapping[str, list[Span]] = {id_: [] for id_ in ["", *ids]}
    for span in sorted(spans, key=lambda span: span.start_ns):
        children[span.parent_id if span.parent_id in ids else ""].append(span)
    rows: list[tuple[int, Span]] = []

    def visit(span: Span, depth: int) -> None:
        rows.append((depth, span))
        for child in children[span.span_id]:
            visit(child, depth + 1)

    for span in children[""]:
        visit(span, 0)
    return rows


def is_in_guest(span: Span) -> bool:
    """Whether a span was measured in the guest."""
    return span.name in ("guest.bind", "guest.limits", "guest.import", "guest.handler")


def _label(span: Span) -> str:
    service, _, method = span.name.rpartition("/")
    return f"{service.rpartition('.')[2]}/{method}" if service else span.name
