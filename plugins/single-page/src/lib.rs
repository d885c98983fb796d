//! Shows an application's page where no file is. README.md is the reference.
//!
//! A decision asks the path alone. Which file exists is not asked: the page is declared as what is sent when none does.
#![forbid(unsafe_code)]

use serde::Deserialize;
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};
use wasmserve_plugin::{Config, Decision, Mistakes, Policy, Request, covers, path, proceed};

struct SinglePage {
    /// Prefixes and the page of each; longest first.
    pages: Vec<(String, String)>,
    except: Vec<String>,
    names_with_dots: bool,
}

wasmserve_plugin::export!(SinglePage);

/// What the operator configured.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Written {
    page: Option<String>,
    #[serde(default)]
    pages: BTreeMap<String, String>,
    #[serde(default)]
    except: Vec<String>,
    #[serde(default)]
    names_with_dots: bool,
}

impl Policy for SinglePage {
    fn configure(config: &Config) -> Result<Self, String> {
        let mut written: Written = config.read()?;
        let mut mistakes = Mistakes::default();
        let whole_site = written
            .page
            .or_else(|| written.pages.is_empty().then(|| "/index.html".to_owned()));
        if let Some(page) = whole_site
            && written.pages.insert("/".to_owned(), page).is_some()
        {
            mistakes.note(
                "pages",
                "has the prefix \"/\", which is what `page` is for: give one of the two",
            );
        }
        for (prefix, page) in &written.pages {
            mistakes.take("pages", prefix, path::check_prefix(prefix));
            let key = if prefix == "/" { "page" } else { "pages" };
            let file = path::check(page).and_then(|()| match page.ends_with('/') {
                true => Err("is a directory: name the file in it"),
                false => Ok(()),
            });
            mistakes.take(key, page, file);
        }
        for prefix in &written.except {
            mistakes.take("except", prefix, path::check_prefix(prefix));
        }
        let mut seen = BTreeSet::new();
        for prefix in written.pages.keys() {
            if !seen.insert(prefix.trim_end_matches('/')) {
                mistakes.note_text(
                    "pages",
                    prefix,
                    "is there with and without its slash, which is the same prefix",
                );
            }
        }
        mistakes.check()?;
        let mut pages: Vec<(String, String)> = written.pages.into_iter().collect();
        pages.sort_by_key(|(prefix, _)| Reverse(prefix.trim_end_matches('/').len()));
        Ok(Self {
            pages,
            except: written.except,
            names_with_dots: written.names_with_dots,
        })
    }

    fn decide(&self, request: &Request) -> Result<Decision, String> {
        let path = request.path();
        let page = self.pages.iter().find(|(prefix, _)| covers(prefix, &path));
        Ok(match page {
            Some((_, page)) if self.is_view(&path) => proceed().missing(200, [page]).into(),
            _ => proceed().into(),
        })
    }
}

impl SinglePage {
    /// Whether a path may be one of the application's views, rather than a file that is not there.
    fn is_view(&self, path: &str) -> bool {
        let name = path.rsplit('/').next().unwrap_or_default();
        (self.names_with_dots || !name.contains('.')) && !self.except.iter().any(|prefix| covers(prefix, path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasmserve_plugin::testing::{self, Question, configure};

    fn page(policy: &SinglePage, path: &str) -> Option<String> {
        let request = testing::Request::get(path);
        let Decision::Proceed(changes) = request.decide(policy).unwrap() else {
            panic!("responds");
        };
        assert_eq!(request.asked(), [Question::Path]);
        assert!(changes.paths.is_empty(), "files that are there are served");
        let missing = changes.missing?;
        assert_eq!(missing.status, 200);
        assert_eq!(missing.paths.len(), 1);
        missing.paths.into_iter().next()
    }

    #[test]
    fn views_get_the_page_and_assets_do_not() {
        let policy: SinglePage = configure([("except", r#"["/api/"]"#)]).unwrap();
        for (path, expected) in [
            ("/", true),
            ("/users/7", true),
            ("/users/7/", true),
            ("/v1.2/users", true),
            ("/app.js", false),
            ("/users/alice@example.com", false),
            ("/api", false),
            ("/api/users", false),
            ("/apis", true),
        ] {
            assert_eq!(
                page(&policy, path),
                expected.then(|| "/index.html".to_owned()),
                "{path}"
            );
        }
    }

    #[test]
    fn several_applications() {
        let pages = r#"{"/admin/": "/admin/index.html", "/admin/old": "/old.html"}"#;
        let policy: SinglePage = configure([("pages", pages), ("names-with-dots", "true")]).unwrap();
        for (path, expected) in [
            ("/admin", Some("/admin/index.html")),
            ("/admin/users/a@b.org", Some("/admin/index.html")),
            ("/admin/old/x", Some("/old.html")),
            ("/administrator", None),
            ("/", None),
        ] {
            assert_eq!(page(&policy, path).as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn mistakes_in_the_configuration() {
        for (configuration, key) in [
            (&[("page", "index.html")][..], "page"),
            (&[("page", "/app/")], "page"),
            (&[("page", "/a.html"), ("pages", r#"{"/": "/b.html"}"#)], "pages"),
            (&[("pages", r#"{"/a*": "/b.html"}"#)], "pages"),
            (&[("pages", r#"{"/a": "b.html"}"#)], "pages"),
            (&[("pages", r#"{"/a": "/b.html", "/a/": "/c.html"}"#)], "pages"),
            (&[("except", r#"["api"]"#)], "except"),
            (&[("names-with-dots", "perhaps")], "names-with-dots"),
            (&[("names_with_dots", "true")], "names_with_dots"),
        ] {
            let error = configure::<SinglePage>(configuration.iter().copied()).err();
            assert!(
                error.as_ref().is_some_and(|error| error.contains(&format!("`{key}`"))),
                "{configuration:?}: {error:?}"
            );
        }
    }
}
