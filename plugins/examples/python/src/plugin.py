"""The policy `members`, as ../README.md specifies it."""

import re

from wasmserve_plugin import (
    Changes,
    Config,
    Decision,
    HeaderChange,
    Mistakes,
    Outcomes,
    Policy,
    Request,
    Response,
    Sharing,
    deny,
    export,
    proceed,
    redirect,
    respond,
)
from wasmserve_plugin.path import encode


class Members(Policy):
    def __init__(self, config: Config) -> None:
        config.only("prefix", "members", "office", "closes", "pace", "shared")
        mistakes = Mistakes()
        self.prefix = config.required("prefix")
        mistakes.check_prefixes("prefix", [self.prefix])
        self.members = members(config, mistakes)
        self.office = config.strings("office") or []
        mistakes.check_networks("office", self.office)
        self.closes = config.parsed("closes", whole)
        self.pace = config.parsed("pace", whole)
        self.sharing = Sharing.ALLOWED if config.boolean("shared") else Sharing.DERIVED
        mistakes.check()
        self.directory = self.prefix.removesuffix("/")

    def decide(self, request: Request) -> Decision:
        if not request.reaches(self.prefix):
            link = HeaderChange.append("Link", f'<{encode(self.prefix)}>; rel="related"')
            return proceed().change(link.when(Outcomes.FOUND | Outcomes.MISSING).types("text/html"))
        if request.method() not in ("GET", "HEAD"):
            return deny(405).header("Allow", "GET, HEAD")
        if self.closes is not None and not request.before(self.closes):
            return respond(410).html("<!doctype html><title>Closed</title>\n").sharing(self.sharing)
        return self.signed_in(request) or self.by_token(request) or self.otherwise(request)

    def signed_in(self, request: Request) -> Decision | None:
        """Whoever an earlier policy knows."""
        user = request.fact("user")
        if user is None:
            return None
        if user == "":
            raise ValueError("the fact `user` is empty")
        return self.welcome(request, user) if user in self.members.values() else deny(403)

    def by_token(self, request: Request) -> Decision | None:
        known = self.members.get(request.cookie("member") or "")
        if known is not None:
            return self.welcome(request, known)
        authorization = request.header("authorization")
        if authorization is None:
            return None
        token = re.fullmatch("bearer +([^ ]+)", authorization, re.IGNORECASE | re.ASCII)
        member = self.members.get(token[1]) if token else None
        return self.welcome(request, member) if member is not None else challenge(', error="invalid_token"')

    def otherwise(self, request: Request) -> Decision:
        invite = request.query_parameter("invite")
        if invite is not None and invite in self.members:
            return (
                redirect(303, encode(request.path()))
                .header("Set-Cookie", f"member={invite}; Path={encode(self.prefix)}; HttpOnly; SameSite=Lax")
                .header("Cache-Control", "no-store")
            )
        if request.client_within_any(self.office):
            return proceed().fact("member", "office").sharing(self.sharing)
        return challenge("")

    def welcome(self, request: Request, name: str) -> Changes:
        """What a member gets."""
        cached = HeaderChange.set("Cache-Control", "private, max-age=60").when(Outcomes.FOUND).types("text/html")
        changes = (
            proceed()
            .fact("member", name)
            .header("X-Member", name)
            .change(cached)
            .remove_header("X-Powered-By")
            .missing(404, f"{self.directory}/missing.html")
        )
        if request.path().removesuffix("/") == self.directory:
            changes.paths(f"{self.directory}/{name}.html", f"{self.directory}/index.html")
        return changes if self.pace is None else changes.pace(self.pace)


def challenge(more: str) -> Response:
    return respond(401).header("WWW-Authenticate", f'Bearer realm="members"{more}').text("Members only.\n")


def members(config: Config, mistakes: Mistakes) -> dict[str, str]:
    """The names of members by their tokens."""
    table = config.json("members") or {}
    if not table:
        mistakes.note("members", "is empty: nobody would be a member")
    known: dict[str, str] = {}
    for name in sorted(table):
        token = table[name]
        if not re.fullmatch("[a-z0-9-]+", name):
            mistakes.note_text("members", name, "is no name: expected a to z, 0 to 9 and `-`")
        elif not isinstance(token, str) or not re.fullmatch("[A-Za-z0-9._~-]{8,}", token):
            mistakes.note_text("members", name, "has no token of 8 or more letters, digits, `-`, `.`, `_` and `~`")
        elif token in known:
            mistakes.note_text("members", name, "has the token of another member")
        else:
            known[token] = name
    return known


def whole(text: str) -> int:
    if not re.fullmatch("[0-9]+", text):
        raise ValueError("expected a whole number")
    return int(text)


Guest = export(Members)
