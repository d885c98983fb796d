//! Admits requests with a signed token (JWT, RFC 7519) that is valid. README.md is the reference.
//!
//! The order of events: is the path, or anything that it is mapped to, beneath a prefix? Then the token is looked for, its
//! signature is checked, and only then what it claims is read. Times are asked as `before`, so that one check of a
//! signature serves until the token expires.
#![forbid(unsafe_code)]

mod claims;
mod key;
mod settings;
mod token;

use claims::Verdict;
use settings::Settings;
use token::Token;
use wasmserve_plugin::{Config, Decision, Policy, Request, Response, deny, proceed};

struct Jwt(Settings);

wasmserve_plugin::export!(Jwt);

/// Where a token was found.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Elsewhere,
    /// In the URL, which caches and logs see (RFC 6750, section 2.3).
    Query,
}

impl Policy for Jwt {
    fn configure(config: &Config) -> Result<Self, String> {
        settings::read(config).map(Self)
    }

    fn decide(&self, request: &Request) -> Result<Decision, String> {
        if !request.reaches_any(&self.0.prefixes) {
            return Ok(proceed().into());
        }
        let Some((text, source)) = self.token(request) else {
            return Ok(self.challenge(401, None).into());
        };
        let verified = Token::parse(&text).filter(|token| self.0.keys.iter().any(|key| token.is_signed_by(key)));
        let verdict = match verified.and_then(|token| token.claims()) {
            Some(claims) => claims::judge(&claims, &self.0, request),
            None => Verdict::Invalid,
        };
        Ok(match verdict {
            Verdict::Valid(facts) => {
                let mut changes = facts
                    .into_iter()
                    .fold(proceed(), |changes, (name, value)| changes.fact(name, value));
                if source == Source::Query {
                    changes = changes.header("Cache-Control", "private, no-store");
                }
                changes.into()
            }
            Verdict::Invalid if source == Source::Query => {
                let refusal = self.challenge(401, Some("invalid_token"));
                refusal.header("Cache-Control", "private, no-store").into()
            }
            Verdict::Invalid => self.challenge(401, Some("invalid_token")).into(),
            Verdict::Insufficient => self.challenge(403, Some("insufficient_scope")).into(),
        })
    }
}

impl Jwt {
    /// The first token that the request has: in Authorization, then in the cookie, then in the query.
    fn token(&self, request: &Request) -> Option<(String, Source)> {
        let bearer = request.header("authorization").as_deref().and_then(bearer);
        let found = bearer.or_else(|| request.cookie(self.0.cookie.as_ref()?));
        if let Some(token) = found {
            return Some((token, Source::Elsewhere));
        }
        let token = request.query_parameter(self.0.query.as_ref()?)?;
        Some((token, Source::Query))
    }

    /// RFC 6750, section 3: without an error code when no token was sent at all.
    fn challenge(&self, status: u16, error: Option<&str>) -> Response {
        let mut challenge = format!("Bearer realm=\"{}\"", self.0.realm);
        if let Some(error) = error {
            challenge += &format!(", error=\"{error}\"");
        }
        deny(status).header("WWW-Authenticate", challenge)
    }
}

/// `Bearer`, in any case, and a token.
fn bearer(field: &str) -> Option<String> {
    let (scheme, token) = field.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.trim_matches(' ').to_owned())
}

#[cfg(test)]
mod tests;
