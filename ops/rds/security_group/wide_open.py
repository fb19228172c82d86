"""Which ranges are wide open: by our own rule, since releases of Python judge networks differently."""

from __future__ import annotations

import ipaddress

from ops.addresses import UNROUTED6, Network

WIDE = {4: 8, 6: 16}
"""A range of fewer fixed bits than this lets in strangers by the million."""


def is_wide_open(network: Network) -> bool:
    """Whether a range lets in strangers by the million: no private range of IPv4 is that large."""
    own = isinstance(network, ipaddress.IPv6Network) and any(network.subnet_of(each) for each in UNROUTED6)
    return network.prefixlen < WIDE[network.version] and not own
