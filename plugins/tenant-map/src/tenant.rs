//! Names of tenants.
use std::str::FromStr;

/// A name that is safe as one segment of a path, on every file system: ASCII letters, digits, `-`, `_` and `.`, beginning
/// with a letter or a digit, at most 63 of them (as a label of a host name, RFC 1035, section 2.3.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant(String);

const LONGEST: usize = 63;

impl Tenant {
    pub fn new(name: &str) -> Option<Self> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let begins = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        (begins && name.len() <= LONGEST && name.bytes().all(fits)).then(|| Self(name.to_owned()))
    }

    /// As [`new`](Self::new) for what stands for `*` in a host pattern: one label, so that `a.b.example.com` is not the
    /// tenant `a.b` of a certificate that covers one label only.
    pub fn of_label(label: &str) -> Option<Self> {
        (!label.contains('.')).then(|| Self::new(label)).flatten()
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Tenant {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text).ok_or(
            "is no tenant: expected at most 63 letters, digits, `-`, `_` and `.`, beginning with a letter or a digit",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_one_directory() {
        for (name, fits) in [
            ("alice", true),
            ("Alice-2_b.c", true),
            ("7", true),
            ("", false),
            (".", false),
            ("..", false),
            (".git", false),
            ("-a", false),
            ("_a", false),
            ("a b", false),
            ("a/b", false),
            ("a\\b", false),
            ("a%2fb", false),
            ("ü", false),
            ("a\0", false),
        ] {
            assert_eq!(Tenant::new(name).is_some(), fits, "{name:?}");
        }
        assert!(Tenant::new(&"a".repeat(63)).is_some() && Tenant::new(&"a".repeat(64)).is_none());
        assert!(Tenant::of_label("a.b").is_none());
    }
}
