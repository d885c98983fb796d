//! `cargo xtask reference`: the page of all keys, from the docs of what they are read into.
//!
//! A key is documented where it is read: on the field that holds it (`` `key`: meaning. Default: `value`. ``), or in a list
//! item of the function that reads it. The page has one table for each structure, in the order of [`PAGES`]; what kind of
//! value a key has comes from the call that reads it. A test says whether the page is what the sources say, and whether
//! every key that is read is on it.
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// Where the page lies.
const PAGE: &str = "server/docs/reference.md";

/// Where keys are read.
const SOURCES: &str = "server/src/config";

const HEADING: &str = "\
# Reference

Every key of every file, with its default. This page is made from the sources: `cargo xtask reference` writes it. What the
keys mean together is in the other [pages](README.md); [example.toml](example.toml) is a whole file.

Sizes and times always have a unit: `\"64KiB\"`, `\"1.5MB\"`, `\"20ms\"`, `\"1m 30s\"`. Paths are relative to the file that
names them. Unknown keys are errors.
";

/// A file of the operator's or of a plugin, and the tables in it: a title, and the items that document its keys.
struct Chapter {
    title: &'static str,
    about: &'static str,
    tables: &'static [(&'static str, &'static [Item])],
}

/// A file of [`SOURCES`], and a `struct`, `enum` or `fn` in it.
type Item = (&'static str, &'static str);

const PAGES: &[Chapter] = &[
    Chapter {
        title: "wasmserve.toml",
        about: "What `wasmserve --config` reads.",
        tables: &[
            (
                "[server]",
                &[
                    ("server.rs", "struct ServerSettings"),
                    ("operators.rs", "struct OperatorSettings"),
                ],
            ),
            ("[[listener]]", &[("listeners.rs", "struct ListenerSettings")]),
            ("[acme]", &[("acme.rs", "struct GivenAcme")]),
            ("[site.tls]", &[("tls.rs", "const SITE")]),
            ("[server.client]", &[("budgets.rs", "struct GivenClient")]),
            ("[server.disk-cache]", &[("disk_cache.rs", "struct DiskCacheSettings")]),
            ("[server.record]", &[("operators.rs", "fn record")]),
            ("[server.traces]", &[("traces.rs", "fn traces")]),
            ("[server.registry]", &[("remote.rs", "struct RegistrySettings")]),
            (
                "[[site]]",
                &[("site.rs", "fn name"), ("site.rs", "fn hosts"), ("site.rs", "fn roots")],
            ),
            ("[[site]], [defaults] and [sites]", &[("site.rs", "struct GivenSite")]),
            (
                "[[site]], [defaults], [sites] and [site.roots.NAME]",
                &[("roots.rs", "struct GivenRoot")],
            ),
            (
                "[site.store], [defaults.store] and [site.roots.NAME.store]",
                &[("stores.rs", "struct GivenStore")],
            ),
            (
                "[site.budget], [defaults.budget] and [sites.budget]",
                &[("site.rs", "struct GivenBudget"), ("budgets.rs", "struct GivenTraffic")],
            ),
            (
                "[site.headers], [defaults.headers] and [sites.headers]",
                &[("headers.rs", "struct GivenHeaders")],
            ),
            (
                "[site.redis], [defaults.redis] and [sites.redis]",
                &[("redis.rs", "fn read")],
            ),
            ("[sites]", &[("tenants.rs", "struct TenantRules")]),
            ("[sites.own-policies]", &[("tenants.rs", "struct OwnPolicies")]),
        ],
    },
    Chapter {
        title: "site.toml",
        about: "What a tenant may say: the keys of `[sites]` `allow`, as in `[[site]]` but at the top of the file, and \
                `[[policy]]` with these.",
        tables: &[("[[policy]]", &[("tenants.rs", "struct GivenPolicy")])],
    },
    Chapter {
        title: "plugins.toml",
        about: "The chain of a folder of plugins. In `wasmserve.toml` the same tables are `[[site.policy]]`, \
                `[[defaults.policy]]` and `[[sites.policy]]`, and `observer` in place of `policy`.",
        tables: &[
            (
                "[[policy]] and [[observer]]",
                &[
                    ("plugins/entry.rs", "struct PolicyEntry"),
                    ("remote.rs", "struct GivenPin"),
                    ("grants.rs", "fn read"),
                    ("grants.rs", "fn directories"),
                    ("grants.rs", "fn environment"),
                ],
            ),
            ("[policy.limits]", &[("limits.rs", "struct GivenLimits")]),
            ("[policy.key-value]", &[("grants.rs", "fn key_value")]),
            ("[policy.http]", &[("grants.rs", "fn http")]),
            (
                "[policy.shadow]",
                &[
                    ("plugins/entry.rs", "struct ShadowEntry"),
                    ("remote.rs", "struct GivenPin"),
                ],
            ),
            ("[services], [site.services]", &[("grants.rs", "fn read_budget")]),
        ],
    },
    Chapter {
        title: "plugin.toml",
        about: "What a plugin says of itself.",
        tables: &[
            (
                "the top of the file, and [facts]",
                &[("manifest.rs", "struct Manifest")],
            ),
            (
                "[build]",
                &[
                    ("recipe.rs", "enum Recipe"),
                    ("recipe.rs", "struct Entry"),
                    ("manifest.rs", "struct Build"),
                ],
            ),
            ("[limits]", &[("limits.rs", "struct GivenLimits")]),
        ],
    },
];

/// A key as it is documented.
#[derive(Debug, PartialEq, Eq)]
struct Key {
    /// With its table, if it names one: `limit`, `[server.record]`.
    name: String,
    meaning: String,
    default: Option<String>,
}

/// Writes the page.
pub fn run(arguments: &[String]) -> Result<(), String> {
    if !arguments.is_empty() {
        return Err("reference takes no arguments".into());
    }
    let page = page()?;
    fs::write(project().join(PAGE), page).map_err(|error| format!("cannot write {PAGE}: {error}"))?;
    println!("{PAGE} is written");
    Ok(())
}

fn project() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.ancestors().nth(2).unwrap_or(own).to_owned()
}

fn page() -> Result<String, String> {
    let sources = sources()?;
    let all: String = sources.values().map(String::as_str).collect();
    let mut page = HEADING.to_owned();
    for chapter in PAGES {
        page += &format!("\n## {}\n{}\n", chapter.title, chapter.about);
        for (title, items) in chapter.tables {
            page += &format!(
                "\n### {}\n| key | value | default | |\n|---|---|---|---|\n",
                escaped(title)
            );
            for (file, item) in *items {
                let source = sources.get(*file).ok_or_else(|| format!("{SOURCES} has no {file}"))?;
                let docs = documented(source, item).ok_or_else(|| format!("{SOURCES}/{file} has no {item}"))?;
                if docs.is_empty() {
                    return Err(format!("{item} of {SOURCES}/{file} documents no key"));
                }
                page.extend(docs.iter().map(|key| key.row(source, &all)));
            }
        }
    }
    Ok(page)
}

/// What reads configuration, by file beneath [`SOURCES`].
fn sources() -> Result<BTreeMap<String, String>, String> {
    let mut sources = BTreeMap::new();
    read_into(&mut sources, &project().join(SOURCES), "")?;
    Ok(sources)
}

fn read_into(sources: &mut BTreeMap<String, String>, folder: &Path, within: &str) -> Result<(), String> {
    let cannot = |error: std::io::Error| format!("cannot read {}: {error}", folder.display());
    for entry in fs::read_dir(folder).map_err(cannot)? {
        let path = entry.map_err(cannot)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() {
            read_into(sources, &path, &format!("{within}{name}/"))?;
        } else if name != "tests.rs" {
            let source = fs::read_to_string(&path).map_err(cannot)?;
            // What tests write is no key.
            let source = source.split("#[cfg(test)]").next().unwrap_or_default();
            sources.insert(format!("{within}{name}"), source.to_owned());
        }
    }
    Ok(())
}

/// The keys that an item documents: in its own doc comment as a list, and in those of its fields.
fn documented(source: &str, item: &str) -> Option<Vec<Key>> {
    let lines: Vec<&str> = source.lines().collect();
    let begins = |line: &str| {
        let line = line.trim_start();
        let line = line
            .strip_prefix("pub ")
            .or_else(|| line.strip_prefix("pub(super) "))
            .unwrap_or(line);
        line.strip_prefix(item)
            .is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
    };
    let at = lines.iter().position(|line| begins(line))?;
    let above = lines[..at].iter().rev();
    let above = above.take_while(|line| line.trim_start().starts_with("///") || line.trim_start().starts_with("#["));
    let mut docs: Vec<&str> = above.copied().collect();
    docs.reverse();
    let mut keys = keys(&docs.iter().filter_map(|line| doc(line)).collect::<Vec<_>>());
    // What the item itself is called is the title of its table.
    keys.retain(|key| item.starts_with("fn ") && !key.name.starts_with("`[policy.d") || !key.name.starts_with("`["));
    if item.starts_with("struct ") || item.starts_with("enum ") {
        let indent = lines[at].len() - lines[at].trim_start().len();
        let mut field = Vec::new();
        for line in lines[at + 1..]
            .iter()
            .take_while(|line| **line != format!("{}}}", " ".repeat(indent)))
        {
            match doc(line) {
                Some(text) => field.push(text),
                None => keys.extend(self::keys(&std::mem::take(&mut field))),
            }
        }
    }
    Some(keys)
}

/// The text of a line of a doc comment.
fn doc(line: &str) -> Option<&str> {
    let text = line.trim_start().strip_prefix("///")?;
    Some(text.strip_prefix(' ').unwrap_or(text))
}

/// Paragraphs and list items that begin with a key; a sentence within one that begins with another key begins that.
fn keys(docs: &[&str]) -> Vec<Key> {
    let mut paragraphs: Vec<String> = vec![String::new()];
    for line in docs {
        if line.trim().is_empty() || line.starts_with("- ") {
            paragraphs.push(String::new());
        }
        let last = paragraphs.last_mut().expect("it is never empty");
        let text = line.trim().trim_start_matches("- ");
        *last = format!("{last} {text}").trim().to_owned();
    }
    let mut keys = Vec::new();
    for paragraph in paragraphs {
        let mut rest = paragraph.as_str();
        while !rest.is_empty() {
            let end = next_key(rest);
            keys.extend(Key::parse(rest[..end].trim()));
            rest = rest[end..].trim_start();
        }
    }
    keys
}

/// Where the next sentence begins that is about another key.
fn next_key(text: &str) -> usize {
    let sentences = text.match_indices(". `").map(|(at, _)| at + 2);
    let mut sentences = sentences.filter(|at| Key::parse(&text[*at..]).is_some());
    sentences.next().unwrap_or(text.len())
}

// === impl Key ===

impl Key {
    /// `` `key`: meaning. Default: `value`. `` Several keys are joined by `and`; a table may follow in parentheses.
    fn parse(text: &str) -> Option<Self> {
        let (names, meaning) = text.split_once(": ")?;
        let mut words = names.split_whitespace().peekable();
        let is_key = words
            .peek()
            .is_some_and(|word| word.starts_with('`') && word.ends_with('`'));
        let within = names.contains(" (in `[") && names.ends_with(')');
        let plain = words.all(|word| word == "and" || (word.starts_with('`') && word.ends_with('`')));
        if !is_key || !(plain || within) {
            return None;
        }
        let (meaning, default) = match meaning.rsplit_once("Default: ") {
            Some((meaning, default)) => (meaning, Some(default.trim_end_matches('.').to_owned())),
            None => match meaning.strip_suffix(" Needed.") {
                Some(meaning) => (meaning, Some("needed".to_owned())),
                None => (meaning, None),
            },
        };
        Some(Self {
            name: names.to_owned(),
            meaning: meaning.trim().to_owned(),
            default,
        })
    }

    /// The bare names.
    fn names(&self) -> impl Iterator<Item = &str> {
        let bare = self.name.split(" (in ").next().unwrap_or_default();
        bare.split('`').skip(1).step_by(2)
    }

    fn row(&self, source: &str, all: &str) -> String {
        let kinds = [source, all].map(|source| self.names().next().map_or("", |name| kind(source, name)));
        let kind = kinds.into_iter().find(|kind| !kind.is_empty()).unwrap_or_default();
        let default = self.default.as_deref().unwrap_or("");
        format!(
            "| {} | {kind} | {} | {} |\n",
            escaped(&self.name),
            escaped(default),
            escaped(&self.meaning)
        )
    }
}

fn escaped(text: &str) -> String {
    text.replace('|', "\\|")
}

/// What kind of value a key has, by the call that reads it.
fn kind(source: &str, key: &str) -> &'static str {
    if key.starts_with('[') {
        return "table";
    }
    let calls = calls(source);
    let read = calls.iter().filter(|call| call.key == key);
    let kinds = read.map(|call| match (call.method, call.parser) {
        ("flag", _) => "`true` or `false`",
        ("count", _) => "number",
        ("strings", _) => "list of strings",
        ("choice", _) => "word",
        ("section" | "sections" | "table" | "named_sections" | "texts", _) => "table",
        (
            _,
            "size" | "memory" | "memory_size" | "chunk_size" | "head_size" | "target_size" | "record_limit" | "bytes",
        ) => "size",
        (_, "positive" | "duration" | "processor") if call.method == "parsed" => "time",
        (_, "bandwidth") => "size a second, or `\"unlimited\"`",
        ("limit", "str::parse") => "number in a time, or `\"unlimited\"`",
        ("limit", "positive") if key.ends_with("timeout") => "time, or `\"unlimited\"`",
        ("limit", _) => "number, or `\"unlimited\"`",
        ("word", _) => "word or number",
        ("string" | "required_string" | "parsed" | "required", _) => "string",
        _ => "",
    });
    kinds.max_by_key(|kind| kind.len()).unwrap_or("")
}

/// A call that reads a key.
#[derive(Debug)]
struct Call<'a> {
    method: &'a str,
    key: &'a str,
    /// What follows the key, up to the next comma or parenthesis.
    parser: &'a str,
}

/// The methods that read a key, by how the call looks before it.
const METHODS: [(&str, &str); 24] = [
    (".string(\"", "string"),
    (".required_string(\"", "required_string"),
    (".parsed(\"", "parsed"),
    (".choice(\"", "choice"),
    (".strings(\"", "strings"),
    (".count(\"", "count"),
    (".count_to(\"", "count"),
    (".flag(\"", "flag"),
    (".word(\"", "word"),
    (".texts(\"", "texts"),
    (".table(\"", "table"),
    (".section(\"", "section"),
    (".sections(\"", "sections"),
    (".named_sections(\"", "named_sections"),
    ("limit(section, \"", "limit"),
    ("limit(&mut section, \"", "limit"),
    (" count(section, \"", "count"),
    (" count(&mut section, \"", "count"),
    ("= path(\"", "string"),
    (": path(\"", "string"),
    (" required(&mut root, \"", "required"),
    ("list(&mut section, \"", "strings"),
    (" names(\"", "strings"),
    ("table(\"", "texts"),
];

fn calls(source: &str) -> Vec<Call<'_>> {
    let mut calls = Vec::new();
    for (pattern, method) in METHODS {
        for (at, _) in source.match_indices(pattern) {
            let rest = &source[at + pattern.len()..];
            let Some((key, rest)) = rest.split_once('"') else {
                continue;
            };
            let parser = rest.trim_start_matches([',', ' ', '\n']);
            let parser = parser.split([',', ')', ' ']).next().unwrap_or_default();
            let parser = parser.rsplit("budgets::").next().unwrap_or(parser);
            calls.push(Call { method, key, parser });
        }
    }
    calls
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_what_the_sources_say() {
        let written = fs::read_to_string(project().join(PAGE)).expect(PAGE);
        let made = page().expect("the sources are documented");
        let differs = made
            .lines()
            .zip(written.lines())
            .find(|(made, written)| made != written);
        assert!(
            written == made,
            "{PAGE} is out of date: run `cargo xtask reference`. The sources say: {differs:?}"
        );
    }

    /// Whoever adds a key documents it.
    #[test]
    fn every_key_that_is_read_is_on_the_page() {
        let page = page().expect("the sources are documented");
        for (file, source) in sources().expect("the sources can be read") {
            for call in calls(&source) {
                let forms = [
                    ("`", "`"),
                    ("`[", "]`"),
                    (".", "]"),
                    (".", "."),
                    ("[[", "]]"),
                    ("[", "]"),
                ];
                let mut forms = forms
                    .map(|(before, after)| format!("{before}{}{after}", call.key))
                    .into_iter();
                assert!(
                    forms.any(|form| page.contains(&form)),
                    "{file} reads `{}`, which nothing documents",
                    call.key
                );
            }
        }
    }

    #[test]
    fn keys_are_found_in_docs() {
        let found = keys(&[
            "`a`: the first, such as `\"x\"`. Default: `1`. `b`: the second: more. Default: `\"c\"`.",
            "",
            "- `d` and `e`: two. Needed.",
            "- `f` (in `[g]`): a part of",
            "  a table.",
            "",
            "Nothing: no key.",
        ]);
        let found: Vec<_> = found
            .iter()
            .map(|key| (key.name.as_str(), key.meaning.as_str(), key.default.as_deref()))
            .collect();
        assert_eq!(
            found,
            [
                ("`a`", "the first, such as `\"x\"`.", Some("`1`")),
                ("`b`", "the second: more.", Some("`\"c\"`")),
                ("`d` and `e`", "two.", Some("needed")),
                ("`f` (in `[g]`)", "a part of a table.", None),
            ]
        );
    }
}
