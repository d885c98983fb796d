//! Serves the directory of the language that the visitor prefers. README.md is the reference.
//!
//! The order of events: a path that names a language by its first segment, or that is excepted, goes on as it is, and
//! nothing more is asked. Then the cookie, where one is configured, then Accept-Language. The candidates are declared, the
//! wanted language first, so that a page that is not translated is shown in the default language.
#![forbid(unsafe_code)]

mod accept;
mod tag;

use serde::Deserialize;
use tag::Tag;
use wasmserve_plugin::{Config, Decision, Mistakes, Policy, Request, covers, is_token, path, proceed, redirect};

struct Language {
    /// The default first.
    languages: Vec<Tag>,
    cookie: Option<String>,
    redirect: bool,
    except: Vec<String>,
}

wasmserve_plugin::export!(Language);

/// What the operator configured.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    languages: Vec<String>,
    default: Option<String>,
    cookie: Option<String>,
    #[serde(default)]
    redirect: bool,
    #[serde(default)]
    except: Vec<String>,
}

/// Paths of a decision, see the contract; each target becomes three.
const MOST_TARGETS: usize = 10;

impl Policy for Language {
    fn configure(config: &Config) -> Result<Self, String> {
        let written: Written = config.read()?;
        let mut mistakes = Mistakes::default();
        let mut languages: Vec<Tag> = mistakes.parse_all("languages", &written.languages);
        if written.languages.is_empty() {
            mistakes.note("languages", "is empty");
        }
        for (index, language) in languages.iter().enumerate() {
            if languages[..index].iter().any(|other| other.same(language)) {
                mistakes.note_text("languages", language.as_str(), "is there twice");
            }
        }
        if let Some(default) = &written.default {
            match languages.iter().position(|language| language.as_str() == default) {
                Some(position) => {
                    let default = languages.remove(position);
                    languages.insert(0, default);
                }
                None => mistakes.note_text("default", default, "is none of `languages`"),
            }
        }
        for prefix in &written.except {
            mistakes.take("except", prefix, path::check_prefix(prefix));
        }
        if written.cookie.as_deref().is_some_and(|name| !is_token(name)) {
            mistakes.note("cookie", "is no name of a cookie");
        }
        mistakes.check()?;
        Ok(Self {
            languages,
            cookie: written.cookie,
            redirect: written.redirect,
            except: written.except,
        })
    }

    fn decide(&self, request: &Request) -> Result<Decision, String> {
        let path = request.path();
        if self.except.iter().any(|prefix| covers(prefix, &path)) {
            return Ok(proceed().into());
        }
        if self.named_by(&path) {
            return Ok(proceed().paths(self.with_and_without(request.targets())).into());
        }
        let wanted = self.wanted(request);
        if self.redirect {
            let reference = path::reference(&format!("/{}{path}", wanted.as_str()), request.query().as_deref());
            return Ok(redirect(302, reference).into());
        }
        let default = &self.languages[0];
        let mut candidates: Vec<String> = Vec::new();
        for target in request.targets().into_iter().take(MOST_TARGETS) {
            let of = |language: &Tag| format!("/{}{target}", language.as_str());
            candidates.push(of(wanted));
            if wanted.as_str() != default.as_str() {
                candidates.push(of(default));
            }
            candidates.push(target);
        }
        Ok(proceed().paths(candidates).into())
    }
}

impl Language {
    /// Each target, and behind it what it is without its language: guards then see that a translation of a page is the
    /// page, and pages without a translation are found beneath any language.
    fn with_and_without(&self, targets: Vec<String>) -> Vec<String> {
        let both = targets.into_iter().take(MOST_TARGETS).flat_map(|target| {
            let rest = target
                .get(1..)
                .and_then(|rest| rest.find('/').map(|at| rest[at..].to_owned()));
            let rest = rest.filter(|_| self.named_by(&target));
            std::iter::once(target).chain(rest)
        });
        both.collect()
    }

    /// Whether the first segment is a language's directory.
    fn named_by(&self, path: &str) -> bool {
        let segment = path.split('/').nth(1).unwrap_or_default();
        self.languages.iter().any(|language| language.as_str() == segment)
    }

    fn wanted(&self, request: &Request) -> &Tag {
        if let Some(name) = &self.cookie
            && let Some(value) = request.cookie(name)
            && let Some(chosen) = self.languages.iter().find(|language| language.is(&value))
        {
            return chosen;
        }
        let accepted = request.header("accept-language").unwrap_or_default();
        accept::best(&accepted, &self.languages).unwrap_or(&self.languages[0])
    }
}

#[cfg(test)]
mod tests;
