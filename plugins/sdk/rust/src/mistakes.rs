//! [`Mistakes`]: everything that is wrong with a configuration, said at once.
use std::fmt::Display;

/// Collects what is wrong with a configuration, so that an operator learns of all of it at once.
///
/// ```
/// # use wasmserve_plugin::{Mistakes, Network};
/// let mut mistakes = Mistakes::default();
/// let networks: Vec<Network> = mistakes.parse_all("allow", &["10.0.0.0/8".to_owned(), "10.0.0.0/33".to_owned()]);
/// mistakes.note("status", "is 200: expected 400 to 599");
/// assert_eq!(networks.len(), 1);
/// let error = mistakes.check().unwrap_err();
/// assert!(error.starts_with("`allow`: \"10.0.0.0/33\" ") && error.ends_with("; `status` is 200: expected 400 to 599"));
/// ```
#[derive(Debug, Default)]
pub struct Mistakes(Vec<String>);

impl Mistakes {
    /// Notes what is wrong with a key: the problem follows the key's name.
    pub fn note(&mut self, key: &str, problem: impl Display) {
        self.0.push(format!("`{key}` {problem}"));
    }

    /// Notes what is wrong with one of the texts of a key: the problem follows the text.
    pub fn note_text(&mut self, key: &str, text: &str, problem: impl Display) {
        self.0.push(format!("`{key}`: {text:?} {problem}"));
    }

    /// The value of a text; `None` when there is none, and why is noted.
    pub fn parse<T: std::str::FromStr<Err: Display>>(&mut self, key: &str, text: &str) -> Option<T> {
        self.take(key, text, text.parse())
    }

    /// The values of those texts that have one; why the others have none is noted.
    pub fn parse_all<T: std::str::FromStr<Err: Display>>(&mut self, key: &str, texts: &[String]) -> Vec<T> {
        texts.iter().filter_map(|text| self.parse(key, text)).collect()
    }

    /// What came of a text; `None` when it was an error, which is noted.
    pub fn take<T, E: Display>(&mut self, key: &str, text: &str, outcome: Result<T, E>) -> Option<T> {
        match outcome {
            Ok(value) => Some(value),
            Err(problem) => {
                self.note_text(key, text, problem);
                None
            }
        }
    }

    /// Notes which of these are no prefixes ([`path::check_prefix`](crate::path::check_prefix)), or that there are none.
    pub fn check_prefixes(&mut self, key: &str, prefixes: &[String]) {
        if prefixes.is_empty() {
            self.note(key, "is empty: nothing would be meant");
        }
        for prefix in prefixes {
            self.take(key, prefix, crate::path::check_prefix(prefix));
        }
    }

    /// Notes a status that is none of a refusal.
    pub fn check_refusal(&mut self, key: &str, status: u16) {
        if !(400..=599).contains(&status) || status == 416 {
            self.note(
                key,
                format_args!("is {status}: expected a status from 400 to 599, not 416"),
            );
        }
    }

    /// # Errors
    /// Everything that was noted.
    pub fn check(self) -> Result<(), String> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(self.0.join("; "))
        }
    }
}
