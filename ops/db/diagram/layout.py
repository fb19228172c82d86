"""Where each table of a diagram stands, and by which points its lines go: layers and their order by grandalf.

grandalf (EPL 1.0; 42 kB of plain Python) orders layers by Sugiyama's method and places them by Brandes and Köpf's. igraph knows it too, in
15 MB and without the size of a node; Graphviz is a program that no fresh machine has; networkx has no layers that avoid crossings.
Tables that are pointed to stand left of those that point to them. Whole numbers only, and every choice by name, so that one schema
has one diagram.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import sqrt
from typing import Any

from ops.db.diagram.schema import Column, Reference, Schema, Table

LARGE = 40
"""Tables above which a diagram is by schemas, with the columns of keys alone and no lines to tables that many point to."""
MANY = 12
"""Tables that point to one above which a large diagram names it at their columns: so many lines show nothing."""
CHAR, ROW, HEAD, PAD = 7.25, 18, 26, 10
"""Of a box, in pixels: a letter of 12 px in a font of one width (0.6 em), a line, the name's, and the sides'."""
LONGEST, MOST_ROWS = 36, 40
"""Letters of a name or type, and columns of a table, that are shown."""
ACROSS, DOWN, BETWEEN, LOOP = 72, 24, 48, 30
"""Between layers, between tables of one, between parts that nothing connects, and for a line from a table to itself."""
PARTS = ("key", "text", "faint", "to")
"""Of a row, from left to right: keys, name, type, and the table that no line leads to."""
MORE = 18
"""Letters of the row that tells how many columns are not shown."""
TALLEST = 1800
"""Pixels of a layer, above which it stands in several columns."""
Key = tuple[str, str]
"""Schema and name of a table."""


@dataclass(frozen=True)
class Line:
    """A column in a box."""

    column: Column
    keys: str
    """PK, FK, both or neither."""
    to: str
    """The table that it points to, where no line does; else empty."""
    to_key: Key | None = None


@dataclass
class Box:
    """A table, with its upper left corner where it stands."""

    table: Table
    title: str
    lines: list[Line]
    left_out: int
    """Columns that are not shown."""
    width: int
    height: int
    starts: list[int]
    """Letters before each of PARTS."""
    beside: int
    """Pixels that a line to the table itself takes right of it."""
    x: int = 0
    y: int = 0

    @property
    def key(self) -> Key:
        return (self.table.schema, self.table.name)

    def row(self, columns: Iterable[str]) -> int:
        """Return the height at which a line meets the first of these columns; the name's where none is shown."""
        names = [line.column.name for line in self.lines]
        found = [names.index(column) for column in columns if column in names]
        return self.y + (HEAD + min(found) * ROW + ROW // 2 if found else HEAD // 2)


@dataclass
class Part:
    """What stands together: tables that are connected, or all of a schema."""

    width: int
    height: int
    boxes: list[Box]
    frames: list[Frame] = field(default_factory=list)
    bends: dict[tuple[Key, Key], list[Bend]] = field(default_factory=dict)
    x: int = 0
    y: int = 0

    def move(self, x: int, y: int) -> None:
        """Have all of it stand further right and down."""
        bends = (bend for found in self.bends.values() for bend in found)
        every: Iterable[Box | Frame | Bend] = (*self.boxes, *self.frames, *bends)
        for each in every:
            each.x += x
            each.y += y


@dataclass
class Bend:
    """Where a line passes a layer that it does not end in: level from x on."""

    x: int
    y: int
    width: int


@dataclass
class Frame:
    """Around the tables of a schema."""

    title: str
    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True)
class Layout:
    """A diagram before it is drawn."""

    width: int
    height: int
    boxes: dict[Key, Box]
    frames: list[Frame]
    references: list[Reference]
    """Those that are lines."""
    bends: dict[tuple[Key, Key], list[Bend]]
    """From left to right, by the tables that a line connects: the pointed to first."""
    named: list[Key]
    """Tables that are named at the columns that point to them."""


def laid_out(schema: Schema) -> Layout:
    """Place all tables of a schema."""
    large = len(schema.tables) > LARGE
    lines, named = drawn(schema, large=large)
    boxes = {box.key: box for box in sized(schema, lines, large=large)}
    groups = defaultdict[str, list[Box]](list)
    for box in boxes.values():
        groups[box.table.schema if large else ""].append(box)
    framed = len(groups) > 1
    parts = [group(name if framed else "", found, lines) for name, found in sorted(groups.items())]
    whole = packed(parts, BETWEEN)
    bends = {pair: found for part in whole for pair, found in part.bends.items()}
    return Layout(
        max((part.x + part.width for part in whole), default=0),
        max((part.y + part.height for part in whole), default=0),
        boxes,
        [frame for part in whole for frame in part.frames],
        lines,
        bends,
        named,
    )


def drawn(schema: Schema, *, large: bool) -> tuple[list[Reference], list[Key]]:
    """Return which foreign keys are lines, and to which tables there would be too many."""
    if not large:
        return list(schema.references), []
    pointing = defaultdict[Key, set[Key]](set)
    for each in schema.references:
        if source(each) != goal(each):
            pointing[goal(each)].add(source(each))
    named = sorted(key for key, found in pointing.items() if len(found) > MANY)
    return [each for each in schema.references if each.schema == each.to_schema and goal(each) not in named], named


def source(reference: Reference) -> Key:
    return (reference.schema, reference.table)


def goal(reference: Reference) -> Key:
    return (reference.to_schema, reference.to_table)


def sized(schema: Schema, lines: Sequence[Reference], *, large: bool) -> Iterator[Box]:
    """Yield the box of each table, with the rows that it shows."""
    several = len({table.schema for table in schema.tables}) > 1
    by_table = defaultdict[Key, list[Reference]](list)
    for each in schema.references:
        by_table[source(each)].append(each)
    shown = set(lines)
    for table in schema.tables:
        pointing = {column: each for each in reversed(by_table[table.schema, table.name]) for column in each.columns}
        rows = [
            Line(
                column,
                " ".join(["PK"] * column.is_key + ["FK"] * (column.name in pointing)),
                *told(pointing.get(column.name), shown),
            )
            for column in table.columns
            if not large or column.is_key or column.name in pointing
        ][:MOST_ROWS]
        title = short(f"{table.schema}.{table.name}" if several and not large else table.name)
        left_out = len(table.columns) - len(rows)
        starts = [0]
        for part in range(len(PARTS)):
            widest = max((cells(parts_of(row)[part]) for row in rows), default=0)
            starts.append(starts[-1] + (widest + 1 if widest else 0))
        width = round(max(cells(title), starts[-1] - 1, MORE if left_out else 0) * CHAR) + 2 * PAD
        height = HEAD + ROW * (len(rows) + bool(left_out)) + 6
        loops = any(source(each) == goal(each) and each in shown for each in by_table[table.schema, table.name])
        yield Box(table, title, rows, left_out, width, height, starts, LOOP if loops else 0)


def told(reference: Reference | None, shown: set[Reference]) -> tuple[str, Key | None]:
    """Return the table that is named at a column, since no line leads to it."""
    if reference is None or reference in shown:
        return "", None
    prefix = "" if reference.schema == reference.to_schema else f"{reference.to_schema}."
    return f"→ {prefix}{reference.to_table}", goal(reference)


def parts_of(line: Line) -> list[str]:
    """Return the texts of a row, those of PARTS; a type with a ? where it may be null."""
    column = line.column
    return [line.keys, short(column.name), short(column.type) + "?" * (not column.is_required), short(line.to)]


def short(text: str) -> str:
    """Return a text that is no wider than LONGEST."""
    if cells(text) <= LONGEST:
        return text
    while cells(text) > LONGEST - 1:
        text = text[:-1]
    return f"{text}…"


def cells(text: str) -> int:
    """Return how many letters' room a text takes: two for those of East Asia, none for marks on a letter."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def group(title: str, boxes: Sequence[Box], lines: Sequence[Reference]) -> Part:
    """Place tables beside each other: those that are connected in layers, the others in rows, all within a frame if it has a title."""
    own = {box.key for box in boxes}
    edges = sorted({(goal(each), source(each)) for each in lines if goal(each) != source(each) and source(each) in own})
    found, alone = connected([box.key for box in boxes], edges)
    by_key = {box.key: box for box in boxes}
    parts = [layered([by_key[key] for key in keys], [edge for edge in edges if edge[0] in keys]) for keys in found]
    if alone:
        single = [Part(by_key[key].width + by_key[key].beside, by_key[key].height, [by_key[key]]) for key in alone]
        parts.append(merged(packed(single, DOWN)))
    part = merged(packed(parts, BETWEEN))
    if title:
        side, head = 18, 34
        part.move(side, head)
        width = max(part.width, round(cells(title) * CHAR * 1.3)) + 2 * side
        part.width, part.height = width, part.height + head + side
        part.frames.append(Frame(title, 0, 0, part.width, part.height))
    return part


def connected(keys: Sequence[Key], edges: Sequence[tuple[Key, Key]]) -> tuple[list[list[Key]], list[Key]]:
    """Return the tables that are connected, the most first, and those that nothing connects."""
    beside = defaultdict[Key, list[Key]](list)
    for one, other in edges:
        beside[one].append(other)
        beside[other].append(one)
    seen, found = set[Key](), list[list[Key]]()
    for key in keys:
        waiting, component = [key], list[Key]()
        while waiting:
            each = waiting.pop()
            if each not in seen:
                seen.add(each)
                component.append(each)
                waiting += beside[each]
        if component:
            found.append(sorted(component))
    found.sort(key=lambda component: (-len(component), component))
    return [each for each in found if len(each) > 1], [each[0] for each in found if len(each) == 1]


def acyclic(keys: Sequence[Key], edges: Iterable[tuple[Key, Key]]) -> list[tuple[Key, Key]]:
    """Return edges without a circle: one that would close it goes the other way round."""
    after = defaultdict[Key, list[Key]](list)
    for one, other in edges:
        after[one].append(other)
    kept, state = set[tuple[Key, Key]](), dict[Key, int]()
    for start in keys:
        if start in state:
            continue
        state[start], path = 1, [(start, iter(after[start]))]
        while path:
            key, rest = path[-1]
            for other in rest:
                kept.add((other, key) if state.get(other) == 1 else (key, other))
                if other not in state:
                    state[other] = 1
                    path.append((other, iter(after[other])))
                    break
            else:
                state[key] = 2
                path.pop()
    return sorted(kept)


def layered(boxes: Sequence[Box], edges: Sequence[tuple[Key, Key]]) -> Part:
    """Place tables that are connected; the edges lead from the table that is pointed to."""
    from grandalf.graphs import Edge, Vertex, graph_core
    from grandalf.layouts import SugiyamaLayout, VertexViewer

    nodes = {box.key: Vertex(box) for box in boxes}
    for key, node in nodes.items():  # grandalf's layers lie above each other: what is wide there is high here
        box = node.data
        node.view = VertexViewer(box.height, box.width, key)
    directed = acyclic(sorted(nodes), edges)
    arcs = {pair: Edge(nodes[pair[0]], nodes[pair[1]]) for pair in directed}
    graph = graph_core(list(nodes.values()), list(arcs.values()))  # its Graph holds edges in a set, in no order
    sugiyama = SugiyamaLayout(graph)
    sugiyama.xspace, sugiyama.dw, sugiyama.dh = DOWN, 8, 8
    sugiyama.init_all(inverted_edges=[], optimize=True)
    for vertex, attributes in sugiyama.grx.items():
        if attributes.dummy:
            vertex.view.w = 8
    for _ in range(4):
        for _ in sugiyama.ordering_step():
            pass
    return placed(boxes, sugiyama, arcs)


def placed(boxes: Sequence[Box], sugiyama: Any, arcs: Mapping[tuple[Key, Key], Any]) -> Part:
    """Give tables and bends their place, layer by layer; one that would be too tall stands in several columns."""
    room = max(TALLEST, round(sqrt(sum((box.width + ACROSS) * (box.height + DOWN) for box in boxes))))
    high = {id(layer): sum(round(node.view.w) + DOWN for node in layer) for layer in sugiyama.layers}
    stacked = any(height > room for height in high.values())
    if not stacked:
        sugiyama.setxy()
    x, passed = 0, dict[int, Bend]()
    for layer in sugiyama.layers:
        for column in columns_of(layer, room) if stacked else [list(layer)]:
            width = max([node.data.width for node in column if hasattr(node, "data")], default=0)
            y = -sum(round(node.view.w) + DOWN for node in column) // 2
            for node in column:
                size = round(node.view.w)
                middle = y + size // 2 if stacked else round(node.view.xy[0])
                y += size + DOWN
                if hasattr(node, "data"):
                    node.data.x, node.data.y = x, middle - size // 2
                else:
                    passed[id(node)] = Bend(x, middle, width)
            x += width + ACROSS
    bends = {
        pair: [passed[id(node)] for _, node in sorted(sugiyama.ctrls[arc].items()) if id(node) in passed]
        for pair, arc in arcs.items()
        if arc in sugiyama.ctrls
    }
    part = Part(0, 0, list(boxes), bends=bends)
    every = [bend for found in bends.values() for bend in found]
    top = min([*(box.y for box in boxes), *(bend.y for bend in every)])
    part.move(0, -top)
    part.width = max(box.x + box.width + box.beside for box in boxes)
    part.height = max([*(box.y + box.height for box in boxes), *(bend.y for bend in every)])
    return part


def columns_of(layer: Sequence[Any], room: int) -> list[list[Any]]:
    """Return a layer in as many columns as it needs, as high as each other."""
    total = sum(round(node.view.w) + DOWN for node in layer)
    each = total / -(-total // room)
    columns, high = [list[Any]()], 0
    for node in layer:
        if columns[-1] and high + node.view.w / 2 > each:
            columns.append([])
            high = 0
        columns[-1].append(node)
        high += round(node.view.w) + DOWN
    return columns


def packed(parts: Sequence[Part], space: int) -> list[Part]:
    """Place parts in rows, so that all together is about as wide as a screen is; the highest stand first."""
    order = sorted(parts, key=lambda part: -part.height)
    room = max(
        [
            *(part.width for part in parts),
            round(sqrt(1.7 * sum((p.width + space) * (p.height + space) for p in parts))),
        ],
        default=0,
    )
    x = y = tall = 0
    for part in order:
        if x and x + part.width > room:
            x, y, tall = 0, y + tall + space, 0
        part.x, part.y = x, y
        part.move(x, y)
        x, tall = x + part.width + space, max(tall, part.height)
    return order


def merged(parts: Sequence[Part]) -> Part:
    """Return parts that have their places as one."""
    return Part(
        max((part.x + part.width for part in parts), default=0),
        max((part.y + part.height for part in parts), default=0),
        [box for part in parts for box in part.boxes],
        [frame for part in parts for frame in part.frames],
        {pair: found for part in parts for pair, found in part.bends.items()},
    )
