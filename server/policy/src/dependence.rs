//! What an answer depended on, as far as caches downstream are concerned (RFC 9111, section 4.1), and what they are told.
//!
//! A shared cache tells requests apart by target and by the header fields that `Vary` names. Whatever else a decision went
//! by (who asks, from where, when) has to keep the response out of it, or limit how long it stays there.
use crate::questions::{Answer, FieldName, Question};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use std::time::{Duration, UNIX_EPOCH};

/// More names than this in one decision are told as `Vary: *`.
const MAX_VARY: usize = 32;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dependence {
    pub vary: Vec<HeaderName>,
    /// More header fields than can be named.
    pub varies_by_everything: bool,
    /// On who asks, on chance, or on something that changes without notice.
    pub private: bool,
    /// Holds until then, in seconds since 1970.
    pub until: Option<u64>,
}

impl Dependence {
    /// Adds what knowing the answer to a question means. Facts are added by the chain, which knows where they came from.
    pub fn on(&mut self, question: &Question, answer: &Answer<'_>) {
        match question {
            Question::Cookie(_) | Question::ClientAddress | Question::ClientWithin(_) => self.private = true,
            Question::Header(name) | Question::HeaderValues(name) => self.on_header(name),
            // What the server knows of the connection is known to no cache.
            Question::Fact(name) if is_reserved(name) => self.private = true,
            Question::Before(moment) if *answer == Answer::Flag(true) => self.hold_until(*moment),
            _ => {}
        }
    }

    fn on_header(&mut self, name: &FieldName) {
        let FieldName::Valid(name) = name else { return };
        if [header::AUTHORIZATION, header::PROXY_AUTHORIZATION, header::COOKIE].contains(name) {
            self.private = true;
        } else {
            self.vary_by(name);
        }
    }

    fn vary_by(&mut self, name: &HeaderName) {
        if self.vary.contains(name) {
            return;
        }
        match self.vary.len() < MAX_VARY {
            true => self.vary.push(name.clone()),
            false => self.varies_by_everything = true,
        }
    }

    fn hold_until(&mut self, moment: u64) {
        self.until = Some(self.until.map_or(moment, |until| until.min(moment)));
    }

    pub fn join(&mut self, other: &Self) {
        for name in &other.vary {
            self.vary_by(name);
        }
        self.varies_by_everything |= other.varies_by_everything;
        self.private |= other.private;
        if let Some(moment) = other.until {
            self.hold_until(moment);
        }
    }

    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Tells caches: to be called last, so that nothing undoes it. `now` is in seconds since 1970, rounded down.
    pub fn apply(&self, now: impl FnOnce() -> u64, headers: &mut HeaderMap) {
        if self.varies_by_everything {
            headers.insert(header::VARY, HeaderValue::from_static("*"));
        } else {
            add_vary(&self.vary, headers);
        }
        if !self.private && self.until.is_none() {
            return;
        }
        // Fields that overrule Cache-Control in some shared caches (RFC 9213; nginx's X-Accel-Expires).
        let overruling = |name: &HeaderName| {
            let name = name.as_str();
            name.ends_with("-cache-control") || name == "surrogate-control" || name == "x-accel-expires"
        };
        let names: Vec<HeaderName> = headers.keys().filter(|name| overruling(name)).cloned().collect();
        for name in names {
            headers.remove(name);
        }
        let mut control = CacheControl::of(headers);
        if self.private {
            control.make_private();
        }
        if let Some(until) = self.until {
            // Caches count in whole seconds, and nginx takes the last one for fresh: what holds until 12:00:00 may be used
            // up to and including the second that begins at 11:59:59.
            let last = until.saturating_sub(1);
            control.clamp(last.saturating_sub(now()), headers);
            clamp_expires(last, headers);
        }
        control.write(headers);
    }
}

/// Names that are the server's own: no policy establishes them.
pub(crate) fn is_reserved(fact: &str) -> bool {
    fact.starts_with("wasmserve.") || fact.starts_with("tls.")
}

/// A fault is nobody's to keep, whatever the chain's header changes say.
pub(crate) fn forbid_storing(headers: &mut HeaderMap) {
    let names: Vec<HeaderName> = headers
        .keys()
        .filter(|n| n.as_str().ends_with("cache-control"))
        .cloned()
        .collect();
    for name in names {
        headers.remove(name);
    }
    headers.remove(header::EXPIRES);
    headers.remove("surrogate-control");
    headers.remove("x-accel-expires");
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
}

fn add_vary(names: &[HeaderName], headers: &mut HeaderMap) {
    let listed = |headers: &HeaderMap, name: &str| {
        let mut items = headers
            .get_all(header::VARY)
            .into_iter()
            .flat_map(|v| v.as_bytes().split(|b| *b == b','));
        items.any(|item| {
            let item = item.trim_ascii();
            item == b"*" || item.eq_ignore_ascii_case(name.as_bytes())
        })
    };
    let missing: Vec<&str> = names
        .iter()
        .map(HeaderName::as_str)
        .filter(|name| !listed(headers, name))
        .collect();
    if missing.is_empty() {
        return;
    }
    let value = HeaderValue::try_from(missing.join(", ")).expect("header names are header values");
    headers.append(header::VARY, value);
}

fn clamp_expires(until: u64, headers: &mut HeaderMap) {
    let limit = UNIX_EPOCH + Duration::from_secs(until.min(MAX_DATE));
    let Some(value) = headers.get(header::EXPIRES) else {
        return;
    };
    // What is not a date has expired already (RFC 9111, section 5.3).
    let later = value
        .to_str()
        .ok()
        .and_then(|v| httpdate::parse_http_date(v).ok())
        .is_some_and(|at| at > limit);
    if later {
        let date = HeaderValue::try_from(httpdate::fmt_http_date(limit)).expect("a date is a header value");
        headers.insert(header::EXPIRES, date);
    }
}

/// 9999-12-31T23:59:59Z: what an HTTP date can say.
const MAX_DATE: u64 = 253_402_300_799;

/// The directives of all Cache-Control fields, in order.
struct CacheControl {
    directives: Vec<String>,
    changed: bool,
}

impl CacheControl {
    fn of(headers: &HeaderMap) -> Self {
        let mut directives = Vec::new();
        for value in headers.get_all(header::CACHE_CONTROL) {
            directives.extend(split_list(&String::from_utf8_lossy(value.as_bytes())));
        }
        Self {
            directives,
            changed: false,
        }
    }

    fn has(&self, name: &str) -> bool {
        self.directives.iter().any(|d| is_directive(d, name))
    }

    fn drop(&mut self, names: &[&str]) {
        let before = self.directives.len();
        self.directives
            .retain(|d| !names.iter().any(|name| is_directive(d, name)));
        self.changed |= self.directives.len() != before;
    }

    fn add(&mut self, directive: String) {
        self.directives.push(directive);
        self.changed = true;
    }

    fn make_private(&mut self) {
        self.drop(&["public", "s-maxage"]);
        // `private="field"` lets the rest be shared: only the bare directive counts.
        let bare = self.directives.iter().any(|d| d.eq_ignore_ascii_case("private"));
        if !bare && !self.has("no-store") {
            self.drop(&["private"]);
            self.directives.insert(0, "private".into());
            self.changed = true;
        }
    }

    /// Makes the response stale after `seconds`, and forbids to use it stale.
    fn clamp(&mut self, seconds: u64, headers: &HeaderMap) {
        if self.has("no-store") {
            return;
        }
        self.drop(&["stale-while-revalidate", "stale-if-error"]);
        for directive in &mut self.directives {
            for name in ["max-age", "s-maxage"] {
                if !is_directive(directive, name) {
                    continue;
                }
                let stated = directive
                    .split_once('=')
                    .and_then(|(_, v)| v.trim().trim_matches('"').parse::<u64>().ok());
                if stated.is_none_or(|stated| stated > seconds) {
                    *directive = format!("{name}={seconds}");
                    self.changed = true;
                }
            }
        }
        // Without any, a cache may guess (RFC 9111, section 4.2.2).
        if !self.has("max-age") && !headers.contains_key(header::EXPIRES) {
            self.add(format!("max-age={seconds}"));
        }
    }

    fn write(self, headers: &mut HeaderMap) {
        if self.changed {
            // The pieces come from header values and stay what they were.
            if let Ok(value) = HeaderValue::try_from(self.directives.join(", ")) {
                headers.insert(header::CACHE_CONTROL, value);
            } else {
                headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            }
        }
    }
}

fn is_directive(directive: &str, name: &str) -> bool {
    directive
        .split_once('=')
        .map_or(directive, |(n, _)| n)
        .trim()
        .eq_ignore_ascii_case(name)
}

/// The elements of a comma-separated list whose elements may hold quoted strings (RFC 9110, section 5.6.1).
fn split_list(text: &str) -> Vec<String> {
    let (mut items, mut item, mut quoted, mut escaped) = (Vec::new(), String::new(), false, false);
    for c in text.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ',' if !quoted => {
                items.push(std::mem::take(&mut item));
                continue;
            }
            _ => {}
        }
        item.push(c);
    }
    items.push(item);
    items
        .iter()
        .map(|i| i.trim().to_owned())
        .filter(|i| !i.is_empty())
        .collect()
}
