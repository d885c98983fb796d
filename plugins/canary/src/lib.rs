//! Shows a share of the visitors another version of the site. README.md is the reference.
//!
//! The order of events: the cookie says which version a visitor has seen. Without one, a number is drawn, which makes the
//! decision one for this request alone, and the cookie is set. So a visitor stays with a version, and all requests but the
//! first are decided by their cookie.
#![forbid(unsafe_code)]

use serde::Deserialize;
use wasmserve_plugin::{
    Changes, Config, Decision, Mistakes, Policy, Request, covers, deny, path, proceed, random::random,
};

struct Canary {
    settings: Written,
    /// Of 2^64 numbers, how many are the canary's; `None`: all.
    below: Option<u64>,
}

wasmserve_plugin::export!(Canary);

/// What the operator configured.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Written {
    percent: f64,
    #[serde(default = "default_root")]
    root: String,
    #[serde(default = "whole_root")]
    directory: String,
    #[serde(default = "default_cookie")]
    cookie: String,
    #[serde(default = "thirty_days")]
    max_age: u32,
    #[serde(default)]
    except: Vec<String>,
}

/// Which of the two a visitor sees; the names are the cookie's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    Canary,
    Stable,
}

fn default_root() -> String {
    "default".to_owned()
}

fn whole_root() -> String {
    "/".to_owned()
}

fn default_cookie() -> String {
    "version".to_owned()
}

/// Seconds.
fn thirty_days() -> u32 {
    30 * 24 * 60 * 60
}

impl Policy for Canary {
    fn configure(config: &Config) -> Result<Self, String> {
        let settings: Written = config.read()?;
        let mut mistakes = Mistakes::default();
        if !(0.0..=100.0).contains(&settings.percent) {
            mistakes.note("percent", format_args!("is {}: expected 0 to 100", settings.percent));
        }
        mistakes.take("directory", &settings.directory, path::check(&settings.directory));
        if settings.root == default_root() && settings.directory == whole_root() {
            mistakes.note(
                "directory",
                "is missing, and `root` too: both versions would be the same",
            );
        }
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if settings.cookie.is_empty() || !settings.cookie.bytes().all(token) {
            mistakes.note(
                "cookie",
                format_args!("is {:?}: expected letters, digits, `-`, `_` and `.`", settings.cookie),
            );
        }
        for prefix in &settings.except {
            mistakes.take("except", prefix, path::check_prefix(prefix));
        }
        mistakes.check()?;
        // 2^64 numbers; a share of all of them is no number below.
        let below = settings.percent / 100.0 * 18_446_744_073_709_551_616.0;
        Ok(Self {
            below: (settings.percent < 100.0).then_some(below as u64),
            settings,
        })
    }

    fn decide(&self, request: &Request) -> Result<Decision, String> {
        // In the site's own root the other version has an address of its own, which no guard behind this policy names.
        if self.settings.root == default_root() && request.reaches(&self.settings.directory) {
            return Ok(deny(404).into());
        }
        if !self.settings.except.is_empty() {
            let path = request.path();
            if self.settings.except.iter().any(|prefix| covers(prefix, &path)) {
                return Ok(proceed().into());
            }
        }
        let seen = request.cookie(&self.settings.cookie);
        Ok(match seen.as_deref().and_then(Version::of_value) {
            Some(version) => self.show(version).into(),
            None => {
                let version = self.draw();
                let cookie = self.remember(version, &request.scheme());
                self.show(version).append_header("Set-Cookie", cookie).into()
            }
        })
    }
}

impl Canary {
    fn draw(&self) -> Version {
        match self.below {
            Some(0) => Version::Stable,
            Some(below) if random() >= below => Version::Stable,
            _ => Version::Canary,
        }
    }

    fn show(&self, version: Version) -> Changes {
        match version {
            Version::Canary => proceed().place(&self.settings.root, &self.settings.directory),
            Version::Stable => proceed(),
        }
    }

    fn remember(&self, version: Version, scheme: &str) -> String {
        let Written { cookie, max_age, .. } = &self.settings;
        let secure = if scheme == "https" { "; Secure" } else { "" };
        format!(
            "{cookie}={}; Path=/; Max-Age={max_age}; HttpOnly; SameSite=Lax{secure}",
            version.value()
        )
    }
}

impl Version {
    fn value(self) -> &'static str {
        match self {
            Self::Canary => "canary",
            Self::Stable => "stable",
        }
    }

    fn of_value(value: &str) -> Option<Self> {
        [Self::Canary, Self::Stable]
            .into_iter()
            .find(|version| version.value() == value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasmserve_plugin::testing::{self, Question, configure, next_random};

    const DIRECTORY: (&str, &str) = ("directory", "/next");

    fn shows(decision: &Decision) -> (Version, Option<String>) {
        let Decision::Proceed(changes) = decision else {
            panic!("responds: {decision:?}");
        };
        let cookie = changes.headers.first().map(|change| change.value.clone());
        match &changes.place {
            Some(place) => {
                assert_eq!((&*place.root, &*place.directory), ("default", "/next"));
                (Version::Canary, cookie)
            }
            None => (Version::Stable, cookie),
        }
    }

    #[test]
    fn the_cookie_decides_and_nothing_is_drawn() {
        let policy: Canary = configure([("percent", "50"), DIRECTORY]).unwrap();
        for (cookie, version) in [("version=canary", Version::Canary), ("version=stable", Version::Stable)] {
            let request = testing::Request::get("/").header("Cookie", cookie);
            assert_eq!(shows(&request.decide(&policy).unwrap()), (version, None), "{cookie}");
            let cookie = Question::Cookie("version".into());
            assert_eq!(request.asked(), [Question::Path, Question::Targets, cookie]);
        }
    }

    /// `/next/private/a` is `/private/a` of the other version, and no guard knows it by that name.
    #[test]
    fn the_other_version_has_no_address_of_its_own() {
        let policy: Canary = configure([("percent", "50"), DIRECTORY]).unwrap();
        for path in ["/next", "/next/", "/next/private/a"] {
            for cookie in ["version=canary", "version=stable", ""] {
                let request = testing::Request::get(path).header("Cookie", cookie);
                assert_eq!(request.decide(&policy), Ok(deny(404).into()), "{path} {cookie}");
            }
        }
    }

    #[test]
    fn without_a_cookie_a_number_does() {
        for (percent, number, version) in [
            ("25", 0, Version::Canary),
            ("25", (1 << 62) - 1, Version::Canary),
            ("25", 1 << 62, Version::Stable),
            ("25", u64::MAX, Version::Stable),
            ("0.001", 1 << 48, Version::Stable),
            ("0.001", 1 << 47, Version::Canary),
            ("0", 0, Version::Stable),
            ("100", u64::MAX, Version::Canary),
        ] {
            let policy: Canary = configure([("percent", percent), DIRECTORY]).unwrap();
            for cookie in ["", "version=other", "version="] {
                next_random(number);
                let request = testing::Request::get("/").header("Cookie", cookie);
                let (shown, set) = shows(&request.decide(&policy).unwrap());
                assert_eq!(shown, version, "{percent} {number}");
                let expected = format!(
                    "version={}; Path=/; Max-Age=2592000; HttpOnly; SameSite=Lax",
                    version.value()
                );
                assert_eq!(set, Some(expected));
            }
        }
    }

    #[test]
    fn the_cookie_over_https_is_for_https_alone() {
        let policy: Canary = configure([("percent", "100"), DIRECTORY, ("max-age", "60")]).unwrap();
        let request = testing::Request::get("/").scheme("https");
        let (_, set) = shows(&request.decide(&policy).unwrap());
        assert_eq!(
            set.as_deref(),
            Some("version=canary; Path=/; Max-Age=60; HttpOnly; SameSite=Lax; Secure")
        );
    }

    #[test]
    fn what_is_excepted_has_one_version() {
        let policy: Canary = configure([("percent", "100"), DIRECTORY, ("except", r#"["/files/"]"#)]).unwrap();
        let request = testing::Request::get("/files/a").header("Cookie", "version=canary");
        assert_eq!(request.decide(&policy), Ok(proceed().into()));
        assert_eq!(request.asked(), [Question::Path, Question::Targets, Question::Path]);
    }

    #[test]
    fn mistakes_in_the_configuration() {
        for (configuration, named) in [
            (&[DIRECTORY][..], "percent"),
            (&[("percent", "50")], "`directory`"),
            (&[("percent", "101"), DIRECTORY], "`percent`"),
            (&[("percent", "-1"), DIRECTORY], "`percent`"),
            (&[("percent", "half"), DIRECTORY], "`percent`"),
            (&[("percent", "50"), ("directory", "next")], "`directory`"),
            (&[("percent", "50"), DIRECTORY, ("cookie", "a b")], "`cookie`"),
            (&[("percent", "50"), DIRECTORY, ("except", r#"["a"]"#)], "`except`"),
            (&[("percent", "50"), DIRECTORY, ("share", "1")], "`share`"),
        ] {
            let error = configure::<Canary>(configuration.iter().copied()).err();
            assert!(
                error.as_ref().is_some_and(|error| error.contains(named)),
                "{configuration:?}: {error:?}"
            );
        }
    }
}
