//! What is wrong with a configuration: which file, where in it, and what to do.

use std::{collections::HashSet, fmt, io, ops::Range, path::PathBuf};

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ConfigError {
    pub file: PathBuf,
    /// `None` when the file as a whole is at fault.
    pub position: Option<Position>,
    pub problem: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// A place in a text, counted from 1. Columns count characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    pub line: usize,
    pub column: usize,
}

/// Everything that is wrong, in the order of the files and of the lines within a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigErrors(Vec<ConfigError>);

// === impl ConfigError ===

impl ConfigError {
    /// An error about a file as a whole.
    pub fn new(file: impl Into<PathBuf>, problem: impl Into<String>) -> Self {
        Self {
            file: file.into(),
            position: None,
            problem: problem.into(),
            hint: None,
        }
    }

    /// The same error, with what to do about it.
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(Position { line, column }) = self.position {
            write!(f, ":{line}:{column}")?;
        }
        write!(f, ": {}", self.problem)?;
        if let Some(hint) = &self.hint {
            write!(f, "\n    hint: {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

// === impl Position ===

impl Position {
    /// Where a span of bytes begins in a text.
    pub fn of(span: &Range<usize>, text: &str) -> Self {
        let before = text.get(..span.start).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

// === impl ConfigErrors ===

impl ConfigErrors {
    pub fn push(&mut self, error: ConfigError) {
        self.0.push(error);
    }

    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &ConfigError> {
        self.0.iter()
    }

    /// Refuses when anything is wrong. Sorts by line within each run of errors of one file; what was found twice, because
    /// two sites name the same file, is told once.
    pub fn check(mut self) -> Result<(), Self> {
        if self.0.is_empty() {
            return Ok(());
        }
        for of_one_file in self.0.chunk_by_mut(|a, b| a.file == b.file) {
            of_one_file.sort_by_key(|error| error.position);
        }
        let mut told = HashSet::new();
        self.0.retain(|error| told.insert(error.clone()));
        Err(self)
    }
}

impl From<ConfigError> for ConfigErrors {
    fn from(error: ConfigError) -> Self {
        Self(vec![error])
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// What the operating system says, to follow a colon.
pub fn reason(error: &io::Error) -> String {
    without_number(&error.to_string()).to_lowercase()
}

/// A message without the number that the operating system's end with, which helps nobody.
pub fn without_number(message: &str) -> &str {
    message.find(" (os error ").map_or(message, |end| &message[..end])
}
