"""Addresses of the public internet are told from private ones, in whatever address they are wrapped."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_UNICAST = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052: an IPv4 address in the last 32 bits


def parse_address(text: str) -> Address:
    """Parse an address as `getaddrinfo` gives it, whose scope is left out; ValueError for anything else."""
    return ip_address(text.partition("%")[0])


def parse_networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """Parse networks such as 10.1.0.0/16, or single addresses; ValueError for anything else."""
    return tuple(ip_network(text) for text in texts)


def is_public(address: Address) -> bool:
    """Whether an address is one of the public internet, so that whoever asks gains nothing by our asking.

    Those of private networks, this host, its links, multicast, documentation and what is reserved aren't. An
    IPv4 address in an IPv6 one, mapped (RFC 4291), of 6to4 (RFC 3056) or of NAT64 (RFC 6052), counts as
    itself. Tunnels of Teredo don't count as public.
    """
    if isinstance(address, IPv4Address):
        return address.is_global and not address.is_multicast
    if address.ipv4_mapped is not None:
        return is_public(address.ipv4_mapped)
    if address in _NAT64:
        return is_public(IPv4Address(int(address) & 0xFFFFFFFF))
    if address.sixtofour is not None:
        return is_public(address.sixtofour)
    return address in _UNICAST and address.is_global and address.teredo is None


def is_allowed(address: Address, networks: Sequence[Network]) -> bool:
    """Whether an address is public, or in one of the networks that are allowed besides."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    plain = mapped or address
    return is_public(address) or any(plain.version == each.version and plain in each for each in networks)
