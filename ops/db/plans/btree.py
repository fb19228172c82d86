"""The pages of an empty B-tree that is as high as another: the planner reads the height from its first page.

All of src/include/access/nbtree.h and storage/bufpage.h, as PostgreSQL 18 has them on 64-bit little-endian machines. The tree is whole: each level has one
page that leads to the next, the last is an empty leaf. So a scan finds nothing, where the planner looks for the least and greatest values.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence

from ops.db.pull.statistics import BTREE_MAGIC

PAGE = 8192
HEADER = struct.Struct("<QHHHHHHI")
"""LSN, checksum, flags, lower, upper, special, size and version, prune xid."""
META = struct.Struct("<6I")
"""Magic, version, root, level, fast root, level of that."""
SPECIAL = struct.Struct("<IIIHH")
"""Before, next, level, flags, cycle."""
LEAF, ROOT = 1, 2
LAYOUT = 4
"""Version of a page."""
CHECKSUM = 8
"""Where it stands in a page: two bytes."""
# A child left of all: no key, the block that it is in, and that it is a tuple of that kind
DOWNLINK = struct.Struct("<HHHH")
ALTERNATIVE = 0x2000
NORMAL = 1
USABLE, FILL = PAGE - HEADER.size - SPECIAL.size, 0.7
"""Bytes for tuples, and how full pages above the leaves are made."""


def with_height(first: bytes, height: int) -> list[bytes]:
    """Return the first pages of an index, from its own first one on: a tree of that height, without checksums.

    `height` is above 0. Raises `ValueError` where `first` is not the first page of a B-tree.
    """
    meta = bytearray(first)
    magic, version, *_ = META.unpack_from(meta, HEADER.size)
    if len(first) != PAGE or magic != BTREE_MAGIC or version != 4:
        raise ValueError(first[:64])
    META.pack_into(meta, HEADER.size, magic, version, 1, height, 1, height)
    struct.pack_into("<H", meta, CHECKSUM, 0)
    return [bytes(meta), *(page(height - below, below + 2, is_root=not below) for below in range(height + 1))]


def page(level: int, child: int, *, is_root: bool) -> bytes:
    """Return the one page of a level: with a link to the page of the next, or an empty leaf."""
    made = bytearray(PAGE)
    special = PAGE - SPECIAL.size
    lower, upper = HEADER.size, special
    if level:
        upper -= DOWNLINK.size
        DOWNLINK.pack_into(made, upper, child >> 16, child & 0xFFFF, 0, ALTERNATIVE | DOWNLINK.size)
        struct.pack_into("<I", made, lower, upper | NORMAL << 15 | DOWNLINK.size << 17)
        lower += 4
    HEADER.pack_into(made, 0, 0, 0, 0, lower, upper, special, PAGE | LAYOUT, 0)
    SPECIAL.pack_into(made, special, 0, 0, level, (0 if level else LEAF) | (ROOT if is_root else 0), 0)
    return bytes(made)


def estimated_height(blocks: int, widths: Sequence[float]) -> int:
    """Return how high a B-tree of so many pages is, by the bytes of each part of its keys that tell pages apart."""
    key = sum(max(1.0, width) for width in widths)
    tuple_size = math.ceil((8 + key) / 8) * 8 + 4
    fanout = max(2.0, USABLE * FILL / tuple_size)
    pages, height = max(1.0, (blocks - 1) * (1 - 1 / fanout)), 0
    while pages > 1:
        pages = math.ceil(pages / fanout)
        height += 1
    return height


def with_checksum(page: bytes, checksum: int) -> bytes:
    """Return a page with its checksum, a signed number as pageinspect has it."""
    made = bytearray(page)
    struct.pack_into("<h", made, CHECKSUM, checksum)
    return bytes(made)
