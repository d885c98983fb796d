//! `[site.headers]`: header fields of every answer of a site, errors and redirects included.

use super::{
    ConfigErrors,
    document::{Located, Section},
};
use wasmserve_policy::{HeaderOperation, HeaderRule, HeaderRules};

/// `[site.headers]` as written.
#[derive(Debug, Default)]
struct GivenHeaders {
    /// `remove`: names of fields that are taken off, such as `["Server"]`. Default: `[]`.
    remove: Vec<Located<String>>,
    /// `set`: fields by name, in place of those that are there, such as `{ X-Frame-Options = "DENY" }`.
    /// Default: `{}`.
    set: Vec<(Located<String>, String)>,
    /// `append`: fields by name, beside those that are there. Default: `{}`.
    append: Vec<(Located<String>, String)>,
}

/// Reads the table. Fields are removed, then set, then appended.
pub fn read(mut section: Section<'_>, errors: &mut ConfigErrors) -> HeaderRules {
    let mut table = |key, errors: &mut ConfigErrors| {
        let fields = section.texts(key, errors).unwrap_or_default().into_iter();
        fields.map(|(name, value)| (name, value.value)).collect()
    };
    let (set, append) = (table("set", errors), table("append", errors));
    let given = GivenHeaders {
        remove: section.strings("remove", errors).unwrap_or_default(),
        set,
        append,
    };
    section.report_unknown(errors);
    let mut rules = Vec::new();
    for (name, rule) in given.rules() {
        // One by one, so that each that is wrong is told where it stands.
        match HeaderRules::new(vec![rule.clone()]) {
            Ok(_) => rules.push(rule),
            Err(problem) => errors.push(section.error_at(&name, format!("`headers`: {problem}"))),
        }
    }
    HeaderRules::new(rules).unwrap_or_else(|problem| {
        errors.push(section.error(format!("`headers`: {problem}")));
        HeaderRules::default()
    })
}

/// The same, as it is typed.
pub fn print(rules: &HeaderRules) -> toml::Table {
    let mut remove = Vec::new();
    let (mut set, mut append) = (toml::Table::new(), toml::Table::new());
    for HeaderRule { name, operation } in rules.given() {
        match operation {
            HeaderOperation::Remove => remove.push(toml::Value::from(name.clone())),
            HeaderOperation::Set(value) => drop(set.insert(name.clone(), value.clone().into())),
            HeaderOperation::Append(value) => drop(append.insert(name.clone(), value.clone().into())),
        }
    }
    let mut table = toml::Table::new();
    table.insert("remove".into(), remove.into());
    table.insert("set".into(), set.into());
    table.insert("append".into(), append.into());
    table
}

// === impl GivenHeaders ===

impl GivenHeaders {
    /// What is to be done, with where the name of each field stands.
    fn rules(self) -> impl Iterator<Item = (Located<String>, HeaderRule)> {
        let remove = self.remove.into_iter().map(|name| (name, HeaderOperation::Remove));
        let set = self.set.into_iter();
        let set = set.map(|(name, value)| (name, HeaderOperation::Set(value)));
        let append = self.append.into_iter();
        let append = append.map(|(name, value)| (name, HeaderOperation::Append(value)));
        remove.chain(set).chain(append).map(|(name, operation)| {
            let rule = HeaderRule {
                name: name.value.clone(),
                operation,
            };
            (name, rule)
        })
    }
}
