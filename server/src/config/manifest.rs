//! `plugin.toml`: what a plugin says of itself.

use super::{ConfigErrors, document::Document, limits::GivenLimits};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};
use wasmserve_policy::Limits;

pub struct Manifest {
    /// The manifest itself.
    pub file: PathBuf,
    pub name: String,
    pub artefact: PathBuf,
    pub limits: Limits,
    pub establishes: BTreeSet<String>,
    pub reads: BTreeSet<String>,
}

impl Manifest {
    /// Reads `plugin.toml` in a plugin's folder.
    pub fn read(dir: &Path) -> Result<Self, ConfigErrors> {
        let mut errors = ConfigErrors::default();
        let file = dir.join("plugin.toml");
        let document = Document::read(&file)?;
        let mut root = document.root(&mut errors);
        let name = root.required_string("name", &mut errors);
        let artefact = root.required_string("artefact", &mut errors);
        let limits = root
            .section("limits", &mut errors)
            .map(|s| GivenLimits::read(s, &mut errors))
            .unwrap_or_default();
        let (mut establishes, mut reads) = (BTreeSet::new(), BTreeSet::new());
        if let Some(mut facts) = root.section("facts", &mut errors) {
            let names = |list: Option<Vec<super::document::Located<String>>>| {
                list.unwrap_or_default().into_iter().map(|n| n.value).collect()
            };
            establishes = names(facts.strings("establishes", &mut errors));
            reads = names(facts.strings("reads", &mut errors));
        }
        errors.check()?;
        Ok(Self {
            name: name.map(|n| n.value).unwrap_or_default(),
            artefact: dir.join(artefact.map(|a| a.value).unwrap_or_default()),
            limits: limits.over(&Limits::default()),
            establishes,
            reads,
            file,
        })
    }

    /// Why the artefact has to be built first; `None` when it is there and no older than its sources.
    pub fn unbuilt(&self) -> Option<String> {
        (!self.artefact.is_file()).then(|| "is not built".into())
    }
}
