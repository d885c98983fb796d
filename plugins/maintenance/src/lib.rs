//! Closes the site for maintenance to everyone but a few. README.md is the reference.
//!
//! The order of events: is it over (`until`)? Is the path beneath a prefix? Is the client's address or cookie one of those
//! who are let in? Everybody else gets 503, which is never kept and never cached.
#![forbid(unsafe_code)]

use serde::Deserialize;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use subtle::ConstantTimeEq;
use wasmserve_plugin::{Config, Decision, Mistakes, Network, Policy, Request, Response, is_token, proceed, respond};

struct Maintenance {
    prefixes: Vec<String>,
    allow: Vec<Network>,
    cookie: Option<Cookie>,
    /// Seconds since 1970.
    until: Option<u64>,
    closed: Response,
}

wasmserve_plugin::export!(Maintenance);

/// A cookie that lets in.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cookie {
    name: String,
    value: String,
}

/// What the operator configured.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Written {
    #[serde(default = "whole_site")]
    prefixes: Vec<String>,
    #[serde(default)]
    allow: Vec<String>,
    cookie: Option<Cookie>,
    until: Option<String>,
    retry_after: Option<u32>,
    page: Option<String>,
}

fn whole_site() -> Vec<String> {
    vec!["/".to_owned()]
}

/// The fewest characters of a cookie's value: it is a password.
const SHORTEST_SECRET: usize = 16;

/// The contract's limit of a body.
const LONGEST_PAGE: usize = 256 << 10;

const PAGE: &str = "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\">\
    <meta name=\"viewport\" content=\"width=device-width\"><title>Maintenance</title>\n\
    <h1>Down for maintenance</h1>\n<p>Please come back later.</p></html>\n";

impl Policy for Maintenance {
    fn configure(config: &Config) -> Result<Self, String> {
        let written: Written = config.read()?;
        let mut mistakes = Mistakes::default();
        mistakes.check_prefixes("prefixes", &written.prefixes);
        let allow = mistakes.parse_all("allow", &written.allow);
        if let Some(cookie) = &written.cookie {
            if !is_token(&cookie.name) {
                mistakes.note("cookie", "has no name that a cookie can have");
            }
            let sendable = cookie
                .value
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && !b"\",;\\".contains(&byte));
            if cookie.value.len() < SHORTEST_SECRET || !sendable {
                mistakes.note(
                    "cookie",
                    format_args!("has a value that can be guessed or not be sent: expected {SHORTEST_SECRET} or more letters and digits"),
                );
            }
        }
        let until = written.until.as_deref().and_then(|text| {
            let parsed = humantime::parse_rfc3339(text);
            mistakes.take(
                "until",
                text,
                parsed.map_err(|_| "is no time: expected one in UTC such as \"2026-11-20T18:00:00Z\""),
            )
        });
        if until.is_some() && written.retry_after.is_some() {
            mistakes.note(
                "retry-after",
                "means nothing beside `until`, which says when to come back",
            );
        }
        let page = written.page.unwrap_or_else(|| PAGE.to_owned());
        if page.len() > LONGEST_PAGE {
            mistakes.note(
                "page",
                format_args!("has {} bytes: at most {LONGEST_PAGE} are sent", page.len()),
            );
        }
        mistakes.check()?;
        let retry_after = match until {
            Some(until) => httpdate::fmt_http_date(until),
            None => written.retry_after.unwrap_or(3600).to_string(),
        };
        Ok(Self {
            prefixes: written.prefixes,
            allow,
            cookie: written.cookie,
            until: until.map(unix_seconds),
            closed: respond(503)
                .header("Retry-After", retry_after)
                .header("Cache-Control", "no-store")
                .html(page),
        })
    }

    fn decide(&self, request: &Request) -> Result<Decision, String> {
        let over = self.until.is_some_and(|until| !request.before(until));
        if over || !request.reaches_any(&self.prefixes) || self.lets_in(request) {
            return Ok(proceed().into());
        }
        Ok(self.closed.clone().into())
    }
}

impl Maintenance {
    fn lets_in(&self, request: &Request) -> bool {
        let shown = |cookie: &Cookie| {
            let sent = request.cookie(&cookie.name).unwrap_or_default();
            bool::from(sent.as_bytes().ct_eq(cookie.value.as_bytes()))
        };
        request.client_within_any(&self.allow) || self.cookie.as_ref().is_some_and(shown)
    }
}

fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;
    use wasmserve_plugin::testing::{self, Question, configure};

    const COOKIE: (&str, &str) = ("cookie", r#"{"name": "preview", "value": "0123456789abcdef"}"#);

    fn is_closed(policy: &Maintenance, request: &testing::Request) -> bool {
        match request.decide(policy).unwrap() {
            Decision::Proceed(changes) => {
                assert_eq!(changes, proceed());
                false
            }
            Decision::Respond(response) => {
                assert_eq!(response.status, 503);
                true
            }
        }
    }

    #[test]
    fn closed_but_for_a_few() {
        let policy: Maintenance = configure([("allow", r#"["10.0.0.0/8", "::1"]"#), COOKIE]).unwrap();
        for (address, cookie, closed) in [
            ("192.0.2.1", "", true),
            ("10.1.1.1", "", false),
            ("::1", "", false),
            ("192.0.2.1", "preview=0123456789abcdef", false),
            ("192.0.2.1", "preview=0123456789abcde", true),
            ("192.0.2.1", "preview=", true),
            ("192.0.2.1", "other=0123456789abcdef", true),
        ] {
            let request = testing::Request::get("/")
                .client(address.parse::<IpAddr>().unwrap())
                .header("Cookie", cookie);
            assert_eq!(is_closed(&policy, &request), closed, "{address} {cookie}");
        }
    }

    #[test]
    fn the_answer() {
        let policy: Maintenance = configure([("retry-after", "120"), ("page", "<p>Soon.</p>")]).unwrap();
        let expected = respond(503)
            .header("Retry-After", "120")
            .header("Cache-Control", "no-store")
            .html("<p>Soon.</p>");
        assert_eq!(testing::Request::new("POST", "/a").decide(&policy), Ok(expected.into()));
    }

    #[test]
    fn it_ends_by_itself() {
        let policy: Maintenance = configure([("until", "2026-11-20T18:00:00Z")]).unwrap();
        let end = 1_795_197_600;
        let during = testing::Request::get("/").now(end - 1);
        let Decision::Respond(response) = during.decide(&policy).unwrap() else {
            panic!("open");
        };
        assert_eq!(response.headers[0].value, "Fri, 20 Nov 2026 18:00:00 GMT");
        assert_eq!(during.asked()[0], Question::Before(end));
        let after = testing::Request::get("/").now(end);
        assert!(!is_closed(&policy, &after));
        assert_eq!(after.asked(), [Question::Before(end)]);
    }

    #[test]
    fn only_beneath_the_prefixes() {
        let policy: Maintenance = configure([("prefixes", r#"["/shop/"]"#)]).unwrap();
        for (path, target, closed) in [
            ("/shop", "/shop", true),
            ("/shop/a", "/shop/a", true),
            ("/shops", "/shops", false),
            ("/", "/", false),
            ("/a", "/shop/a", true),
        ] {
            let request = testing::Request::get(path).targets([target]);
            assert_eq!(is_closed(&policy, &request), closed, "{path} {target}");
        }
    }

    #[test]
    fn mistakes_in_the_configuration() {
        for (key, text) in [
            ("prefixes", "[]"),
            ("allow", r#"["10.0.0.0/33"]"#),
            ("cookie", r#"{"name": "a", "value": "short"}"#),
            ("cookie", r#"{"name": "", "value": "0123456789abcdef"}"#),
            ("cookie", r#"{"name": "a", "value": "0123456789 abcdef"}"#),
            ("cookie", "a"),
            ("until", "tomorrow"),
            ("until", "2026-11-20T18:00:00+01:00"),
            ("retry-after", "soon"),
            ("retry_after", "1"),
        ] {
            let error = configure::<Maintenance>([(key, text)]).err();
            assert!(
                error.as_ref().is_some_and(|error| error.contains(&format!("`{key}`"))),
                "{key}={text}: {error:?}"
            );
        }
        assert!(configure::<Maintenance>([("until", "2026-11-20T18:00:00Z"), ("retry-after", "1")]).is_err());
    }
}
