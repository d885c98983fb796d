"""Blocks of addresses in a configuration."""

import ipaddress


def check_network(text: str) -> str | None:
    """What is wrong with a CIDR block (RFC 4632, RFC 4291) or a single address that an operator configures, to be put behind
    it; `None` when `Request.client_within` takes it without trapping."""
    address, slash, length = text.partition("/")
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        parsed = None
    # A zone is no part of an address that a client has.
    if parsed is None or "%" in address:
        return "is neither an address nor a CIDR block such as 10.0.0.0/8 or 2001:db8::/32"
    # Clients' addresses are compared in their canonical form, which such a block would never hold.
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        return "is an IPv4 address in IPv6 form: write it as IPv4"
    bits = parsed.max_prefixlen
    # Digits, without a sign or leading zeros.
    if slash and length not in map(str, range(bits + 1)):
        return f"has a length that is not 0 to {bits}"
    return None
