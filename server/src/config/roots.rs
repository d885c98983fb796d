//! How the files beneath a root are served, as it is typed: for a root, for its site, or for all sites in `[defaults]`.
//!
//! Whoever is nearer to the root has the last word, key by key: the root's own table, then the site, then `[defaults]`.

use super::{
    ConfigErrors,
    document::{Located, Section, suggest},
    stores::GivenStore,
    values::{error_status, site_path},
};
use http::StatusCode;
use wasmserve_files::{
    Coding, Dotfiles, Growing, Listings, Location, Machines, MediaTypes, RootOptions, SitePath, Symlinks,
};

/// The keys that were given; the others stay as they are.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GivenRoot {
    /// `symlinks`: whether symbolic links are followed: `"beneath"` (never to outside of the root) or `"deny"`. Default:
    /// `"beneath"`.
    symlinks: Option<Symlinks>,
    /// `dotfiles`: whether names that begin with a dot are served: `"hide"` (what is beneath `/.well-known/` always is) or
    /// `"serve"`. Default: `"hide"`.
    dotfiles: Option<Dotfiles>,
    /// `index`: names of the files that stand for their folder, most wanted first. Default: `["index.html"]`.
    index: Option<Vec<String>>,
    /// `listing`: whether the entries of folders that have no index file are listed. Default: `false`.
    listing: Option<Listings>,
    /// `precompressed`: codings whose siblings (`page.html.br` beside `page.html`) are sent to clients that accept them.
    /// Default: `["br", "zstd", "gzip"]`.
    precompressed: Option<Vec<Coding>>,
    /// `error-pages`: pages that are sent with an error status, such as `{ 404 = "/404.html" }`; looked up in the folder
    /// of the request, then in the root. Default: `{}`.
    error_pages: Option<Vec<(StatusCode, SitePath)>>,
    /// `fallback`: the page that is sent with 200 when nothing is there: that of a single-page application. Default: `""`, none.
    fallback: Option<Option<SitePath>>,
    /// `media-types`: types by extension, such as `{ md = "text/markdown" }`, before what the server knows itself.
    /// Default: `{}`.
    media_types: Option<Vec<(String, String)>>,
    /// `default-media-type`: that of names without a known extension. Default: `"application/octet-stream"`.
    default_media_type: Option<String>,
    /// `machines`: how many machines serve copies of the same files under one name: `"one"` or `"several"`, which leaves out
    /// of entity tags what differs from machine to machine. Default: `"one"`.
    machines: Option<Machines>,
    /// `growing`: what happens when a file grows while it is sent: `"end"` (the response breaks off) or `"continue"` (right
    /// only where files are appended to and never written anew). Default: `"end"`.
    growing: Option<Growing>,
    /// `[site.store]`: how the object storage is asked that a root is in.
    store: GivenStore,
}

pub(super) const SYMLINKS: [(&str, Symlinks); 2] = [("beneath", Symlinks::Beneath), ("deny", Symlinks::Deny)];
pub(super) const DOTFILES: [(&str, Dotfiles); 2] = [("hide", Dotfiles::Hide), ("serve", Dotfiles::Serve)];
pub(super) const MACHINES: [(&str, Machines); 2] = [("one", Machines::One), ("several", Machines::Several)];
pub(super) const GROWING: [(&str, Growing); 2] = [("end", Growing::End), ("continue", Growing::Continue)];

const CODINGS: [(&str, Coding); 3] = [("br", Coding::Brotli), ("zstd", Coding::Zstd), ("gzip", Coding::Gzip)];

// === impl GivenRoot ===

impl GivenRoot {
    /// Takes what it knows of a section.
    pub fn read(section: &mut Section<'_>, errors: &mut ConfigErrors) -> Self {
        Self {
            symlinks: section.choice("symlinks", &SYMLINKS, errors),
            dotfiles: section.choice("dotfiles", &DOTFILES, errors),
            index: index(section, errors),
            listing: section.flag("listing", errors).map(|listing| match listing {
                true => Listings::On,
                false => Listings::Off,
            }),
            precompressed: codings(section, errors),
            error_pages: error_pages(section, errors),
            fallback: section.parsed("fallback", fallback, errors),
            media_types: media_types(section, errors),
            default_media_type: section.parsed("default-media-type", media_type, errors),
            machines: section.choice("machines", &MACHINES, errors),
            growing: section.choice("growing", &GROWING, errors),
            store: GivenStore::read(section, errors),
        }
    }

    /// These keys where they are given, the others from `base`.
    pub fn over(self, base: &Self) -> Self {
        Self {
            symlinks: self.symlinks.or(base.symlinks),
            dotfiles: self.dotfiles.or(base.dotfiles),
            index: self.index.or_else(|| base.index.clone()),
            listing: self.listing.or(base.listing),
            precompressed: self.precompressed.or_else(|| base.precompressed.clone()),
            error_pages: self.error_pages.or_else(|| base.error_pages.clone()),
            fallback: self.fallback.or_else(|| base.fallback.clone()),
            media_types: self.media_types.or_else(|| base.media_types.clone()),
            default_media_type: self.default_media_type.or_else(|| base.default_media_type.clone()),
            machines: self.machines.or(base.machines),
            growing: self.growing.or(base.growing),
            store: self.store.over(&base.store),
        }
    }

    /// How a store is asked.
    pub fn store(&self) -> &GivenStore {
        &self.store
    }

    /// The keys that are given, for a place.
    pub fn resolve(&self, location: Location) -> RootOptions {
        let defaults = RootOptions::new("");
        let overrides = self.media_types.iter().flatten();
        let overrides = overrides.map(|(extension, media_type)| (&**extension, &**media_type));
        RootOptions {
            symlinks: self.symlinks.unwrap_or(defaults.symlinks),
            dotfiles: self.dotfiles.unwrap_or(defaults.dotfiles),
            index: self.index.clone().unwrap_or(defaults.index),
            listing: self.listing.unwrap_or(defaults.listing),
            precompressed: self.precompressed.clone().unwrap_or(defaults.precompressed),
            error_pages: self.error_pages.clone().unwrap_or(defaults.error_pages),
            fallback: self.fallback.clone().unwrap_or(defaults.fallback),
            media_types: MediaTypes::new(overrides, self.default_media_type.as_deref())
                .expect("each was checked when it was read"),
            machines: self.machines.unwrap_or(defaults.machines),
            growing: self.growing.unwrap_or(defaults.growing),
            location,
            within: None,
        }
    }
}

// === Values ===

fn index(section: &mut Section<'_>, errors: &mut ConfigErrors) -> Option<Vec<String>> {
    let names = section.strings("index", errors)?;
    let checked = names.into_iter().filter(|name| {
        let is_name =
            !name.value.is_empty() && !name.value.contains('/') && site_path(&format!("/{}", name.value)).is_ok();
        if !is_name {
            errors.push(section.error_at(name, format!("`index`: {:?} is not a file name", name.value)));
        }
        is_name
    });
    Some(checked.map(|name| name.value).collect())
}

fn codings(section: &mut Section<'_>, errors: &mut ConfigErrors) -> Option<Vec<Coding>> {
    let typed = section.strings("precompressed", errors)?;
    let mut codings = Vec::new();
    for word in typed {
        match CODINGS.iter().find(|(known, _)| *known == word.value) {
            Some((_, coding)) => codings.push(*coding),
            None => {
                let known = CODINGS.map(|(known, _)| known);
                let problem = format!("`precompressed`: there is no coding {:?}", word.value);
                errors.push(section.error_at(&word, problem).hint(suggest(&word.value, &known)));
            }
        }
    }
    Some(codings)
}

fn error_pages(section: &mut Section<'_>, errors: &mut ConfigErrors) -> Option<Vec<(StatusCode, SitePath)>> {
    let typed = section.texts("error-pages", errors)?;
    let mut checked = |located: &Located<String>, problem: &String| {
        errors.push(section.error_at(located, format!("`error-pages`: {problem}")));
    };
    let pages = typed.into_iter().filter_map(|(status, path)| {
        let known = error_status(&status.value).inspect_err(|problem| checked(&status, problem));
        let page = site_path(&path.value).inspect_err(|problem| checked(&path, problem));
        Some((known.ok()?, page.ok()?))
    });
    Some(pages.collect())
}

fn fallback(text: &str) -> Result<Option<SitePath>, String> {
    match text {
        "" => Ok(None),
        path => site_path(path).map(Some),
    }
}

fn media_types(section: &mut Section<'_>, errors: &mut ConfigErrors) -> Option<Vec<(String, String)>> {
    let typed = section.texts("media-types", errors)?;
    let mut types = Vec::new();
    for (extension, media_type) in typed {
        match MediaTypes::new([(&*extension.value, &*media_type.value)], None) {
            Ok(_) => types.push((extension.value, media_type.value)),
            Err(error) => errors.push(section.error_at(&media_type, format!("`media-types`: {error}"))),
        }
    }
    Some(types)
}

fn media_type(text: &str) -> Result<String, String> {
    match MediaTypes::new([], Some(text)) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
