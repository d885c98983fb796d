//! A TOML file whose every value knows where it stands, read key by key.
//!
//! serde stops at the first error. Here a reader takes the keys it knows, notes what is wrong with each and goes on;
//! [`Section::finish`] then names every key that nobody took. So one run of the server shows everything that is wrong.

use super::{
    ConfigError, ConfigErrors,
    errors::{Position, reason},
};
use serde::Deserialize;
use std::{
    borrow::Cow,
    fs, io,
    ops::{Range, RangeInclusive},
    path::{Path, PathBuf},
};
use toml::{
    Spanned,
    de::{DeTable, DeValue, ValueDeserializer},
};

/// The text of one file.
pub struct Document {
    file: PathBuf,
    text: String,
}

/// A table that is being read.
pub struct Section<'a> {
    document: &'a Document,
    /// What errors call it, such as `[limits]`.
    title: String,
    span: Range<usize>,
    entries: DeTable<'a>,
    known: Vec<&'static str>,
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub struct Located<T> {
    pub value: T,
    pub span: Range<usize>,
}

// === impl Document ===

impl Document {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read or is not UTF-8.
    pub fn read(file: &Path) -> Result<Self, ConfigErrors> {
        let text = fs::read_to_string(file).map_err(|error| cannot_read(file, &error))?;
        Ok(Self {
            file: file.to_owned(),
            text,
        })
    }

    /// A text that was read from a file.
    pub fn of(file: PathBuf, text: String) -> Self {
        Self { file, text }
    }

    /// The document's top level. Whatever is not TOML is noted in `errors`; the rest is read as well as it can be.
    pub fn root(&self, errors: &mut ConfigErrors) -> Section<'_> {
        let (table, syntax) = DeTable::parse_recoverable(&self.text);
        for error in syntax {
            let problem = format!("this is not TOML: {}", error.message());
            errors.push(match error.span() {
                Some(span) => self.error(&span, problem),
                None => ConfigError::new(&self.file, problem),
            });
        }
        let span = table.span();
        Section {
            document: self,
            title: "this file".into(),
            span,
            entries: table.into_inner(),
            known: Vec::new(),
        }
    }

    /// An error about a place in this file.
    pub fn error(&self, span: &Range<usize>, problem: impl Into<String>) -> ConfigError {
        ConfigError {
            position: Some(Position::of(span, &self.text)),
            ..ConfigError::new(&self.file, problem)
        }
    }
}

/// The error about a file that cannot be read.
pub fn cannot_read(file: &Path, error: &io::Error) -> ConfigErrors {
    ConfigError::new(file, format!("cannot be read: {}", reason(error))).into()
}

// === impl Section ===

impl<'a> Section<'a> {
    /// A string.
    pub fn string(&mut self, key: &'static str, errors: &mut ConfigErrors) -> Option<Located<String>> {
        let value = self.take(key)?;
        let span = value.span();
        match value.into_inner() {
            DeValue::String(text) => Some(Located {
                value: text.into_owned(),
                span,
            }),
            other => self.wrong_type(key, &span, "a string", &other, errors),
        }
    }

    /// A string that has to be there.
    pub fn required_string(&mut self, key: &'static str, errors: &mut ConfigErrors) -> Option<Located<String>> {
        if !self.contains(key) {
            errors.push(self.error(format!("{} has no key `{key}`", self.title)));
        }
        self.string(key, errors)
    }

    /// A string that means something, such as a duration.
    pub fn parsed<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
        errors: &mut ConfigErrors,
    ) -> Option<T> {
        let text = self.string(key, errors)?;
        match parse(&text.value) {
            Ok(value) => Some(value),
            Err(problem) => {
                errors.push(self.document.error(&text.span, format!("`{key}`: {problem}")));
                None
            }
        }
    }

    /// One of several words.
    pub fn choice<T: Copy>(
        &mut self,
        key: &'static str,
        choices: &[(&str, T)],
        errors: &mut ConfigErrors,
    ) -> Option<T> {
        let typed = self.string(key, errors)?;
        let chosen = choices.iter().find(|(word, _)| *word == typed.value);
        if chosen.is_none() {
            let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
            let problem = format!("`{key}` cannot be {:?}", typed.value);
            errors.push(self.error_at(&typed, problem).hint(suggest(&typed.value, &words)));
        }
        chosen.map(|(_, value)| *value)
    }

    /// A list of strings.
    pub fn strings(&mut self, key: &'static str, errors: &mut ConfigErrors) -> Option<Vec<Located<String>>> {
        let value = self.take(key)?;
        let span = value.span();
        let items = match value.into_inner() {
            DeValue::Array(items) => items,
            other => return self.wrong_type(key, &span, "a list of strings", &other, errors),
        };
        let mut strings = Vec::new();
        for item in items {
            let span = item.span();
            match item.into_inner() {
                DeValue::String(text) => strings.push(Located {
                    value: text.into_owned(),
                    span,
                }),
                other => {
                    let _: Option<()> = self.wrong_type(key, &span, "a list of strings", &other, errors);
                }
            }
        }
        Some(strings)
    }

    /// A whole number that is at least 1.
    pub fn count(&mut self, key: &'static str, errors: &mut ConfigErrors) -> Option<usize> {
        self.count_to(key, usize::MAX, errors)
    }

    /// A whole number, at least 1 and at most `most`.
    pub fn count_to(&mut self, key: &'static str, most: usize, errors: &mut ConfigErrors) -> Option<usize> {
        self.number(key, 1..=most, errors)
    }

    /// A whole number within a range.
    pub fn number(
        &mut self,
        key: &'static str,
        range: RangeInclusive<usize>,
        errors: &mut ConfigErrors,
    ) -> Option<usize> {
        let value = self.take(key)?;
        let span = value.span();
        let number = match value.into_inner() {
            DeValue::Integer(number) => number,
            other => return self.wrong_type(key, &span, "a whole number", &other, errors),
        };
        match usize::from_str_radix(number.as_str(), number.radix()) {
            Ok(count) if range.contains(&count) => Some(count),
            _ => {
                let range = match (range.start(), range.end()) {
                    (least, &usize::MAX) => format!("{least} or more"),
                    (least, most) => format!("{least} to {most}"),
                };
                let message = format!("`{key}` must be a whole number, {range}");
                errors.push(self.document.error(&span, message));
                None
            }
        }
    }

    /// `true` or `false`.
    pub fn flag(&mut self, key: &'static str, errors: &mut ConfigErrors) -> Option<bool> {
        let value = self.take(key)?;
        let span = value.span();
        match value.into_inner() {
            DeValue::Boolean(flag) => Some(flag),
            other => self.wrong_type(key, &span, "true or false", &other, errors),
        }
    }

    /// A string or a whole number, as text.
    pub fn word(&mut self, key: &'static str, errors: &mut ConfigErrors) -> Option<Located<String>> {
        let value = self.take(key)?;
        let span = value.span();
        let value = match value.into_inner() {
            DeValue::String(text) => text.into_owned(),
            DeValue::Integer(number) => number.to_string(),
            other => return self.wrong_type(key, &span, "a string or a whole number", &other, errors),
        };
        Some(Located { value, span })
    }

    /// A table of strings, whatever their names.
    pub fn texts(
        &mut self,
        key: &'static str,
        errors: &mut ConfigErrors,
    ) -> Option<Vec<(Located<String>, Located<String>)>> {
        let section = self.section(key, errors)?;
        let entries = section.entries.into_iter().filter_map(|(name, value)| {
            let span = value.span();
            let text = match value.into_inner() {
                DeValue::String(text) => text.into_owned(),
                other => return self.wrong_type(name.get_ref(), &span, "a string", &other, errors),
            };
            Some((located(name), Located { value: text, span }))
        });
        Some(entries.collect())
    }

    /// A table of values of any kind, whatever their names.
    pub fn values(
        &mut self,
        key: &'static str,
        errors: &mut ConfigErrors,
    ) -> Option<Vec<(Located<String>, Located<toml::Value>)>> {
        let section = self.section(key, errors)?;
        let document = section.document;
        let entries = section.entries.into_iter().filter_map(|(name, value)| {
            let span = value.span();
            match toml::Value::deserialize(ValueDeserializer::from(value)) {
                Ok(value) => Some((located(name), Located { value, span })),
                Err(error) => {
                    errors.push(document.error(&error.span().unwrap_or(span), error.message()));
                    None
                }
            }
        });
        Some(entries.collect())
    }

    /// Tables beneath this one, whatever their names: `[key.NAME]`.
    pub fn named_sections(
        &mut self,
        key: &'static str,
        errors: &mut ConfigErrors,
    ) -> Option<Vec<(Located<String>, Section<'a>)>> {
        let section = self.section(key, errors)?;
        let entries = section.entries.into_iter().filter_map(|(name, value)| {
            let name = located(name);
            let title = format!("[{key}.{}]", name.value);
            let table = self.table_of(&name.value, value, title, errors)?;
            Some((name, table))
        });
        Some(entries.collect())
    }

    /// A table beneath this one.
    pub fn section(&mut self, key: &'static str, errors: &mut ConfigErrors) -> Option<Section<'a>> {
        let value = self.take(key)?;
        self.table_of(key, value, format!("[{key}]"), errors)
    }

    /// A list of tables: `[[key]]`.
    pub fn sections(&mut self, key: &'static str, errors: &mut ConfigErrors) -> Option<Vec<Section<'a>>> {
        let value = self.take(key)?;
        let span = value.span();
        let items = match value.into_inner() {
            DeValue::Array(items) => items,
            other => {
                return self.wrong_type(
                    key,
                    &span,
                    &format!("a list of tables, each begun by [[{key}]]"),
                    &other,
                    errors,
                );
            }
        };
        Some(
            items
                .into_iter()
                .filter_map(|item| self.table_of(key, item, format!("[[{key}]]"), errors))
                .collect(),
        )
    }

    /// A table that is handed on as it is.
    pub fn table(&mut self, key: &'static str, errors: &mut ConfigErrors) -> Option<toml::Table> {
        self.section(key, errors).map(|section| section.into_table(errors))
    }

    /// All that has not been taken, as it is.
    pub fn into_table(self, errors: &mut ConfigErrors) -> toml::Table {
        let value = Spanned::new(self.span.clone(), DeValue::Table(self.entries));
        match toml::Table::deserialize(ValueDeserializer::from(value)) {
            Ok(table) => table,
            Err(error) => {
                errors.push(self.document.error(&error.span().unwrap_or(self.span), error.message()));
                toml::Table::new()
            }
        }
    }

    /// Names every key that nobody asked for.
    pub fn finish(self, errors: &mut ConfigErrors) {
        self.report_unknown(errors);
    }

    /// As [`Section::finish`], for a reader that goes on using the section to say where something stands.
    pub fn report_unknown(&self, errors: &mut ConfigErrors) {
        for (key, _) in &self.entries {
            let problem = format!("unknown key `{}` in {}", key.get_ref(), self.title);
            errors.push(
                self.document
                    .error(&key.span(), problem)
                    .hint(suggest(key.get_ref(), &self.known)),
            );
        }
    }

    /// Refuses every key but these, and leaves it out.
    pub fn keep_only(&mut self, allowed: &[&str], errors: &mut ConfigErrors) {
        for (key, value) in std::mem::take(&mut self.entries) {
            if allowed.contains(&&**key.get_ref()) {
                self.entries.insert(key, value);
                continue;
            }
            let problem = format!("`{}` is no key that is allowed here", key.get_ref());
            let hint = suggest(key.get_ref(), allowed);
            errors.push(self.document.error(&key.span(), problem).hint(hint));
        }
    }

    /// An error about this table.
    pub fn error(&self, problem: impl Into<String>) -> ConfigError {
        self.document.error(&self.span, problem)
    }

    /// The folder of this file: what relative paths in it are relative to.
    pub fn folder(&self) -> PathBuf {
        let absolute = std::path::absolute(&self.document.file).unwrap_or_else(|_| self.document.file.clone());
        absolute.parent().unwrap_or(Path::new("/")).to_owned()
    }

    /// Where this table begins.
    pub fn position(&self) -> Position {
        Position::of(&self.span, &self.document.text)
    }

    /// An error about a value of this table.
    pub fn error_at<T>(&self, located: &Located<T>, problem: impl Into<String>) -> ConfigError {
        self.document.error(&located.span, problem)
    }

    /// Whether the value of a key is a table.
    pub fn holds_table(&self, key: &str) -> bool {
        let value = self.entries.get(key);
        value.is_some_and(|value| matches!(value.get_ref(), DeValue::Table(_)))
    }

    /// Whether the value of a key is `true` or `false`.
    pub fn holds_flag(&self, key: &str) -> bool {
        let value = self.entries.get(key);
        value.is_some_and(|value| matches!(value.get_ref(), DeValue::Boolean(_)))
    }

    pub fn contains(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    fn take(&mut self, key: &'static str) -> Option<Spanned<DeValue<'a>>> {
        self.known.push(key);
        self.entries.remove(key)
    }

    fn table_of(
        &self,
        key: &str,
        value: Spanned<DeValue<'a>>,
        title: String,
        errors: &mut ConfigErrors,
    ) -> Option<Section<'a>> {
        let span = value.span();
        match value.into_inner() {
            DeValue::Table(entries) => Some(Section {
                document: self.document,
                title,
                span,
                entries,
                known: Vec::new(),
            }),
            other => self.wrong_type(key, &span, "a table", &other, errors),
        }
    }

    fn wrong_type<T>(
        &self,
        key: &str,
        span: &Range<usize>,
        expected: &str,
        found: &DeValue<'_>,
        errors: &mut ConfigErrors,
    ) -> Option<T> {
        let problem = format!("`{key}` must be {expected}, not {}", found.type_str());
        errors.push(self.document.error(span, problem));
        None
    }
}

fn located(name: Spanned<Cow<'_, str>>) -> Located<String> {
    Located {
        span: name.span(),
        value: name.into_inner().into_owned(),
    }
}

/// The known name that is closest to what was typed, or all of them.
pub fn suggest(typed: &str, known: &[&str]) -> String {
    let closest = known.iter().map(|name| (distance(typed, name), name)).min();
    match closest {
        Some((distance, name)) if distance <= 2.max(typed.len() / 3) => format!("did you mean `{name}`?"),
        Some(_) => format!("known here: {}", known.join(", ")),
        None => "nothing is known here".into(),
    }
}

/// The number of single-character edits between two words (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
