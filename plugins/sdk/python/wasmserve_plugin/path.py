"""Canonical paths: comparing, checking and encoding them."""

import re
import unicodedata
from urllib.parse import quote


def covers(prefix: str, path: str) -> bool:
    """Whether `path` is `prefix` or beneath it, by whole segments: `/private` and `/private/` both cover `/private`,
    `/private/` and `/private/a`, and neither covers `/privateer`. `/` covers everything. Case-sensitive."""
    bare = prefix.removesuffix("/")
    return path == bare or path.startswith(bare + "/")


def check(path: str) -> str | None:
    """What is wrong with a path that an operator configures, to be put behind the key's name; `None` when it is canonical,
    as `Request.path` gives it and decisions need it."""
    if not path.startswith("/"):
        return "does not begin with `/`"
    if any(unicodedata.category(character) == "Cc" or character == "\\" for character in path):
        return "has a control character or a backslash"
    segments = path[1:].removesuffix("/").split("/")
    if path != "/" and any(segment in ("", ".", "..") for segment in segments):
        return "has an empty, `.` or `..` segment"
    return None


def check_prefix(prefix: str) -> str | None:
    """What is wrong with a prefix that `covers` is to compare with; `None` when it is canonical, and neither
    percent-encoded nor a pattern. A prefix that cannot match would leave open what it was meant to guard."""
    problem = check(prefix)
    if problem is not None:
        return problem
    if "*" in prefix:
        return "is not a pattern: everything beneath a prefix is meant, so leave out `*`"
    if re.search("%[0-9A-Fa-f]{2}", prefix):
        return "is percent-encoded: prefixes are compared with decoded paths"
    return None


def encode(path: str) -> str:
    """A canonical path in the form that a URL has it (RFC 3986, section 3.3): everything but unreserved characters,
    sub-delimiters, `:`, `@` and `/` is percent-encoded."""
    return quote(path, safe="-._~!$&'()*+,;=:@/")


def reference(path: str, query: str | None) -> str:
    """What `Location` takes: a path, encoded by `encode`, and a raw query such as `Request.query` gives it, of which only
    what a URL cannot hold is encoded."""
    return encode(path) if query is None else f"{encode(path)}?{quote(query, safe="-._~!$&'()*+,;=:@/?%")}"
