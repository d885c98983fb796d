//! What a text of configuration says at all: the names of its keys, whatever their values are.
//!
//! A text that stops in the middle is often a whole one that says less. This tells such a one from a change of values, which
//! is somebody's intention. Boundary: nothing is read from files here, and nothing is decided.

use std::{
    collections::BTreeSet,
    hash::{DefaultHasher, Hash, Hasher},
};
use toml::{Table, Value};

/// The keys of a TOML text, and whether it ends as a text that was written to its end does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// A digest of each, with those above it: eight bytes a key, however long the names are.
    keys: BTreeSet<u64>,
    is_cut: bool,
}

// === impl Said ===

impl Said {
    /// What is no TOML says nothing.
    pub fn of(text: &str) -> Self {
        let mut keys = BTreeSet::new();
        if let Ok(table) = text.parse::<Table>() {
            note(&table, 0, &mut keys);
        }
        Self {
            keys,
            is_cut: !text.ends_with('\n'),
        }
    }

    /// Whether the text is empty or ends within a line, as one does of which more is to come.
    pub fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// Whether a key is missing that was there before.
    pub fn says_less_than(&self, before: &Self) -> bool {
        !before.keys.is_subset(&self.keys)
    }
}

/// `above`: the digest of the table's own key.
fn note(table: &Table, above: u64, keys: &mut BTreeSet<u64>) {
    for (key, value) in table {
        note_value(value, beneath(above, key), keys);
    }
}

fn note_value(value: &Value, key: u64, keys: &mut BTreeSet<u64>) {
    keys.insert(key);
    match value {
        Value::Table(table) => note(table, key, keys),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate().filter(|(_, item)| item.is_table()) {
                note_value(item, beneath(key, index), keys);
            }
        }
        _ => {}
    }
}

fn beneath(above: u64, key: impl Hash) -> u64 {
    let mut digest = DefaultHasher::new();
    (above, key).hash(&mut digest);
    digest.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = "index = [\"a\"]\n[headers]\nset = { X-A = \"1\", X-B = \"2\" }\n[[policy]]\nplugin = \"p\"\n\
                         [policy.config]\nrealm = \"r\"\nlist = [1, 2]\n[[policy]]\nplugin = \"q\"\n";

    #[test]
    fn what_is_missing_is_less_and_what_is_different_is_not() {
        let whole = Said::of(WHOLE);
        for (text, less) in [
            (WHOLE.to_owned(), false),
            (WHOLE.replace("\"p\"", "\"r\"").replace("[1, 2]", "[]"), false),
            (format!("{WHOLE}[[policy]]\nplugin = \"third\"\n"), false),
            (String::new(), true),
            ("# nothing\n".to_owned(), true),
            ("[[policy".to_owned(), true),
            (WHOLE.replace("realm = \"r\"\n", ""), true),
            (WHOLE.replace(", X-B = \"2\"", ""), true),
            (WHOLE.replace("[[policy]]\nplugin = \"q\"\n", ""), true),
            (WHOLE.replace("index = [\"a\"]\n", ""), true),
        ] {
            assert_eq!(Said::of(&text).says_less_than(&whole), less, "{text}");
        }
        assert!(!whole.says_less_than(&Said::default()));
    }

    #[test]
    fn every_beginning_of_a_text_is_cut_or_says_less() {
        let whole = Said::of(WHOLE);
        assert!(!whole.is_cut());
        for (end, _) in WHOLE.char_indices() {
            let half = Said::of(&WHOLE[..end]);
            assert!(half.is_cut() || half.says_less_than(&whole), "{:?}", &WHOLE[..end]);
        }
    }
}
