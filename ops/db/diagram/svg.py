"""A diagram as SVG: one text, the same for the same schema, which stands by itself in a page, a README or on paper.

Names, types and comments come from a database, so they are text wherever they stand: escaped, and without what XML has no place
for or what would turn the letters round it. Colours are those of light and dark, and of paper, whichever the reader has
(https://www.w3.org/TR/SVG2/styling.html); each table is an object with a name for a screen reader
(https://www.w3.org/TR/graphics-aria-1.0/).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from html import escape

from ops.db.diagram import layout
from ops.db.diagram.layout import CHAR, HEAD, LOOP, PAD, PARTS, ROW, Bend, Box, Key, Layout
from ops.db.diagram.schema import Reference, Schema

MARGIN = 24
LIGHT = {
    "paper": "#ffffff", "box": "#ffffff", "head": "#e8eef7", "edge": "#57606a", "text": "#1b1f24", "faint": "#57606a",
    "line": "#57606a", "frame": "#f6f8fa", "key": "#8a4600", "to": "#0550ae",
}  # fmt: skip
DARK = {
    "paper": "#0d1117", "box": "#161b22", "head": "#22303f", "edge": "#8b949e", "text": "#e6edf3", "faint": "#9da7b3",
    "line": "#8b949e", "frame": "#10161d", "key": "#f0b072", "to": "#79c0ff",
}  # fmt: skip
RULES = (
    ".dg-paper{{fill:{paper}}} .dg-box{{fill:{box};stroke:{edge}}} .dg-head{{fill:{head};stroke:{edge}}} "
    ".dg-frame{{fill:{frame};stroke:{edge};stroke-dasharray:4 4}} .dg-line{{fill:none;stroke:{line};stroke-width:1.3}} "
    ".dg-end{{fill:{paper};stroke:{line};stroke-width:1.3}} .dg-text{{fill:{text}}} .dg-faint{{fill:{faint}}} "
    ".dg-key{{fill:{key}}} .dg-to{{fill:{to}}} .dg-table:hover .dg-box,.dg-table:focus .dg-box{{stroke-width:2.5}}"
)
STYLE = (
    ".dg{font:12px ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;max-width:100%;height:auto} "
    ".dg text{white-space:pre} .dg-name{font-weight:600} .dg-schema{font-size:15px;font-weight:600}\n"
    f"{RULES.format(**LIGHT)}\n@media screen and (prefers-color-scheme:dark){{{RULES.format(**DARK)}}}\n"
    "@media print{.dg-paper{fill:none}}"
)
"""The style sheet of a diagram: a page that allows none within itself puts it in its own."""
NO_XML = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""What XML 1.0 has no place for (2.2), what is no letter, and what turns the letters behind it round."""


def drawn(schema: Schema, *, name: str = "", prefix: str = "t", style: bool = True) -> str:
    """Return a schema as SVG; `name` is what it is a diagram of, `prefix` begins the ids of its tables.

    Without `style` the page that holds it brings STYLE. An empty schema is a diagram that says so.
    """
    found = layout.laid_out(schema)
    width, height = max(found.width, 260) + 2 * MARGIN, max(found.height, 24) + 2 * MARGIN
    ids = {(table.schema, table.name): f"{prefix}{number}" for number, table in enumerate(schema.tables, 1)}
    title = f"{name}: {told(schema)}" if name else told(schema)
    about = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="dg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
            f'role="graphics-document document" aria-roledescription="diagram" '
            f'aria-labelledby="{prefix}-title" aria-describedby="{prefix}-desc">'
        ),
        f'<title id="{prefix}-title">{text(title)}</title>',
        f'<desc id="{prefix}-desc">{text(description(schema, found.named))}</desc>',
    ]
    if style:
        about.append(f"<style>\n{STYLE}\n</style>")
    about += [
        (
            '<defs><marker id="dg-many" viewBox="0 0 12 12" refX="12" refY="6" markerWidth="11" markerHeight="11" orient="auto-start-reverse">'
            '<path class="dg-line" d="M0 6 12 1M0 6 12 6M0 6 12 11"/></marker>'
            '<marker id="dg-one" viewBox="0 0 12 12" refX="12" refY="6" markerWidth="11" markerHeight="11" orient="auto-start-reverse">'
            '<path class="dg-line" d="M7 1 7 11M0 6 12 6"/></marker></defs>'
        ),
        f'<rect class="dg-paper" width="{width}" height="{height}"/>',
        f'<g transform="translate({MARGIN} {MARGIN})">',
    ]
    if not schema.tables:
        about.append('<text class="dg-text" y="18">there are no tables</text>')
    return "\n".join([*about, *frames(found), *lines(found), *tables(found, ids), "</g>", "</svg>", ""])


def told(schema: Schema) -> str:
    """Return how much is drawn."""
    return f"{counted(len(schema.tables), 'table')} and {counted(len(schema.references), 'foreign key')}"


def counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def text(value: str) -> str:
    """Return what a database says as text of XML."""
    return escape(NO_XML.sub("\ufffd", value))


def description(schema: Schema, named: Sequence[Key]) -> str:
    """Return in words what the lines show."""
    several = len({table.schema for table in schema.tables}) > 1
    said = [
        f"{called(each.schema, each.table, several=several)} ({', '.join(each.columns)}) refers to "
        f"{called(each.to_schema, each.to_table, several=several)} ({', '.join(each.to_columns)})."
        for each in schema.references
    ]
    if named:
        told = ", ".join(called(*key, several=several) for key in named)
        said.insert(0, f"Many tables refer to {told}: that is written at their columns, in place of lines.")
    return " ".join(said or ["No table refers to another one."])


def called(schema: str, table: str, *, several: bool) -> str:
    return f"{schema}.{table}" if several else table


def frames(found: Layout) -> Iterator[str]:
    """Yield the frame of each schema."""
    for each in found.frames:
        yield (
            f'<rect class="dg-frame" x="{each.x}" y="{each.y}" width="{each.width}" height="{each.height}" rx="8"/>'
            f'<text class="dg-text dg-schema" x="{each.x + 18}" y="{each.y + 23}">{text(each.title)}</text>'
        )


def lines(found: Layout) -> Iterator[str]:
    """Yield the line of each foreign key, with a crow's foot where many rows may hold the same."""
    for each in found.references:
        child, parent = found.boxes[layout.source(each)], found.boxes[layout.goal(each)]
        said = f"{each.table} ({', '.join(each.columns)}) → {each.to_table} ({', '.join(each.to_columns)})"
        foot = "dg-one" if each.is_single else "dg-many"
        yield (
            f'<path class="dg-line" d="{path(each, child, parent, found.bends)}" '
            f'marker-start="url(#dg-one)" marker-end="url(#{foot})"><title>{text(said)}</title></path>'
        )


def path(each: Reference, child: Box, parent: Box, bends: dict[tuple[Key, Key], list[Bend]]) -> str:
    """Return the way from the table that is pointed to, past the tables between, to the one that points."""
    start, end = parent.row(each.to_columns), child.row(each.columns)
    if parent.x < child.x + child.width and child.x < parent.x + parent.width:  # above each other, or itself
        one, other = parent.x + parent.width, child.x + child.width
        out = max(one, other) + LOOP * 4 // 3  # the curve goes three quarters of that way
        if parent is child and start == end:
            start -= ROW // 3
        return f"M{one} {start}C{out} {start} {out} {end} {other} {end}"
    if parent.x < child.x:
        points = [(parent.x + parent.width, start)]
        for bend in bends.get((parent.key, child.key), []):
            points += [(bend.x, bend.y), (bend.x + bend.width, bend.y)]
        points.append((child.x, end))
    else:
        points = [(parent.x, start)]
        for bend in reversed(bends.get((child.key, parent.key), [])):
            points += [(bend.x + bend.width, bend.y), (bend.x, bend.y)]
        points.append((child.x + child.width, end))
    way = f"M{points[0][0]} {points[0][1]}"
    for number, ((x, y), (to_x, to_y)) in enumerate(itertools.pairwise(points)):
        middle = (x + to_x) // 2
        way += f"L{to_x} {to_y}" if number % 2 else f"C{middle} {y} {middle} {to_y} {to_x} {to_y}"
    return way


def tables(found: Layout, ids: dict[Key, str]) -> Iterator[str]:
    """Yield each table: its name, then a row for each column that is shown."""
    for key, box in found.boxes.items():
        table = box.table
        whole = f"{table.schema}.{table.name}, {table.kind}" + (f": {table.comment}" if table.comment else "")
        dashed = "" if table.kind == "table" else ' stroke-dasharray="6 3"'
        yield (
            f'<g class="dg-table" id="{ids[key]}" role="graphics-object group" transform="translate({box.x} {box.y})">'
            f"<title>{text(whole)}</title>"
            f'<rect class="dg-box" width="{box.width}" height="{box.height}" rx="4"{dashed}/>'
            f'<path class="dg-head" d="M0 {HEAD}V4Q0 0 4 0H{box.width - 4}Q{box.width} 0 {box.width} 4V{HEAD}Z"/>'
            f'<text class="dg-text dg-name" x="{PAD}" y="17">{text(box.title)}</text>'
        )
        yield from rows(box, ids)
        yield "</g>"


def rows(box: Box, ids: dict[Key, str]) -> Iterator[str]:
    """Yield the rows of a box: keys, name, type with a ? where it may be null, and the table that no line leads to."""
    for number, line in enumerate(box.lines):
        y = HEAD + number * ROW + 14
        column = line.column
        said = f"<title>{text(f'{column.name} {column.type}' + ' not null' * column.is_required)}</title>"
        for part, start, shown in zip(PARTS, box.starts, layout.parts_of(line), strict=False):
            each = (
                f'<text class="dg-{part}" x="{PAD + round(start * CHAR)}" y="{y}">{text(shown)}</text>' if shown else ""
            )
            said += f'<a href="#{ids[line.to_key]}">{each}</a>' if part == "to" and line.to_key else each
        yield f"<g>{said}</g>"
    if box.left_out:
        y = HEAD + len(box.lines) * ROW + 14
        yield f'<text class="dg-faint" x="{PAD}" y="{y}">… {counted(box.left_out, "more column" if box.lines else "column")}</text>'
