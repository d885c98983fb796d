//! `wasmserve.toml`, and what it comes to together with the files that it names.

use super::{
    ConfigError, ConfigErrors,
    document::Document,
    plugins::Catalogue,
    server::ServerSettings,
    site::{GivenSite, SiteReader},
};
use crate::site::SiteSpec;
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

/// All that a server is to do, resolved: from a file, or from the command line.
#[derive(Clone, Debug, PartialEq)]
pub struct Configuration {
    pub server: ServerSettings,
    /// At least one, in the order of the file.
    pub sites: Vec<SiteSpec>,
    /// Every file that was read or will be loaded, and the folders they were looked for in: never to be served, and what
    /// to watch.
    pub sources: BTreeSet<PathBuf>,
}

// === impl Configuration ===

impl Configuration {
    /// Reads a file, and the chains and manifests that it names.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn read(file: &Path) -> Result<Self, ConfigErrors> {
        let document = Document::read(file)?;
        let mut errors = ConfigErrors::default();
        let mut root = document.root(&mut errors);
        // What follows from broken syntax would only distract from it.
        errors.check()?;
        let mut errors = ConfigErrors::default();
        let folder = folder_of(file)?;
        let server = root.section("server", &mut errors);
        let server = server.map(|section| ServerSettings::read(section, &mut errors));
        let mut catalogue = Catalogue::default();
        let mut defaults = GivenSite::default();
        if let Some(mut section) = root.section("defaults", &mut errors) {
            defaults = GivenSite::read(&folder, &mut section, &mut catalogue, &mut errors);
            section.finish(&mut errors);
        }
        let sections = root.sections("site", &mut errors);
        if sections.as_ref().is_none_or(Vec::is_empty) && errors.is_empty() {
            let hint = "add a [[site]] with `name`, `hosts` and `root`";
            errors.push(ConfigError::new(file, "has no site: there is nothing to serve").hint(hint));
        }
        let mut reader = SiteReader::new(folder, &mut catalogue, defaults);
        let sections = sections.unwrap_or_default().into_iter();
        let sites = sections.map(|section| reader.read(section, &mut errors)).collect();
        root.finish(&mut errors);
        errors.check()?;
        let mut sources = catalogue.into_protected();
        sources.insert(file.to_owned());
        Ok(Self {
            server: server.unwrap_or_default(),
            sites,
            sources,
        })
    }
}

/// The folder of a file, absolute, so that what is printed means the same elsewhere.
fn folder_of(file: &Path) -> Result<PathBuf, ConfigErrors> {
    let absolute = std::path::absolute(file).map_err(|error| super::document::cannot_read(file, &error))?;
    Ok(absolute.parent().unwrap_or(Path::new("/")).to_owned())
}
