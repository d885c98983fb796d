//! Serves pages without `.html` in their addresses. README.md is the reference.
//!
//! A decision asks what the request is mapped to so far, and its path and query only when there may be something to
//! redirect. Which file exists is not asked, and could not be: the server tries the candidates in order.
#![forbid(unsafe_code)]

use wasmserve_plugin::{Config, Decision, Policy, Request, path, proceed, redirect};

struct CleanUrls {
    directories: Directories,
    /// The status of redirects from addresses that end in `.html`; without one they are served as they are.
    redirect: Option<u16>,
}

wasmserve_plugin::export!(CleanUrls);

/// What `/about` means when `/about/` is a directory with an index page.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Directories {
    /// The page itself, under this address.
    Serve,
    /// The server's redirect to `/about/`.
    Redirect,
}

const EXTENSION: &str = ".html";
const INDEX: &str = "index";

impl Policy for CleanUrls {
    fn configure(config: &Config) -> Result<Self, String> {
        config.only(&["directories", "redirect"])?;
        let directories = match config.get("directories")?.as_deref() {
            None | Some("serve") => Directories::Serve,
            Some("redirect") => Directories::Redirect,
            Some(other) => {
                return Err(format!(
                    "`directories` is {other:?}: expected \"serve\" or \"redirect\""
                ));
            }
        };
        let redirect = match config.get("redirect")?.as_deref() {
            None | Some("false") => None,
            Some("301") => Some(301),
            Some("302") => Some(302),
            Some("307") => Some(307),
            Some("308") => Some(308),
            Some(other) => return Err(format!("`redirect` is {other}: expected false, 301, 302, 307 or 308")),
        };
        Ok(Self { directories, redirect })
    }

    fn decide(&self, request: &Request) -> Result<Decision, String> {
        let targets = request.targets();
        if let (Some(status), [target]) = (self.redirect, targets.as_slice())
            && let Some(clean) = clean(target)
            // What an earlier policy mapped somewhere else would not be found under the other address.
            && request.path() == *target
        {
            return Ok(redirect(status, path::reference(&clean, request.query().as_deref())).into());
        }
        let candidates: Vec<String> = targets.iter().flat_map(|target| self.candidates(target)).collect();
        if candidates == targets {
            return Ok(proceed().into());
        }
        Ok(proceed().paths(candidates).into())
    }
}

impl CleanUrls {
    /// What a target may stand for, most wanted first. A directory (`/about/`) is the server's: it knows the index pages.
    fn candidates(&self, target: &str) -> Vec<String> {
        let mut candidates = vec![target.to_owned()];
        if !target.ends_with('/') && !target.ends_with(EXTENSION) {
            candidates.push(format!("{target}{EXTENSION}"));
            if self.directories == Directories::Serve {
                candidates.push(format!("{target}/{INDEX}{EXTENSION}"));
            }
        }
        candidates
    }
}

/// The clean address of a page, relative to its own, so that it holds behind a proxy that strips a prefix: `./about` for
/// `/docs/about.html`, `./` for `/docs/index.html`. `None` when it has none: no page's name, or one that would not lead
/// back to it.
fn clean(target: &str) -> Option<String> {
    let (_, name) = target.rsplit_once('/')?;
    let name = name.strip_suffix(EXTENSION)?;
    match name {
        INDEX => Some("./".to_owned()),
        // `a.html.html` would lead to `a.html`, and that to `a`: another page.
        _ if name.is_empty() || name.ends_with(EXTENSION) => None,
        _ => Some(format!("./{name}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasmserve_plugin::testing::{self, Question, configure};

    fn decide(configuration: &[(&'static str, &'static str)], request: &testing::Request) -> Decision {
        let policy: CleanUrls = configure(configuration.iter().copied()).unwrap();
        request.decide(&policy).unwrap()
    }

    #[test]
    fn candidates_of_a_path() {
        for (path, candidates) in [
            ("/about", &["/about", "/about.html", "/about/index.html"][..]),
            ("/a/b c", &["/a/b c", "/a/b c.html", "/a/b c/index.html"]),
            ("/v1.2", &["/v1.2", "/v1.2.html", "/v1.2/index.html"]),
            ("/index", &["/index", "/index.html", "/index/index.html"]),
            (
                "/style.css",
                &["/style.css", "/style.css.html", "/style.css/index.html"],
            ),
            ("/", &[]),
            ("/about/", &[]),
            ("/about.html", &[]),
        ] {
            let expected = proceed().paths(candidates.iter().copied());
            assert_eq!(decide(&[], &testing::Request::get(path)), expected.into(), "{path}");
        }
    }

    #[test]
    fn directories_left_to_the_server() {
        let decision = decide(&[("directories", "redirect")], &testing::Request::get("/about"));
        assert_eq!(decision, proceed().paths(["/about", "/about.html"]).into());
    }

    #[test]
    fn every_target_of_an_earlier_policy_is_kept() {
        let request = testing::Request::get("/").targets(["/de/about", "/en/", "/en/about.html"]);
        let expected = [
            "/de/about",
            "/de/about.html",
            "/de/about/index.html",
            "/en/",
            "/en/about.html",
        ];
        assert_eq!(decide(&[], &request), proceed().paths(expected).into());
    }

    #[test]
    fn redirects_to_the_clean_address() {
        for (path, query, location) in [
            ("/about.html", None, "./about"),
            ("/docs/a b.html", None, "./a%20b"),
            ("/docs/a:b.html", None, "./a:b"),
            ("/docs/index.html", None, "./"),
            ("/index.html", Some("a=%20b&c"), "./?a=%20b&c"),
            ("/about.html", Some(""), "./about?"),
            ("/about.html", Some("a=\"ü #"), "./about?a=%22%C3%BC%20%23"),
        ] {
            let request = testing::Request::get(path);
            let request = query.map(|query| request.clone().query(query)).unwrap_or(request);
            assert_eq!(
                decide(&[("redirect", "308")], &request),
                redirect(308, location).into(),
                "{path}"
            );
        }
        let found = decide(&[("redirect", "302")], &testing::Request::get("/about.html"));
        assert_eq!(found, redirect(302, "./about").into());
    }

    #[test]
    fn no_redirect_to_another_page() {
        for path in [
            "/",
            "/.html",
            "/a/.html",
            "/a.html.html",
            "/index.html.html",
            "/about.html/",
            "/about.HTML/",
        ] {
            let decision = decide(&[("redirect", "308")], &testing::Request::get(path));
            assert!(matches!(decision, Decision::Proceed(_)), "{path}: {decision:?}");
        }
    }

    #[test]
    fn no_redirect_away_from_what_was_mapped() {
        for targets in [["/new/about.html", "/b"], ["/about.html", "/b"]] {
            let request = testing::Request::get("/about.html").targets(targets);
            assert!(
                matches!(decide(&[("redirect", "308")], &request), Decision::Proceed(_)),
                "{targets:?}"
            );
        }
        let request = testing::Request::get("/old.html").targets(["/new.html"]);
        assert_eq!(decide(&[("redirect", "308")], &request), proceed().into());
    }

    #[test]
    fn asks_the_path_and_the_query_only_to_redirect() {
        let request = testing::Request::get("/about");
        decide(&[("redirect", "308")], &request);
        assert_eq!(request.asked(), [Question::Targets]);
        let request = testing::Request::get("/about.html");
        decide(&[], &request);
        assert_eq!(request.asked(), [Question::Targets]);
        decide(&[("redirect", "308")], &request);
        assert_eq!(request.asked(), [Question::Targets, Question::Path, Question::Query]);
    }

    #[test]
    fn mistakes_in_the_configuration() {
        for (key, text) in [
            ("directories", "keep"),
            ("directories", "true"),
            ("redirect", "true"),
            ("redirect", "303"),
            ("redirect", "/"),
            ("redirects", "308"),
        ] {
            let error = configure::<CleanUrls>([(key, text)]).err();
            assert!(
                error.as_ref().is_some_and(|error| error.contains(&format!("`{key}`"))),
                "{key}={text}: {error:?}"
            );
        }
    }
}
