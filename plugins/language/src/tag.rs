//! Language tags (RFC 5646): `en`, `pt-BR`.
use std::str::FromStr;

/// A tag as the operator wrote it, which is the name of its directory too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag(String);

impl FromStr for Tag {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut subtags = text.split('-');
        let primary = subtags.next().unwrap_or_default();
        let letters = (2..=8).contains(&primary.len()) && primary.bytes().all(|byte| byte.is_ascii_alphabetic());
        let fits =
            |subtag: &str| (1..=8).contains(&subtag.len()) && subtag.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if letters && subtags.all(fits) {
            return Ok(Self(text.to_owned()));
        }
        Err("is no language tag: expected one such as \"en\", \"pt-BR\" or \"zh-Hant\"")
    }
}

impl Tag {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is meant; case does not matter (RFC 5646, section 2.1.1).
    pub fn is(&self, text: &str) -> bool {
        self.0.eq_ignore_ascii_case(text)
    }

    pub fn same(&self, other: &Self) -> bool {
        self.is(&other.0)
    }
}
