//! A policy or an observer as a chain's file lists it.

use super::{EVIDENCE, ISOLATION};
use crate::config::{
    ConfigErrors,
    asked::{self, Allowed, Asked},
    document::{Located, Section},
    grants,
    limits::GivenLimits,
    manifest::read_facts,
    remote::GivenPin,
    texts::ConfigFiles,
};
use std::{collections::BTreeSet, path::Path};
use wasmserve_policy::{Grants, Limits, PolicySpec, Reuse};

/// A `[[policy]]` or `[[observer]]` table, exactly as written.
pub(super) struct PolicyEntry<'a> {
    pub(super) section: Section<'a>,
    /// `plugin`: a folder with a `plugin.toml`, or a `.wasm` file, relative to the file that names it; `file:` before it
    /// says no more. Or a reference: `https://HOST/PATH.wasm`, or `oci://REGISTRY/REPOSITORY:TAG`, each with `@sha256:...`
    /// or a `digest` beside it. Needed.
    pub(super) plugin: Option<Located<String>>,
    pub(super) pin: GivenPin,
    /// `establishes`: facts that a fetched plugin may set; of others the manifest says so. Default: `[]`. `reads`: facts
    /// that it may ask for, in the same way. Default: `[]`.
    pub(super) facts: (BTreeSet<String>, BTreeSet<String>),
    /// `name`: what logs and errors call it; no two of a chain have the same. Default: that of the manifest, or of the file.
    pub(super) name: Option<Located<String>>,
    /// `grants`: words for services that it may use: `logging`, `sharing`, `key-value`, `counters`. Default: `[]`.
    pub(super) grants: Grants,
    /// `limits`: what a call may use, before the manifest's own word.
    pub(super) limits: GivenLimits,
    /// `isolation`: not for observers; what a call starts from: `"request"` (the configured state) or `"reuse"` (what an earlier call left
    /// behind; then nothing is kept). Default: `"request"`. `evidence`: `"kept"` (decisions are kept with what they went by)
    /// or `"never"`. Default: `"kept"`.
    pub(super) reuse: Reuse,
    /// `[policy.config]`: the plugin's configuration, whatever keys it has. Default: empty.
    pub(super) config: toml::Table,
    /// `[policy.config-files]`: keys of the configuration whose values are the texts of files.
    pub(super) config_files: ConfigFiles,
    /// `shadow`: a candidate that is asked the same, off the response path: a plugin as `plugin` names it, or a
    /// `[policy.shadow]` table. Not for observers. Default: none.
    pub(super) shadow: Option<ShadowEntry>,
}

/// `shadow = "NEW.wasm"`, or a `[policy.shadow]` table.
pub(super) struct ShadowEntry {
    /// `plugin`: the candidate. Needed.
    pub(super) plugin: Located<String>,
    pub(super) pin: GivenPin,
    /// `limits`: before its manifest's own word. Default: those of the policy, for one without a manifest.
    pub(super) limits: GivenLimits,
    /// `one-in`: one request of so many is compared, at most. Default: `1`.
    pub(super) one_in: u32,
    /// `[policy.shadow.config]`: its configuration. Default: that of the policy.
    pub(super) config: Option<toml::Table>,
}

// === impl PolicyEntry ===

impl<'a> PolicyEntry<'a> {
    pub(super) fn of_policy(mut section: Section<'a>, dir: &Path, errors: &mut ConfigErrors) -> Self {
        let isolation = section.choice("isolation", &ISOLATION, errors).unwrap_or_default();
        let evidence = section.choice("evidence", &EVIDENCE, errors).unwrap_or(true);
        Self {
            reuse: Reuse { evidence, isolation },
            ..Self::read(section, dir, errors)
        }
    }

    pub(super) fn of_observer(section: Section<'a>, dir: &Path, errors: &mut ConfigErrors) -> Self {
        let entry = Self::read(section, dir, errors);
        if entry.grants.sharing {
            let problem = "`sharing` is for policies: an observer has no response to share";
            errors.push(entry.section.error(problem));
        }
        if let Some(shadow) = &entry.shadow {
            let problem = "`shadow` is for policies: what an observer does cannot be compared";
            errors.push(entry.section.error_at(&shadow.plugin, problem));
        }
        entry
    }

    /// The keys that both have.
    fn read(mut section: Section<'a>, dir: &Path, errors: &mut ConfigErrors) -> Self {
        let plugin = section.required_string("plugin", errors);
        let name = section.string("name", errors);
        let grants = grants::read(&mut section, dir, errors);
        let limits = section
            .section("limits", errors)
            .map(|limits| GivenLimits::read(limits, errors));
        let (pin, facts) = (GivenPin::take(&mut section, errors), read_facts(&mut section, errors));
        let config = section.table("config", errors).unwrap_or_default();
        let config_files = ConfigFiles::take(&mut section, errors);
        let shadow = ShadowEntry::read(&mut section, errors);
        section.report_unknown(errors);
        for located in plugin.iter().chain(&name).filter(|located| located.value.is_empty()) {
            errors.push(section.error_at(located, "must not be empty"));
        }
        let plugin = plugin.filter(|plugin| !plugin.value.is_empty());
        Self {
            section,
            plugin,
            pin,
            facts,
            name,
            grants,
            limits: limits.unwrap_or_default(),
            reuse: Reuse::default(),
            config,
            config_files,
            shadow,
        }
    }

    /// Gives a plugin from elsewhere what it asks for, as far as the chain says the same.
    pub(super) fn allow(&self, asked: Option<&Asked>, policy: &mut PolicySpec, errors: &mut ConfigErrors) {
        let (establishes, reads) = &self.facts;
        let allowed = Allowed {
            limits: &self.limits,
            otherwise: &Limits::default(),
            establishes,
            reads,
        };
        match asked::settle(asked, allowed) {
            Ok(settled) => {
                policy.limits = settled.limits;
                policy.establishes = settled.establishes;
                policy.reads = settled.reads;
            }
            Err(missing) => {
                let name = &policy.name;
                let problem = format!("the plugin `{name}` asks for what nothing here allows it");
                let error = match &self.plugin {
                    Some(plugin) => self.section.error_at(plugin, problem),
                    None => self.section.error(problem),
                };
                errors.push(error.hint(format!("if it may have that, write {missing}")));
            }
        }
    }

    /// Refuses `establishes` and `reads`, of a plugin that is not from elsewhere.
    pub(super) fn say_no_facts(&self, errors: &mut ConfigErrors) {
        let (establishes, reads) = &self.facts;
        if !establishes.is_empty() || !reads.is_empty() {
            let problem =
                "`establishes` and `reads` are for plugins that are fetched: of others [facts] in plugin.toml says so";
            errors.push(self.section.error(problem));
        }
    }
}

// === impl ShadowEntry ===

impl ShadowEntry {
    fn read(section: &mut Section<'_>, errors: &mut ConfigErrors) -> Option<Self> {
        if !section.holds_table("shadow") {
            let plugin = section.string("shadow", errors)?;
            return Some(Self {
                plugin,
                pin: GivenPin::default(),
                limits: GivenLimits::default(),
                one_in: 1,
                config: None,
            });
        }
        let mut shadow = section.section("shadow", errors)?;
        let plugin = shadow.required_string("plugin", errors);
        let pin = GivenPin::take(&mut shadow, errors);
        let limits = shadow
            .section("limits", errors)
            .map(|limits| GivenLimits::read(limits, errors));
        let one_in = shadow.count("one-in", errors).unwrap_or(1);
        let config = shadow.table("config", errors);
        shadow.finish(errors);
        Some(Self {
            plugin: plugin?,
            pin,
            limits: limits.unwrap_or_default(),
            one_in: u32::try_from(one_in).unwrap_or(u32::MAX),
            config,
        })
    }
}
