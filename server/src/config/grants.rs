//! What an operator grants a policy or an observer, as it is typed in the chain: words in `grants`, and tables where
//! there is more to say. And `[services]`: what all of a site's plugins may use of them together.

use super::{
    ConfigErrors,
    document::{Located, Section, suggest},
    limits::memory_size,
    units::positive,
};
use std::collections::BTreeSet;
use wasmserve_policy::{Grants, KeyValueGrant, ServiceBudget};

/// The words of `grants`.
const WORDS: [&str; 4] = ["logging", "sharing", "key-value", "counters"];

/// The bucket that every policy with the grant has for itself.
const OWN_BUCKET: &str = "default";

/// Reads what a `[[policy]]` or `[[observer]]` table grants.
pub fn read(section: &mut Section<'_>, errors: &mut ConfigErrors) -> Grants {
    let mut grants = Grants::default();
    for word in section.strings("grants", errors).unwrap_or_default() {
        match word.value.as_str() {
            "logging" => grants.logging = true,
            "sharing" => grants.sharing = true,
            "counters" => grants.counters = true,
            "key-value" => grants.key_value = Some(KeyValueGrant::default()),
            _ => unknown(section, &word, errors),
        }
    }
    if let Some(table) = section.section("key-value", errors) {
        grants.key_value = Some(key_value(table, errors));
    }
    grants
}

fn unknown(section: &Section<'_>, word: &Located<String>, errors: &mut ConfigErrors) {
    let problem = format!("`grants`: there is no service `{}`", word.value);
    errors.push(section.error_at(word, problem).hint(suggest(&word.value, &WORDS)));
}

/// `[policy.key-value]`.
fn key_value(mut table: Section<'_>, errors: &mut ConfigErrors) -> KeyValueGrant {
    let mut buckets = BTreeSet::new();
    for bucket in table.strings("buckets", errors).unwrap_or_default() {
        if bucket.value.is_empty() || bucket.value == OWN_BUCKET {
            let problem = format!("`buckets` cannot name {:?}", bucket.value);
            let hint =
                "`default` is the plugin's own bucket, which it has anyway: name those that it shares with others";
            errors.push(table.error_at(&bucket, problem).hint(hint));
        }
        buckets.insert(bucket.value);
    }
    let time_to_live = table.parsed("time-to-live", positive, errors);
    table.finish(errors);
    KeyValueGrant { buckets, time_to_live }
}

/// `[services]`.
pub fn read_budget(mut section: Section<'_>, errors: &mut ConfigErrors) -> ServiceBudget {
    let mut budget = ServiceBudget::default();
    if let Some(mut table) = section.section("key-value", errors) {
        budget.pair_bytes = table.parsed("bytes", memory_size, errors).unwrap_or(budget.pair_bytes);
        budget.pairs = table.count("pairs", errors).unwrap_or(budget.pairs);
        table.finish(errors);
    }
    if let Some(mut table) = section.section("counters", errors) {
        budget.token_buckets = table.count("buckets", errors).unwrap_or(budget.token_buckets);
        table.finish(errors);
    }
    section.finish(errors);
    budget
}

/// What is granted, a word or a few for each, for someone to read.
pub fn describe(grants: &Grants) -> Vec<String> {
    let Grants {
        logging,
        sharing,
        counters,
        key_value,
    } = grants;
    let words = [("logging", *logging), ("sharing", *sharing), ("counters", *counters)];
    let mut described: Vec<String> = words
        .into_iter()
        .filter(|(_, granted)| *granted)
        .map(|(word, _)| word.to_owned())
        .collect();
    described.extend(key_value.as_ref().map(describe_key_value));
    described
}

fn describe_key_value(grant: &KeyValueGrant) -> String {
    let shared = grant.buckets.iter().map(|bucket| format!("bucket {bucket}"));
    let time = grant
        .time_to_live
        .map(|time| format!("for {}", humantime::format_duration(time)));
    let details: Vec<String> = shared.chain(time).collect();
    match details.is_empty() {
        true => "key-value".to_owned(),
        false => format!("key-value ({})", details.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::document::Document, *};
    use std::time::Duration;

    /// What is granted by the lines of a policy's table.
    fn granted(lines: &str) -> Result<Grants, String> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("chain");
        std::fs::write(&file, lines).expect("a file");
        let document = Document::read(&file).expect("a document");
        let mut errors = ConfigErrors::default();
        let mut root = document.root(&mut errors);
        let grants = read(&mut root, &mut errors);
        root.finish(&mut errors);
        let wrong = |errors: ConfigErrors| errors.to_string().replace(&format!("{}:", file.display()), "");
        errors.check().map_err(wrong).map(|()| grants)
    }

    #[test]
    fn words_and_tables_grant() {
        assert_eq!(granted(""), Ok(Grants::default()));
        let grants = granted(
            r#"
            grants = ["logging", "counters"]
            [key-value]
            buckets = ["usage"]
            time-to-live = "1h"
            "#,
        );
        let grants = grants.expect("grants");
        let expected = Grants {
            logging: true,
            counters: true,
            key_value: Some(KeyValueGrant {
                buckets: BTreeSet::from(["usage".to_owned()]),
                time_to_live: Some(Duration::from_secs(3600)),
            }),
            ..Grants::default()
        };
        assert_eq!(grants, expected);
        assert_eq!(
            describe(&grants),
            ["logging", "counters", "key-value (bucket usage, for 1h)"]
        );
        let grants = granted("grants = [\"key-value\"]").expect("grants");
        assert_eq!(describe(&grants), ["key-value"]);
    }

    #[test]
    fn what_is_mistyped_is_named_with_its_place() {
        for (lines, expected) in [
            (
                "grants = [\"counter\"]",
                "1:11: `grants`: there is no service `counter`\n    hint: did you mean `counters`?",
            ),
            (
                "[key-value]\nbuckets = [\"default\"]\nttl = 1\n",
                "2:12: `buckets` cannot name \"default\"\n    hint: `default` is the plugin's own bucket, which it has \
                 anyway: name those that it shares with others\n\
                 3:1: unknown key `ttl` in [key-value]\n    hint: known here: buckets, time-to-live",
            ),
        ] {
            assert_eq!(granted(lines), Err(expected.to_owned()), "{lines}");
        }
    }
}
