//! Admits or refuses clients by their addresses. README.md is the reference.
//!
//! The order of events: for the path, and for everything that it is mapped to, the list of the longest prefix that covers
//! it is found. Each of these lists is gone through until a rule holds the client's address; one that refuses is enough.
//! Whether the address lies within a block is asked, never the address, so that decisions are the same for many clients.
#![forbid(unsafe_code)]

mod rule;

use rule::{Action, List, Rule};
use serde::Deserialize;
use std::collections::BTreeMap;
use wasmserve_plugin::{Config, Decision, Mistakes, Policy, Request, covers, deny, path, proceed};

struct IpAccess {
    /// Longest prefix first.
    lists: Vec<(String, List)>,
    status: u16,
}

wasmserve_plugin::export!(IpAccess);

/// What the operator configured.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    rules: Vec<String>,
    #[serde(default)]
    prefixes: BTreeMap<String, Vec<String>>,
    #[serde(default = "forbidden")]
    status: u16,
}

fn forbidden() -> u16 {
    403
}

impl Policy for IpAccess {
    fn configure(config: &Config) -> Result<Self, String> {
        let mut written: Written = config.read()?;
        let mut mistakes = Mistakes::default();
        mistakes.check_refusal("status", written.status);
        if !written.rules.is_empty() && written.prefixes.insert("/".to_owned(), written.rules).is_some() {
            mistakes.note(
                "prefixes",
                "has the prefix \"/\", which is what `rules` is for: give one of the two",
            );
        }
        if written.prefixes.is_empty() {
            mistakes.note("rules", "is empty, and so is `prefixes`: nothing would be guarded");
        }
        let mut lists: Vec<(String, List)> = Vec::new();
        for (prefix, rules) in &written.prefixes {
            let key = if prefix == "/" {
                "rules".to_owned()
            } else {
                format!("prefixes.{prefix}")
            };
            mistakes.take("prefixes", prefix, path::check_prefix(prefix));
            let rules: Vec<Rule> = mistakes.parse_all(&key, rules);
            if let Some(list) = mistakes.take("prefixes", prefix, List::new(rules)) {
                lists.push((prefix.trim_end_matches('/').to_owned(), list));
            }
        }
        lists.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        if let Some(twice) = lists.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            mistakes.note_text("prefixes", &twice[0].0, "is there twice, with and without a final `/`");
        }
        mistakes.check()?;
        Ok(Self {
            lists,
            status: written.status,
        })
    }

    fn decide(&self, request: &Request) -> Result<Decision, String> {
        let mut reached: Vec<&List> = Vec::new();
        for path in std::iter::once(request.path()).chain(request.targets()) {
            let list = self.lists.iter().find(|(prefix, _)| covers(prefix, &path));
            if let Some((_, list)) = list
                && !reached.iter().any(|other| std::ptr::eq(*other, list))
            {
                reached.push(list);
            }
        }
        let refused = reached.into_iter().any(|list| list.of(request) == Action::Deny);
        if refused {
            return Ok(deny(self.status).into());
        }
        Ok(proceed().into())
    }
}

#[cfg(test)]
mod tests;
