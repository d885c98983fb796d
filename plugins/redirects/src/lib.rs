//! Redirects and rewrites by the rules of a `_redirects` file. README.md is the reference.
//!
//! The order of events: rules are tried from the first to the last; the first whose path, host, query and conditions match
//! counts. Of the request, only what a rule needs is asked, and only for rules whose path matches. Whether a file exists is
//! not known: a rewrite that is not forced is a candidate behind the file itself, and a redirect that is not forced is what
//! happens when nothing is found.
#![forbid(unsafe_code)]

mod condition;
mod parse;
mod rule;

use rule::{Action, Rule};
use serde::Deserialize;
use std::collections::HashMap;
use wasmserve_plugin::{Captures, Changes, Config, Decision, Mistakes, Policy, Request, deny, path, proceed, redirect};

struct Redirects {
    rules: Vec<Rule>,
    /// Which rules a path may match: those of its own, and those with placeholders. Both in the order of the file.
    exact: HashMap<String, Vec<usize>>,
    patterns: Vec<usize>,
    dialect: Dialect,
}

wasmserve_plugin::export!(Redirects);

/// Whose rules they are.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Dialect {
    #[default]
    Netlify,
    Cloudflare,
}

/// What the operator configured.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    rules: String,
    #[serde(default)]
    dialect: Dialect,
}

impl Policy for Redirects {
    fn configure(config: &Config) -> Result<Self, String> {
        let written: Written = config.read()?;
        let mut mistakes = Mistakes::default();
        let rules = parse::rules(&written.rules, written.dialect, &mut mistakes);
        mistakes.check()?;
        let mut policy = Self {
            rules,
            exact: HashMap::new(),
            patterns: Vec::new(),
            dialect: written.dialect,
        };
        for (index, rule) in policy.rules.iter().enumerate() {
            match rule.from.exact() {
                Some(path) => policy
                    .exact
                    .entry(policy.dialect.compared(path).to_owned())
                    .or_default()
                    .push(index),
                None => policy.patterns.push(index),
            }
        }
        Ok(policy)
    }

    fn decide(&self, request: &Request) -> Result<Decision, String> {
        let path = request.path();
        for rule in self.candidates(&path) {
            let Some(captures) = self.captures(rule, &path, request) else {
                continue;
            };
            if let Some(decision) = rule.decide(&captures, &path, request) {
                return Ok(decision);
            }
        }
        Ok(proceed().into())
    }
}

impl Redirects {
    /// The rules that a path may match, in the order of the file.
    fn candidates(&self, path: &str) -> impl Iterator<Item = &Rule> {
        let own = self
            .exact
            .get(self.dialect.compared(path))
            .map_or(&[][..], Vec::as_slice);
        let mut indices: Vec<usize> = own.iter().chain(&self.patterns).copied().collect();
        indices.sort_unstable();
        indices.into_iter().map(|index| &self.rules[index])
    }

    /// What the rule's placeholders stand for, when all of it matches. The narrowest questions come first.
    fn captures(&self, rule: &Rule, path: &str, request: &Request) -> Option<Captures> {
        let captures = match rule.from.exact() {
            Some(_) => Captures::default(),
            None => self.dialect.match_path(rule, path)?,
        };
        let captures = match rule.from.has_host() {
            true => captures.and(rule.from.match_host(&request.scheme(), &request.host())?),
            false => captures,
        };
        let captures = rule.parameters.iter().try_fold(captures, |captures, (name, wanted)| {
            let value = request.query_parameter(name)?;
            match wanted.strip_prefix(':') {
                Some(placeholder) => Some(captures.with(placeholder, value)),
                None => (*wanted == value).then_some(captures),
            }
        })?;
        rule.conditions
            .iter()
            .all(|condition| condition.holds(request))
            .then_some(captures)
    }
}

impl Dialect {
    /// What of a path is compared: for Netlify a slash at the end makes no difference.
    fn compared(self, path: &str) -> &str {
        match self {
            Self::Netlify if path != "/" => path.strip_suffix('/').unwrap_or(path),
            _ => path,
        }
    }

    fn match_path(self, rule: &Rule, path: &str) -> Option<Captures> {
        let matched = rule.from.match_path(path);
        match self {
            Self::Cloudflare => matched,
            Self::Netlify => matched
                .or_else(|| rule.from.match_path(&format!("{path}/")))
                .or_else(|| rule.from.match_path(self.compared(path))),
        }
    }
}

impl Rule {
    /// What follows from the rule; `None` when it would lead to where the request is.
    fn decide(&self, captures: &Captures, path: &str, request: &Request) -> Option<Decision> {
        match &self.action {
            Action::Redirect { status, forced } => {
                let location = self.location(captures, path, request)?;
                Some(match *forced || is_for_no_file(request) {
                    true => redirect(*status, location).into(),
                    false => proceed().missing_redirect(*status, location).into(),
                })
            }
            Action::Rewrite { forced } => {
                let to = self.target(captures)?;
                let candidates = match forced {
                    true => vec![to],
                    false => request.targets().into_iter().chain([to]).collect(),
                };
                Some(proceed().paths(candidates).into())
            }
            Action::Missing { status, forced: false } => {
                let changes: Changes = proceed().missing(*status, [self.target(captures)?]);
                Some(changes.into())
            }
            Action::Missing { status, forced: true } => Some(deny(*status).into()),
        }
    }

    /// Where a redirect leads. The client's query goes along unless the rule has one.
    fn location(&self, captures: &Captures, path: &str, request: &Request) -> Option<String> {
        let (before_fragment, fragment) = match self.to.split_once('#') {
            Some((before, fragment)) => (before, Some(fragment)),
            None => (self.to.as_str(), None),
        };
        let (to, query) = match before_fragment.split_once('?') {
            Some((to, query)) => (to, Some(query)),
            None => (before_fragment, None),
        };
        let mut location = captures.fill(to, path::encode);
        if location.starts_with("//") {
            // A browser would take what follows for a host.
            location = format!("/{}", location.trim_start_matches('/'));
        }
        let query = query.map(|query| captures.fill(query, rule::encode_component));
        if is_here(&location, query.as_deref(), path, request) {
            return None;
        }
        match query {
            Some(query) => location += &format!("?{query}"),
            None => location = with_query(location, request.query().as_deref()),
        }
        if let Some(fragment) = fragment {
            location += &format!("#{}", captures.fill(fragment, rule::encode_component));
        }
        Some(location)
    }

    /// The file that a rewrite names; `None` when what was captured makes no path of it.
    fn target(&self, captures: &Captures) -> Option<String> {
        let to = captures.fill(&self.to, str::to_owned);
        path::check(&to).is_ok().then_some(to)
    }
}

/// Whether no file would answer the method: a form that is sent to an address is led on.
fn is_for_no_file(request: &Request) -> bool {
    !["GET", "HEAD", "OPTIONS"].contains(&request.method().as_str())
}

/// Whether a redirect would lead to the request's own URL, and so for ever. `query`: that of the rule; without one the
/// client's goes along. The narrowest questions come first: nearly every location has another path.
fn is_here(location: &str, query: Option<&str>, path: &str, request: &Request) -> bool {
    let (origin, to) = match location.split_once("://").filter(|_| !location.starts_with('/')) {
        Some((scheme, rest)) => {
            let (authority, to) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            (Some((scheme, authority)), if to.is_empty() { "/" } else { to })
        }
        None => (None, location),
    };
    to == path::encode(path)
        && origin.is_none_or(|(scheme, authority)| is_host(scheme, authority, request))
        && query.is_none_or(|query| request.query().as_deref() == Some(query))
}

/// Whether the request came to this host. A port that is not the scheme's own is only in the field itself.
fn is_host(scheme: &str, authority: &str, request: &Request) -> bool {
    let default = if scheme == "https" { ":443" } else { ":80" };
    let authority = authority.strip_suffix(default).unwrap_or(authority);
    scheme == request.scheme()
        && match authority.contains(':') {
            true => request
                .header("host")
                .is_some_and(|host| host.eq_ignore_ascii_case(authority)),
            false => request.host().eq_ignore_ascii_case(authority),
        }
}

/// A reference and the raw query that the client sent.
fn with_query(location: String, query: Option<&str>) -> String {
    match query {
        Some(query) if !query.is_empty() => {
            let encoded = path::reference("", Some(query));
            location + &encoded
        }
        _ => location,
    }
}

#[cfg(test)]
mod tests;
