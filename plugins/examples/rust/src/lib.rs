//! The policy `members`, as ../README.md specifies it.
use serde::Deserialize;
use std::collections::BTreeMap;
use wasmserve_plugin::{
    Changes, Config, Decision, HeaderChange, Mistakes, Network, Outcomes, Policy, Request, Response, Sharing, deny,
    path::encode, proceed, redirect, respond,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    prefix: String,
    #[serde(default)]
    members: BTreeMap<String, String>,
    #[serde(default)]
    office: Vec<String>,
    closes: Option<u64>,
    pace: Option<u64>,
    #[serde(default)]
    shared: bool,
}

struct Members {
    prefix: String,
    /// Names by tokens.
    members: BTreeMap<String, String>,
    office: Vec<Network>,
    closes: Option<u64>,
    pace: Option<u64>,
    sharing: Sharing,
}

impl Policy for Members {
    fn configure(config: &Config) -> Result<Self, String> {
        let settings: Settings = config.read()?;
        let mut mistakes = Mistakes::default();
        mistakes.check_prefixes("prefix", std::slice::from_ref(&settings.prefix));
        let members = members(settings.members, &mut mistakes);
        let office = mistakes.parse_all("office", &settings.office);
        mistakes.check()?;
        Ok(Self {
            prefix: settings.prefix,
            members,
            office,
            closes: settings.closes,
            pace: settings.pace,
            sharing: if settings.shared {
                Sharing::Allowed
            } else {
                Sharing::Derived
            },
        })
    }

    fn decide(&self, request: &Request) -> Result<Decision, String> {
        if !request.reaches(&self.prefix) {
            let link = format!("<{}>; rel=\"related\"", encode(&self.prefix));
            let link = HeaderChange::append("Link", link).when(Outcomes::FOUND | Outcomes::MISSING);
            return Ok(proceed().change(link.types(["text/html"])).into());
        }
        if !matches!(&*request.method(), "GET" | "HEAD") {
            return Ok(deny(405).header("Allow", "GET, HEAD").into());
        }
        if self.closes.is_some_and(|closes| !request.before(closes)) {
            let closed = respond(410).html("<!doctype html><title>Closed</title>\n");
            return Ok(closed.sharing(self.sharing).into());
        }
        if let Some(user) = request.fact("user") {
            return self.signed_in(request, &user);
        }
        Ok(self.by_token(request).unwrap_or_else(|| self.otherwise(request)))
    }
}

impl Members {
    /// Whoever an earlier policy knows.
    fn signed_in(&self, request: &Request, user: &str) -> Result<Decision, String> {
        if user.is_empty() {
            return Err("the fact `user` is empty".into());
        }
        if self.members.values().any(|name| name == user) {
            return Ok(self.welcome(request, user).into());
        }
        Ok(deny(403).into())
    }

    fn by_token(&self, request: &Request) -> Option<Decision> {
        if let Some(name) = request.cookie("member").and_then(|token| self.members.get(&token)) {
            return Some(self.welcome(request, name).into());
        }
        let authorization = request.header("authorization")?;
        Some(match bearer(&authorization).and_then(|token| self.members.get(token)) {
            Some(name) => self.welcome(request, name).into(),
            None => challenge(", error=\"invalid_token\"").into(),
        })
    }

    fn otherwise(&self, request: &Request) -> Decision {
        let invite = request.query_parameter("invite");
        if let Some(token) = invite.filter(|token| self.members.contains_key(token)) {
            let prefix = encode(&self.prefix);
            return redirect(303, encode(&request.path()))
                .header(
                    "Set-Cookie",
                    format!("member={token}; Path={prefix}; HttpOnly; SameSite=Lax"),
                )
                .header("Cache-Control", "no-store")
                .into();
        }
        if request.client_within_any(&self.office) {
            return proceed().fact("member", "office").sharing(self.sharing).into();
        }
        challenge("").into()
    }

    /// What a member gets.
    fn welcome(&self, request: &Request, name: &str) -> Changes {
        let directory = without_slash(&self.prefix);
        let cached = HeaderChange::set("Cache-Control", "private, max-age=60").when(Outcomes::FOUND);
        let mut changes = proceed()
            .fact("member", name)
            .header("X-Member", name)
            .change(cached.types(["text/html"]))
            .remove_header("X-Powered-By")
            .missing(404, [format!("{directory}/missing.html")]);
        if without_slash(&request.path()) == directory {
            changes = changes.paths([format!("{directory}/{name}.html"), format!("{directory}/index.html")]);
        }
        match self.pace {
            Some(pace) => changes.pace(pace),
            None => changes,
        }
    }
}

fn without_slash(path: &str) -> &str {
    path.strip_suffix('/').unwrap_or(path)
}

/// The token of `Bearer TOKEN`; `None` of anything else.
fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.trim_start_matches(' '))
}

fn challenge(more: &str) -> Response {
    respond(401)
        .header("WWW-Authenticate", format!("Bearer realm=\"members\"{more}"))
        .text("Members only.\n")
}

/// The names of members by their tokens.
fn members(table: BTreeMap<String, String>, mistakes: &mut Mistakes) -> BTreeMap<String, String> {
    if table.is_empty() {
        mistakes.note("members", "is empty: nobody would be a member");
    }
    let mut known = BTreeMap::new();
    for (name, token) in table {
        let letters = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        if name.is_empty() || !name.bytes().all(letters) {
            mistakes.note_text("members", &name, "is no name: expected a to z, 0 to 9 and `-`");
        } else if token.len() < 8 || !token.bytes().all(unreserved) {
            let problem = "has no token of 8 or more letters, digits, `-`, `.`, `_` and `~`";
            mistakes.note_text("members", &name, problem);
        } else if known.insert(token, name.clone()).is_some() {
            mistakes.note_text("members", &name, "has the token of another member");
        }
    }
    known
}

wasmserve_plugin::export!(Members);
