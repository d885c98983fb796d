//! What the policy and its meter agree on: whom bytes are counted for, over what time, and under which key the sum is kept.
//! Both read the same keys of their configurations, so that neither counts what the other does not look for.
#![forbid(unsafe_code)]

use std::{
    str::FromStr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// The bucket that both are granted, when the configuration names no other.
pub const BUCKET: &str = "usage";

/// The facts that both manifests list.
pub const FACTS: [&str; 4] = ["tenant", "user", "subject", "plan"];

/// More of a name is not looked at: names that begin so are counted together. Keys of a bucket are bounded.
const LONGEST_NAME: usize = 256;

/// Who a tenant is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum By {
    /// Everybody together.
    Site,
    Host,
    /// The first segment of the path.
    Path,
    /// Whoever an earlier policy established.
    Fact(String),
}

/// Over what time bytes are added up: an hour, a day or a month of the calendar, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    Hour,
    Day,
    Month,
}

// === impl By ===

impl FromStr for By {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.split_once(':')) {
            ("site", _) => Ok(Self::Site),
            ("host", _) => Ok(Self::Host),
            ("path", _) => Ok(Self::Path),
            (_, Some(("fact", name))) if FACTS.contains(&name) => Ok(Self::Fact(name.to_owned())),
            (_, Some(("fact", _))) => Err(format!("known facts are {}", FACTS.join(", "))),
            _ => Err("expected \"site\", \"host\", \"path\" or \"fact:NAME\"".to_owned()),
        }
    }
}

/// The first segment of a canonical path; empty for `/`.
pub fn first_segment(path: &str) -> &str {
    path.trim_start_matches('/').split('/').next().unwrap_or_default()
}

// === impl Period ===

impl FromStr for Period {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        match text {
            "hour" => Ok(Self::Hour),
            "day" => Ok(Self::Day),
            "month" => Ok(Self::Month),
            _ => Err("expected \"hour\", \"day\" or \"month\""),
        }
    }
}

impl Period {
    /// The key of what a tenant used in the period that a moment is in, such as `2026-11 alice`.
    pub fn key(self, unix_seconds: u64, tenant: &str) -> String {
        let tenant = &tenant[..tenant.floor_char_boundary(LONGEST_NAME)];
        format!("{} {tenant}", self.name(unix_seconds))
    }

    /// Seconds until the next period begins, at least 1.
    pub fn left(self, unix_seconds: u64) -> u64 {
        let next = match self {
            Self::Hour => unix_seconds - unix_seconds % 3600 + 3600,
            Self::Day => unix_seconds - unix_seconds % 86_400 + 86_400,
            Self::Month => next_month(&self.name(unix_seconds)).unwrap_or(unix_seconds + 86_400),
        };
        next - unix_seconds
    }

    /// As RFC 3339 writes the moment, as far as it is the same for the whole period.
    fn name(self, unix_seconds: u64) -> String {
        // Times beyond the year 9999 have no such form: they are one period.
        let moment = UNIX_EPOCH + Duration::from_secs(unix_seconds.min(LAST_SECOND));
        let text = humantime::format_rfc3339_seconds(moment).to_string();
        let length = match self {
            Self::Month => "2026-11".len(),
            Self::Day => "2026-11-20".len(),
            Self::Hour => "2026-11-20T12".len(),
        };
        text.get(..length).unwrap_or(&text).to_owned()
    }
}

/// 9999-12-31T23:59:59Z.
const LAST_SECOND: u64 = 253_402_300_799;

/// When the month behind `2026-11` begins.
fn next_month(name: &str) -> Option<u64> {
    let (year, month) = name.split_once('-')?;
    let (year, month): (u32, u32) = (year.parse().ok()?, month.parse().ok()?);
    let (year, month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
    let begins: SystemTime = humantime::parse_rfc3339(&format!("{year:04}-{month:02}-01T00:00:00Z")).ok()?;
    Some(begins.duration_since(UNIX_EPOCH).ok()?.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-20T12:34:56Z
    const NOW: u64 = 1_795_178_096;

    #[test]
    fn periods_are_those_of_the_calendar() {
        for (period, at, key, left) in [
            (Period::Hour, NOW, "2026-11-20T12 a", 25 * 60 + 4),
            (Period::Day, NOW, "2026-11-20 a", 11 * 3600 + 25 * 60 + 4),
            (Period::Month, NOW, "2026-11 a", 10 * 86_400 + 11 * 3600 + 25 * 60 + 4),
            (Period::Hour, 0, "1970-01-01T00 a", 3600),
            (Period::Month, 0, "1970-01 a", 31 * 86_400),
            // 2024-02-29T00:00:00Z, 2026-12-31T23:59:59Z
            (Period::Month, 1_709_164_800, "2024-02 a", 86_400),
            (Period::Month, 1_798_761_599, "2026-12 a", 1),
        ] {
            assert_eq!((&*period.key(at, "a"), period.left(at)), (key, left), "{period:?} {at}");
        }
        assert!(Period::Month.left(u64::MAX - 100_000) > 0);
    }

    #[test]
    fn names_are_bounded() {
        let long = "ä".repeat(1000);
        assert_eq!(Period::Month.key(NOW, &long), format!("2026-11 {}", "ä".repeat(128)));
        for (path, expected) in [("/", ""), ("/alice", "alice"), ("/alice/a/b", "alice")] {
            assert_eq!(first_segment(path), expected);
        }
    }

    #[test]
    fn words_of_the_configuration() {
        assert_eq!("fact:tenant".parse(), Ok(By::Fact("tenant".into())));
        for text in ["fact:password", "fact", "client", ""] {
            assert!(text.parse::<By>().is_err(), "{text}");
        }
        assert!("week".parse::<Period>().is_err());
    }
}
