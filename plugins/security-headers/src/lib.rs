//! Response headers that harden browsers, on every answer of the site. README.md is the reference.
//!
//! Everything is prepared in `configure`. A decision asks nothing at all, or only the scheme when
//! Strict-Transport-Security is on: which outcomes and media types a header is for is declared, not asked.
#![forbid(unsafe_code)]

use wasmserve_plugin::{Changes, Config, Decision, HeaderChange, Policy, Request, proceed};

struct SecurityHeaders {
    everywhere: Changes,
    over_https: Option<HeaderChange>,
}

wasmserve_plugin::export!(SecurityHeaders);

/// One header that can be configured.
struct Setting {
    key: &'static str,
    header: &'static str,
    default: Option<&'static str>,
    scope: Scope,
    check: fn(&str) -> Result<(), &'static str>,
}

/// What a header is sent with.
#[derive(Clone, Copy)]
enum Scope {
    /// Every answer.
    Everything,
    /// What a browser shows as a page; nothing else obeys the header.
    Documents,
    /// Every answer over https: over http it must not be sent (RFC 6797, section 7.2).
    Https,
}

/// The media types that a browser renders as a document and runs scripts in.
const DOCUMENTS: [&str; 6] = [
    "text/html",
    "application/xhtml+xml",
    "application/xml",
    "text/xml",
    "image/svg+xml",
    "application/pdf",
];

const STRICT_TRANSPORT_SECURITY: &str = "strict-transport-security";

const SETTINGS: [Setting; 8] = [
    Setting {
        key: "content-type-options",
        header: "X-Content-Type-Options",
        default: Some("nosniff"),
        scope: Scope::Everything,
        check: |value| one_of(value, &["nosniff"], "expected \"nosniff\" or false"),
    },
    Setting {
        key: "frame-options",
        header: "X-Frame-Options",
        default: Some("SAMEORIGIN"),
        scope: Scope::Documents,
        check: |value| {
            one_of(
                value,
                &["DENY", "SAMEORIGIN"],
                "expected \"DENY\", \"SAMEORIGIN\" or false",
            )
        },
    },
    Setting {
        key: "referrer-policy",
        header: "Referrer-Policy",
        default: Some("strict-origin-when-cross-origin"),
        scope: Scope::Everything,
        check: referrer_policy,
    },
    Setting {
        key: STRICT_TRANSPORT_SECURITY,
        header: "Strict-Transport-Security",
        default: Some("max-age=31536000"),
        scope: Scope::Https,
        check: strict_transport_security,
    },
    Setting {
        key: "content-security-policy",
        header: "Content-Security-Policy",
        default: None,
        scope: Scope::Everything, // scripts of workers obey it too
        check: field_value,
    },
    Setting {
        key: "permissions-policy",
        header: "Permissions-Policy",
        default: None,
        scope: Scope::Documents,
        check: field_value,
    },
    Setting {
        key: "cross-origin-opener-policy",
        header: "Cross-Origin-Opener-Policy",
        default: None,
        scope: Scope::Documents,
        check: field_value,
    },
    Setting {
        key: "cross-origin-resource-policy",
        header: "Cross-Origin-Resource-Policy",
        default: None,
        scope: Scope::Everything,
        check: |value| {
            let values = ["same-origin", "same-site", "cross-origin"];
            one_of(
                value,
                &values,
                "expected \"same-origin\", \"same-site\", \"cross-origin\" or false",
            )
        },
    },
];

impl Policy for SecurityHeaders {
    fn configure(config: &Config) -> Result<Self, String> {
        config.only(&SETTINGS.map(|setting| setting.key))?;
        let mut policy = Self {
            everywhere: proceed(),
            over_https: None,
        };
        for setting in &SETTINGS {
            let Some(value) = setting.value(config)? else { continue };
            let change = HeaderChange::set(setting.header, value);
            match setting.scope {
                Scope::Everything => policy.everywhere = policy.everywhere.change(change),
                Scope::Documents => policy.everywhere = policy.everywhere.change(change.types(DOCUMENTS)),
                Scope::Https => policy.over_https = Some(change),
            }
        }
        Ok(policy)
    }

    fn decide(&self, request: &Request) -> Result<Decision, String> {
        let changes = self.everywhere.clone();
        let changes = match &self.over_https {
            Some(change) if request.scheme() == "https" => changes.change(change.clone()),
            _ => changes,
        };
        Ok(changes.into())
    }
}

impl Setting {
    /// The configured value, or the default; `None` when the header is off.
    fn value(&self, config: &Config) -> Result<Option<String>, String> {
        let Some(value) = config.get(self.key)? else {
            return Ok(self.default.map(str::to_owned));
        };
        if value == "false" {
            return Ok(None);
        }
        match (self.check)(&value) {
            Ok(()) => Ok(Some(value)),
            Err(expected) => Err(format!("`{}` is {value:?}: {expected}", self.key)),
        }
    }
}

fn one_of(value: &str, values: &[&str], expected: &'static str) -> Result<(), &'static str> {
    if values.contains(&value) { Ok(()) } else { Err(expected) }
}

/// Referrer Policy, section 3: a list, of which browsers take the last that they know.
fn referrer_policy(value: &str) -> Result<(), &'static str> {
    const POLICIES: [&str; 8] = [
        "no-referrer",
        "no-referrer-when-downgrade",
        "same-origin",
        "origin",
        "strict-origin",
        "origin-when-cross-origin",
        "strict-origin-when-cross-origin",
        "unsafe-url",
    ];
    if value.split(',').all(|policy| POLICIES.contains(&policy.trim())) {
        return Ok(());
    }
    Err("expected a referrer policy such as \"no-referrer\" or \"strict-origin-when-cross-origin\", or false")
}

/// RFC 6797, section 6.1: `max-age` has to be there.
fn strict_transport_security(value: &str) -> Result<(), &'static str> {
    let seconds = value
        .split(';')
        .find_map(|directive| directive.trim().strip_prefix("max-age="));
    if seconds.is_some_and(|seconds| !seconds.is_empty() && seconds.bytes().all(|byte| byte.is_ascii_digit())) {
        return field_value(value);
    }
    Err("expected \"max-age=SECONDS\", perhaps with \"; includeSubDomains\", or false")
}

/// A header's value in one line of visible characters.
fn field_value(value: &str) -> Result<(), &'static str> {
    if !value.trim().is_empty() && value.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Ok(());
    }
    Err("expected one line of printable ASCII, or false")
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasmserve_plugin::testing::{self, Question, configure};

    fn headers(configuration: &[(&'static str, &'static str)], request: &testing::Request) -> Vec<HeaderChange> {
        let policy: SecurityHeaders = configure(configuration.iter().copied()).unwrap();
        match request.decide(&policy).unwrap() {
            Decision::Proceed(changes) => changes.headers,
            Decision::Respond(response) => panic!("responds: {response:?}"),
        }
    }

    fn names(headers: &[HeaderChange]) -> Vec<&str> {
        headers.iter().map(|change| change.name.as_str()).collect()
    }

    #[test]
    fn defaults_over_http() {
        let headers = headers(&[], &testing::Request::get("/"));
        assert_eq!(
            headers,
            [
                HeaderChange::set("X-Content-Type-Options", "nosniff"),
                HeaderChange::set("X-Frame-Options", "SAMEORIGIN").types(DOCUMENTS),
                HeaderChange::set("Referrer-Policy", "strict-origin-when-cross-origin"),
            ]
        );
    }

    #[test]
    fn transport_security_over_https_only() {
        let over_https = headers(&[], &testing::Request::get("/").scheme("https"));
        assert_eq!(
            over_https.last(),
            Some(&HeaderChange::set("Strict-Transport-Security", "max-age=31536000"))
        );
        let over_http = headers(&[], &testing::Request::get("/"));
        assert!(!names(&over_http).contains(&"Strict-Transport-Security"));
    }

    #[test]
    fn asks_the_scheme_or_nothing() {
        let request = testing::Request::get("/").scheme("https");
        headers(&[], &request);
        assert_eq!(request.asked(), [Question::Scheme]);
        headers(&[("strict-transport-security", "false")], &request);
        assert_eq!(request.asked(), []);
    }

    #[test]
    fn every_header_can_be_set_and_switched_off() {
        let request = testing::Request::get("/").scheme("https");
        let set = [
            ("content-type-options", "nosniff"),
            ("frame-options", "DENY"),
            ("referrer-policy", "no-referrer, same-origin"),
            ("strict-transport-security", "max-age=60; includeSubDomains"),
            ("content-security-policy", "default-src 'self'"),
            ("permissions-policy", "camera=()"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-site"),
        ];
        assert_eq!(set.map(|(key, _)| key), SETTINGS.map(|setting| setting.key));
        let headers_set = headers(&set, &request);
        assert_eq!(headers_set.len(), SETTINGS.len());
        for (key, value) in set {
            let setting = SETTINGS.iter().find(|setting| setting.key == key).unwrap();
            assert!(
                headers_set
                    .iter()
                    .any(|change| change.name == setting.header && change.value == value),
                "{key}"
            );
        }
        assert_eq!(headers(&set.map(|(key, _)| (key, "false")), &request), []);
    }

    #[test]
    fn refuses_what_browsers_would_ignore() {
        for (key, value) in [
            ("content-type-options", "sniff"),
            ("frame-options", "deny"),
            ("frame-options", "ALLOW-FROM https://example.com"),
            ("referrer-policy", "never"),
            ("referrer-policy", ""),
            ("strict-transport-security", "includeSubDomains"),
            ("strict-transport-security", "max-age="),
            ("strict-transport-security", "max-age=1\r\nSet-Cookie: a=b"),
            ("content-security-policy", "default-src 'self';\n img-src *"),
            ("content-security-policy", "true\u{7f}"),
            ("permissions-policy", ""),
            ("cross-origin-resource-policy", "none"),
            ("frame-option", "DENY"),
        ] {
            let error = configure::<SecurityHeaders>([(key, value)]).err();
            assert!(
                error.as_ref().is_some_and(|error| error.contains(&format!("`{key}`"))),
                "{key}={value:?}: {error:?}"
            );
        }
    }

    #[test]
    fn every_default_is_valid() {
        for setting in &SETTINGS {
            assert!(
                setting.default.is_none_or(|value| (setting.check)(value).is_ok()),
                "{}",
                setting.key
            );
        }
    }
}
