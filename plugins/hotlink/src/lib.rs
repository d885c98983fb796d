//! Refuses files to pages of other sites. README.md is the reference.
//!
//! The order of events: does the path, or anything that it is mapped to, match a pattern? Only then `Referer` is asked, and
//! `Origin` only where there is none. The host of the page is compared, nothing else of it.
#![forbid(unsafe_code)]

use serde::Deserialize;
use wasmserve_plugin::{Config, Decision, HostPattern, Mistakes, Pattern, Policy, Request, deny, path, proceed};

struct Hotlink {
    paths: Vec<Pattern>,
    hosts: Vec<HostPattern>,
    own_host: bool,
    empty: Empty,
    refusal: Refusal,
}

wasmserve_plugin::export!(Hotlink);

/// What becomes of requests that name no page.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
enum Empty {
    Allow,
    Deny,
}

enum Refusal {
    Status(u16),
    /// A file to send in its place.
    Instead(String),
}

/// What the operator configured.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Written {
    paths: Vec<String>,
    #[serde(default)]
    hosts: Vec<String>,
    #[serde(default = "yes")]
    own_host: bool,
    #[serde(default = "allowed")]
    empty: Empty,
    status: Option<u16>,
    instead: Option<String>,
}

fn yes() -> bool {
    true
}

fn allowed() -> Empty {
    Empty::Allow
}

impl Policy for Hotlink {
    fn configure(config: &Config) -> Result<Self, String> {
        let written: Written = config.read()?;
        let mut mistakes = Mistakes::default();
        if written.paths.is_empty() {
            mistakes.note("paths", "is empty: nothing would be guarded");
        }
        if written.hosts.is_empty() && !written.own_host {
            mistakes.note("hosts", "is empty and `own-host` is false: no page could show anything");
        }
        let paths: Vec<Pattern> = mistakes.parse_all("paths", &written.paths);
        let refusal = match (written.status, written.instead) {
            (Some(_), Some(_)) => {
                mistakes.note("status", "and `instead` are both there: give one of the two");
                Refusal::Status(403)
            }
            (None, Some(file)) => {
                mistakes.take("instead", &file, path::check(&file));
                if paths.iter().any(|pattern| pattern.matches(&file)) {
                    mistakes.note_text("instead", &file, "is guarded itself by `paths`");
                }
                Refusal::Instead(file)
            }
            (status, None) => {
                mistakes.check_refusal("status", status.unwrap_or(403));
                Refusal::Status(status.unwrap_or(403))
            }
        };
        let hosts = mistakes.parse_all("hosts", &written.hosts);
        mistakes.check()?;
        Ok(Self {
            paths,
            hosts,
            own_host: written.own_host,
            empty: written.empty,
            refusal,
        })
    }

    fn decide(&self, request: &Request) -> Result<Decision, String> {
        if !request.matches_any(&self.paths) || self.admits(request) {
            return Ok(proceed().into());
        }
        Ok(match &self.refusal {
            Refusal::Status(status) => deny(*status).into(),
            Refusal::Instead(file) => proceed().paths([file]).into(),
        })
    }
}

impl Hotlink {
    fn admits(&self, request: &Request) -> bool {
        let named = |name| request.header(name).filter(|value| !value.is_empty());
        let Some(page) = named("referer").or_else(|| named("origin")) else {
            return self.empty == Empty::Allow;
        };
        let Some(host) = host_of(&page) else { return false };
        self.hosts.iter().any(|pattern| pattern.matches(&host)) || (self.own_host && request.host() == host)
    }
}

/// The host of an http or https URL, in the form of [`Request::host`]; `None` for anything else. What stands before an `@`
/// is a user, not a host, and a backslash ends the host as browsers read it.
fn host_of(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    if !["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
        return None;
    }
    let authority = rest.split(['/', '?', '#', '\\']).next()?;
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let after_address = host.rfind(']').map_or(0, |at| at + 1);
    let end = host[after_address..]
        .find(':')
        .map_or(host.len(), |at| after_address + at);
    let host = host[..end].to_ascii_lowercase();
    let host = host.strip_suffix('.').unwrap_or(&host);
    (!host.is_empty()).then(|| host.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasmserve_plugin::testing::{self, Question, configure};

    const PATHS: (&str, &str) = ("paths", r#"["/images/**", "/**/*.mp4"]"#);
    const HOSTS: (&str, &str) = ("hosts", r#"["friend.org", "*.partner.org"]"#);

    fn request(path: &str, referer: &str) -> testing::Request {
        testing::Request::get(path)
            .host("example.com")
            .header("Referer", referer)
    }

    #[test]
    fn hosts_of_urls() {
        for (url, host) in [
            ("https://example.com/a", Some("example.com")),
            ("HTTP://Example.COM:8080", Some("example.com")),
            ("https://example.com.", Some("example.com")),
            ("https://example.com@evil.org/", Some("evil.org")),
            ("https://evil.org/@example.com", Some("evil.org")),
            ("https://evil.org?@example.com", Some("evil.org")),
            ("https://evil.org#@example.com", Some("evil.org")),
            ("https://evil.org\\@example.com", Some("evil.org")),
            ("https://a:b@[::1]:80/", Some("[::1]")),
            ("https:///a", None),
            ("example.com", None),
            ("null", None),
            ("ftp://example.com", None),
            ("javascript://example.com", None),
            ("about:client", None),
        ] {
            assert_eq!(host_of(url).as_deref(), host, "{url}");
        }
    }

    #[test]
    fn pages_that_may_show_it() {
        let policy: Hotlink = configure([PATHS, HOSTS]).unwrap();
        for (path, referer, admitted) in [
            ("/images/a.png", "https://example.com/page", true),
            ("/images/a.png", "https://friend.org/", true),
            ("/images/a.png", "https://a.partner.org/", true),
            ("/images/a.png", "https://partner.org/", false),
            ("/images/a.png", "https://evil.org/?example.com", false),
            ("/images/a.png", "https://example.com.evil.org/", false),
            ("/images/a.png", "garbage", false),
            ("/images/a.png", "", true),
            ("/film.mp4", "https://evil.org/", false),
            ("/page.html", "https://evil.org/", true),
            ("/images2/a.png", "https://evil.org/", true),
        ] {
            let expected: Decision = if admitted { proceed().into() } else { deny(403).into() };
            assert_eq!(
                request(path, referer).decide(&policy),
                Ok(expected),
                "{path} {referer:?}"
            );
        }
    }

    #[test]
    fn mapping_does_not_lead_around_it() {
        let policy: Hotlink = configure([PATHS]).unwrap();
        let request = request("/a", "https://evil.org/").targets(["/a", "/images/a.png"]);
        assert_eq!(request.decide(&policy), Ok(deny(403).into()));
    }

    #[test]
    fn origin_counts_where_there_is_no_referer() {
        let policy: Hotlink = configure([PATHS, ("empty", "deny")]).unwrap();
        for (origin, admitted) in [
            (Some("https://example.com"), true),
            (Some("null"), false),
            (None, false),
        ] {
            let mut request = testing::Request::get("/images/a.png").host("example.com");
            if let Some(origin) = origin {
                request = request.header("Origin", origin);
            }
            let expected: Decision = if admitted { proceed().into() } else { deny(403).into() };
            assert_eq!(request.decide(&policy), Ok(expected), "{origin:?}");
        }
    }

    #[test]
    fn another_file_may_be_sent_instead() {
        let policy: Hotlink = configure([PATHS, ("instead", "/no-hotlinks.png")]).unwrap();
        let decision = request("/images/a.png", "https://evil.org/").decide(&policy);
        assert_eq!(decision, Ok(proceed().paths(["/no-hotlinks.png"]).into()));
    }

    #[test]
    fn referer_is_asked_for_guarded_paths_only() {
        let policy: Hotlink = configure([PATHS, HOSTS]).unwrap();
        let open = request("/page.html", "https://evil.org/");
        open.decide(&policy).unwrap();
        assert_eq!(open.asked(), [Question::Path, Question::Targets]);
        let guarded = request("/images/a.png", "https://friend.org/");
        guarded.decide(&policy).unwrap();
        assert_eq!(guarded.asked(), [Question::Path, Question::Header("referer".into())]);
    }

    #[test]
    fn mistakes_in_the_configuration() {
        for (configuration, named) in [
            (&[][..], "paths"),
            (&[("paths", "[]")], "`paths`"),
            (&[("paths", r#"["images"]"#)], "`paths`"),
            (&[PATHS, ("hosts", r#"["https://a.org"]"#)], "`hosts`"),
            (&[PATHS, ("own-host", "false")], "`hosts`"),
            (&[PATHS, ("empty", "maybe")], "`empty`"),
            (&[PATHS, ("status", "200")], "`status`"),
            (&[PATHS, ("instead", "a.png")], "`instead`"),
            (&[PATHS, ("instead", "/images/no.png")], "`instead`"),
            (&[PATHS, ("instead", "/a.png"), ("status", "403")], "`instead`"),
            (&[PATHS, ("host", "a.org")], "`host`"),
        ] {
            let error = configure::<Hotlink>(configuration.iter().copied()).err();
            assert!(
                error.as_ref().is_some_and(|error| error.contains(named)),
                "{configuration:?}: {error:?}"
            );
        }
    }
}
