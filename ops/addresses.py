"""Which addresses are public, by IANA's registries of special ones and not by the running Python's copy.

Patch releases of Python judge differently (3.10.13 takes 0.0.0.0/1 for private), and a firewall rule must not
depend on that. Sources: https://www.iana.org/assignments/iana-ipv4-special-registry and
https://www.iana.org/assignments/iana-ipv6-special-registry, "Globally Reachable": false.
"""

from __future__ import annotations

import ipaddress

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_SPECIAL = (
    "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24 192.88.99.0/24"
    " 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4"
    " 2001::/23 2001:db8::/32 2002::/16 3fff::/20"
)
SPECIAL = tuple(ipaddress.ip_network(text) for text in _SPECIAL.split())
UNICAST6 = ipaddress.ip_network("2000::/3")
"""All of IPv6 that is given out as global unicast."""
UNROUTED6 = (ipaddress.IPv6Network("fc00::/7"), ipaddress.IPv6Network("fe80::/10"))
"""Of IPv6: a site's own, and a link's."""


def is_public(address: Address) -> bool:
    """Whether an address is one that the whole internet can reach."""
    if isinstance(address, ipaddress.IPv6Address) and address not in UNICAST6:
        return False
    return not any(address in known for known in SPECIAL if known.version == address.version)
