"""`Request`: the questions that a policy may ask."""

from collections.abc import Sequence

from wit_world.imports import clock
from wit_world.imports import request as questions

from .path import covers


class Request:
    """The request that is being decided.

    Nothing of the request is handed over: each method asks the server. **What you ask is what your decision depends on.**
    The server keeps the questions, their answers and the decision, and does not run the policy again for requests that
    would answer the same. So ask as little as decides, ask the narrowest question (`cookie` rather than
    `header("cookie")`, `client_within` rather than `client_address`, `before` rather than `now`), and ask it only on the
    branch that needs it.

    Request headers that were asked add themselves to `Vary`; credentials, cookies and the client's address make the
    response private to this client (see `Sharing`).

    Answers do not change while a request is being decided.
    """

    def method(self) -> str:
        """The method as sent, case-sensitive (RFC 9110, section 9.1), such as `GET`."""
        return questions.method()

    def path(self) -> str:
        """The path that the client asked for, in canonical form: percent-decoded once, begins with `/`, no empty, `.` or
        `..` segment, no control character, no backslash. One trailing `/` is kept and means a directory.

        A guard must look at the `targets` as well: see `reaches`.
        """
        return questions.path()

    def targets(self) -> list[str]:
        """The paths that the request is mapped to so far, most wanted first: the path alone until an earlier policy of
        the chain gave others. One of these is what will be served."""
        return questions.targets()

    def reaches(self, prefix: str) -> bool:
        """Whether the path, or anything that it is mapped to so far, is `prefix` or beneath it: what a guard asks, because
        mapping then cannot lead around it. Whole segments, as `covers` compares them."""
        return self.reaches_any([prefix])

    def reaches_any(self, prefixes: Sequence[str]) -> bool:
        """Whether the request reaches one of these prefixes. Asks the path once, and the targets only when the path is
        beneath none."""

        def covered(path: str) -> bool:
            return any(covers(prefix, path) for prefix in prefixes)

        return covered(self.path()) or any(map(covered, self.targets()))

    def query(self) -> str | None:
        """The raw query, without `?`, exactly as sent. `None` when the request has no `?`; `""` when nothing follows
        it."""
        return questions.query()

    def query_parameter(self, name: str) -> str | None:
        """The first value of a query parameter, decoded as `application/x-www-form-urlencoded` (WHATWG URL, section
        5.1)."""
        return questions.query_parameter(name)

    def query_parameter_values(self, name: str) -> list[str]:
        """Every value of a query parameter, in order, decoded as by `query_parameter`."""
        return questions.query_parameter_values(name)

    def header(self, name: str) -> str | None:
        """A request header by its case-insensitive name. Repeated fields are joined by `, ` (`cookie`: by `; `). Bytes
        that are not UTF-8 become U+FFFD: a field that is there is never hidden."""
        return questions.header(name)

    def header_values(self, name: str) -> list[bytes]:
        """Every value of a request header in the order received, as the bytes that were sent."""
        return questions.header_values(name)

    def cookie(self, name: str) -> str | None:
        """The value of the first cookie of this name (RFC 6265, section 5.4), without surrounding quotes, not decoded."""
        return questions.cookie(name)

    def scheme(self) -> str:
        """`http` or `https`: how the client reached the server."""
        return questions.scheme()

    def host(self) -> str:
        """The host that the client named: lower case, without a port and without a final dot."""
        return questions.host()

    def site(self) -> str:
        """The name of the configured site that serves the request."""
        return questions.site()

    def client_address(self) -> str | None:
        """The client's address in the form of RFC 5952, IPv4-mapped addresses as IPv4; `None` on a Unix socket. Every
        client is then decided anew: prefer `client_within`."""
        return questions.client_address()

    def client_within(self, cidr: str) -> bool:
        """Whether the client's address lies within a block such as `10.0.0.0/8`, `2001:db8::/32` or a single address.
        `False` on a Unix socket. Traps when `cidr` is neither, because a mistyped network must not silently admit or
        refuse: check what an operator configures by `check_network`."""
        return questions.client_within(cidr)

    def client_within_any(self, networks: Sequence[str]) -> bool:
        """Whether the client's address lies within one of these. Asks them in order until one holds the address."""
        return any(self.client_within(network) for network in networks)

    def fact(self, name: str) -> str | None:
        """What an earlier policy of the chain established about the request, such as `user`, or what the server knows
        (names that begin with `wasmserve.` or `tls.`). Traps unless the manifest's `facts.reads` lists the name."""
        return questions.fact(name)

    def now(self) -> int:
        """When the request arrived, in seconds since 1970-01-01T00:00:00Z. A decision that asked this is never reused:
        prefer `before`."""
        return clock.now()

    def before(self, unix_seconds: int) -> bool:
        """Whether the request arrived before this moment, in seconds since 1970-01-01T00:00:00Z. The decision is reused
        for as long as the answer stays the same, and caches keep the response no longer than until then."""
        return clock.before(unix_seconds)
