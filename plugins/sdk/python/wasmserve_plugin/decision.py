"""What a policy decides: the contract's own types, with builders."""

from typing import Self, TypeAlias

from wit_world.exports import guest

# The outcomes that a header change applies to, told by the final status: `FOUND` (2xx and 304), `REDIRECTED` (other 3xx),
# `MISSING` (404 and 410), `FAILED` (other 4xx, and 5xx). Combined by `|`.
Outcomes = guest.Outcomes

# Whether caches between the server and its clients may reuse the response for others. `DERIVED`: the server derives it
# from the questions that were asked. `ALLOWED`: the decision does not change the content, whoever asks (a rate limit,
# say); it needs the operator's grant.
Sharing = guest.Sharing

_REASONS = {
    400: " Bad Request",
    401: " Unauthorized",
    403: " Forbidden",
    404: " Not Found",
    405: " Method Not Allowed",
    410: " Gone",
    429: " Too Many Requests",
    451: " Unavailable For Legal Reasons",
    503: " Service Unavailable",
}


def proceed() -> "Changes":
    """Lets the request go on, to the next policy and from the last one to the file. As it is, unless changed:

    return proceed().paths("/about.html").header("Cache-Control", "max-age=60")
    """
    return Changes()


def respond(status: int) -> "Response":
    """Answers the request with this status (200 to 599, but not 206, 304 or 416, which need a file), without headers or
    body until they are added."""
    return Response(status)


def deny(status: int) -> "Response":
    """Refuses the request with a status such as 403, 404 or 429 and one line of text that says no more than the
    status."""
    return respond(status).text(f"{status}{_REASONS.get(status, '')}\n")


def redirect(status: int, location: str) -> "Response":
    """Sends the client elsewhere with 301, 302, 303, 307 or 308. `location` is a URL reference (RFC 9110, section 10.2.2):
    a path of this site has to be encoded for it by `wasmserve_plugin.path.encode`."""
    return respond(status).header("Location", location)


def unauthorized(realm: str) -> "Response":
    """Asks for a user name and a password (RFC 7617): 401 with `WWW-Authenticate: Basic`. The realm is what browsers show.
    For another scheme use `deny(401)` with a `WWW-Authenticate` of its own."""
    # A quoted-string (RFC 9110, section 5.6.4).
    quoted = realm.replace("\\", "\\\\").replace('"', '\\"')
    return deny(401).header("WWW-Authenticate", f'Basic realm="{quoted}", charset="UTF-8"')


class HeaderChange:
    """A change to a response header."""

    def __init__(self, operation: guest.HeaderOperation, name: str, value: str) -> None:
        self._change = guest.HeaderChange(operation, name, value, Outcomes(0), [])

    @classmethod
    def set(cls, name: str, value: str) -> Self:
        """Replaces every field of this name by one with this value."""
        return cls(guest.HeaderOperation.SET, name, value)

    @classmethod
    def append(cls, name: str, value: str) -> Self:
        """Adds a field of this name, whatever is there already."""
        return cls(guest.HeaderOperation.APPEND, name, value)

    @classmethod
    def remove(cls, name: str) -> Self:
        """Removes every field of this name."""
        return cls(guest.HeaderOperation.REMOVE, name, "")

    def when(self, outcomes: guest.Outcomes) -> Self:
        """Only for these outcomes, such as `Outcomes.FOUND | Outcomes.MISSING`. Declared rather than asked, because the
        decision falls before the file is looked up."""
        self._change.when = outcomes
        return self

    def types(self, *types: str) -> Self:
        """Only for these media types, such as `text/html`, or `image/*` for all of a type."""
        self._change.types = list(types)
        return self


class Changes:
    """Let the request go on, with changes. Made by `proceed`."""

    def __init__(self) -> None:
        self._changes = guest.Changes([], None, None, [], [], Sharing.DERIVED, None)

    def paths(self, *paths: str) -> Self:
        """Serves the first of these paths that exists. Canonical paths, as `Request.path` gives them: decoded, beginning
        with `/`. Replaces what earlier policies mapped."""
        self._changes.paths = list(paths)
        return self

    def place(self, root: str, directory: str) -> Self:
        """Looks the paths up beneath a directory (a canonical path, `/` for all of it) of a root that the operator named.
        Nothing outside of the directory can be reached, by links either."""
        self._changes.place = guest.Place(root, directory)
        return self

    def missing(self, status: int, *paths: str) -> Self:
        """What is sent when no path exists: the first of these that does, with 404 or 410, or with 200 for a single-page
        application that shows its own pages."""
        self._changes.missing = guest.Missing(list(paths), status)
        return self

    def missing_redirect(self, status: int, location: str) -> Self:
        """Redirects when no path exists: to `location`, with 301, 302, 303, 307 or 308. A file that is there is served.
        Replaces what was said of missing files before, as `missing` does."""
        return self.missing(status).change(HeaderChange.set("Location", location).when(Outcomes.REDIRECTED))

    def header(self, name: str, value: str) -> Self:
        """Sets a response header, whatever the outcome: shorthand for `change` with `HeaderChange.set`."""
        return self.change(HeaderChange.set(name, value))

    def append_header(self, name: str, value: str) -> Self:
        """Adds a response header beside others of its name."""
        return self.change(HeaderChange.append(name, value))

    def remove_header(self, name: str) -> Self:
        """Removes every response header of this name."""
        return self.change(HeaderChange.remove(name))

    def change(self, change: HeaderChange) -> Self:
        """Changes a response header, perhaps only for some outcomes or media types. Changes are applied in order to
        whatever the request leads to, a 404 and a later policy's refusal too."""
        self._changes.headers.append(change._change)
        return self

    def fact(self, name: str, value: str) -> Self:
        """Establishes something about the request for later policies and the log, such as `user`. The manifest's
        `facts.establishes` has to list the name."""
        self._changes.facts.append((name, value))
        return self

    def pace(self, bytes_per_second: int) -> Self:
        """The most bytes of body a second for this response, at least 1. The lowest of the chain counts."""
        self._changes.pace = bytes_per_second
        return self

    def sharing(self, sharing: guest.Sharing) -> Self:
        """What caches may do. `Sharing.DERIVED` unless set; `Sharing.ALLOWED` needs the operator's grant."""
        self._changes.sharing = sharing
        return self

    def _to_contract(self) -> guest.Decision:
        return guest.Decision_Proceed(self._changes)


class Response:
    """An answer of the policy's own. Made by `respond`, `deny`, `redirect` and `unauthorized`."""

    def __init__(self, status: int) -> None:
        self._response = guest.Response(status, [], b"", Sharing.DERIVED)

    def header(self, name: str, value: str) -> Self:
        """Adds a header field."""
        self._response.headers.append(guest.Header(name, value))
        return self

    def body(self, media_type: str, body: bytes | str) -> Self:
        """The body (at most 256 KiB) and its media type."""
        self._response.body = body.encode() if isinstance(body, str) else body
        return self.header("Content-Type", media_type)

    def text(self, text: str) -> Self:
        """A body of plain text."""
        return self.body("text/plain; charset=utf-8", text)

    def html(self, html: str) -> Self:
        """A body of HTML."""
        return self.body("text/html; charset=utf-8", html)

    def sharing(self, sharing: guest.Sharing) -> Self:
        """What caches may do. `Sharing.DERIVED` unless set; `Sharing.ALLOWED` needs the operator's grant."""
        self._response.sharing = sharing
        return self

    def _to_contract(self) -> guest.Decision:
        return guest.Decision_Respond(self._response)


Decision: TypeAlias = Changes | Response
