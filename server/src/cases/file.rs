//! One file of tests, read: `tests/*.toml` in the folder of a plugin.

use super::{
    expect::{Conclusion, Expect},
    expected,
};
use crate::{
    config::{
        ConfigErrors,
        document::{Document, Section},
        grants,
        texts::ConfigFiles,
    },
    explain::asked::{pair, url},
    request::Scheme,
};
use http::{HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use std::{
    collections::BTreeSet,
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
    time::SystemTime,
};
use wasmserve_policy::Grants;

/// The folder of a plugin's folder where its tests are.
pub const TESTS_FOLDER: &str = "tests";

/// The root that paths are looked up in when a policy names no other, as in a site of one root.
pub(super) const ROOT: &str = "default";

/// What was written.
#[derive(Debug)]
pub struct TestFile {
    pub file: PathBuf,
    pub grants: Grants,
    /// The names of the roots that the policy may place paths in.
    pub roots: BTreeSet<String>,
    pub cases: Vec<Case>,
}

/// One request, and what is expected of it.
#[derive(Debug)]
pub struct Case {
    pub name: String,
    /// Of the file, from 1.
    pub line: usize,
    /// The file's, with the keys that the case replaces.
    pub config: toml::Table,
    /// `None` where the configuration itself is expected to be refused.
    pub request: Option<Given>,
    pub expect: Expect,
}

/// A request as it is described.
#[derive(Clone, Debug)]
pub struct Given {
    pub method: Method,
    pub url: Uri,
    /// Host is among them when it was given.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub client: IpAddr,
    pub scheme: Scheme,
    /// What policies before this one established.
    pub facts: Vec<(String, String)>,
    /// When it arrives; `None`: now.
    pub now: Option<SystemTime>,
    /// How often it is sent; the last decision counts. 1 or more.
    pub times: usize,
    /// What the chain leads to when the policy lets the request proceed: header changes may depend on it.
    pub outcome: Outcome,
}

/// The answer that header changes are applied to.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub status: StatusCode,
    /// `None`: by the name of the first target.
    pub media_type: Option<String>,
}

/// The words of `scheme`.
const SCHEMES: [(&str, Scheme); 2] = [("http", Scheme::Http), ("https", Scheme::Https)];

/// The files of tests of a plugin, in the order of their names; none when it has no such folder.
///
/// # Errors
/// When the folder cannot be read.
pub fn find(plugin: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(plugin.join(TESTS_FOLDER)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

// === impl TestFile ===

impl TestFile {
    /// Reads a file.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn read(file: &Path) -> Result<Self, ConfigErrors> {
        let document = Document::read(file)?;
        let mut errors = ConfigErrors::default();
        let root = document.root(&mut errors);
        // What follows from broken syntax would only distract from it.
        std::mem::take(&mut errors).check()?;
        let read = Self::of(root, file, &mut errors);
        errors.check()?;
        Ok(read)
    }

    fn of(mut root: Section<'_>, file: &Path, errors: &mut ConfigErrors) -> Self {
        let dir = file.parent().unwrap_or(Path::new("."));
        let grants = grants::read(&mut root, dir, errors);
        let mut config = root.table("config", errors).unwrap_or_default();
        ConfigFiles::take(&mut root, errors).read(dir, &mut config, &mut BTreeSet::new(), errors);
        let roots = root.strings("roots", errors).unwrap_or_default();
        let roots = roots.into_iter().map(|root| root.value).chain([ROOT.to_owned()]);
        let cases = root.sections("case", errors).unwrap_or_default();
        if cases.is_empty() && errors.is_empty() {
            errors.push(root.error("has no [[case]]: it tests nothing"));
        }
        let cases = cases
            .into_iter()
            .filter_map(|case| Case::read(case, &config, errors))
            .collect();
        let read = Self {
            file: file.to_owned(),
            grants,
            roots: roots.collect(),
            cases,
        };
        root.finish(errors);
        read
    }
}

// === impl Case ===

impl Case {
    fn read(mut section: Section<'_>, config: &toml::Table, errors: &mut ConfigErrors) -> Option<Self> {
        let line = section.position().line;
        let name = section.required_string("name", errors);
        let mut config = config.clone();
        config.extend(section.table("config", errors).unwrap_or_default());
        let expect = match section.section("expect", errors) {
            Some(expect) => Some(expected::read(expect, errors)),
            None => {
                errors.push(section.error("[[case]] has no [case.expect]: it would pass whatever is decided"));
                None
            }
        };
        let refused = matches!(
            expect,
            Some(Expect {
                conclusion: Some(Conclusion::Refused(_)),
                ..
            })
        );
        let request = if refused && !section.contains("request") {
            None
        } else {
            Given::read(&mut section, errors)
        };
        section.finish(errors);
        Some(Self {
            name: name?.value,
            line,
            config,
            request,
            expect: expect?,
        })
    }
}

// === impl Given ===

impl Given {
    fn read(section: &mut Section<'_>, errors: &mut ConfigErrors) -> Option<Self> {
        let line = section.required_string("request", errors);
        let (method, url) = match line.map(|line| (request_line(&line.value), line)) {
            Some((Ok((method, url)), _)) => (Some(method), Some(url)),
            Some((Err(problem), line)) => {
                errors.push(section.error_at(&line, format!("`request`: {problem}")));
                (None, None)
            }
            None => (None, None),
        };
        let mut headers = read_headers(section, errors);
        let host = section.parsed(
            "host",
            |text| HeaderValue::from_str(text).map_err(|_| format!("{text:?} is no host")),
            errors,
        );
        headers.extend(host.map(|host| (header::HOST, host)));
        let client = section.parsed(
            "client",
            |text| text.parse().map_err(|_| format!("{text:?} is no address")),
            errors,
        );
        let by_url = match url.as_ref().and_then(Uri::scheme_str) {
            Some("https") => Scheme::Https,
            _ => Scheme::Http,
        };
        let scheme = section.choice("scheme", &SCHEMES, errors).unwrap_or(by_url);
        let facts = section.texts("facts", errors).unwrap_or_default();
        let facts = facts.into_iter().map(|(name, value)| (name.value, value.value));
        let now = section.parsed(
            "now",
            |text| {
                let problem = |_| format!("{text:?} is not a time, such as \"2026-11-20T12:00:00Z\"");
                humantime::parse_rfc3339(text).map_err(problem)
            },
            errors,
        );
        let times = section.count("times", errors).unwrap_or(1);
        let outcome = section.section("outcome", errors);
        let outcome = outcome
            .map(|outcome| Outcome::read(outcome, errors))
            .unwrap_or_default();
        Some(Self {
            method: method?,
            url: url?,
            headers,
            client: client.unwrap_or(IpAddr::from([127, 0, 0, 1])),
            scheme,
            facts: facts.collect(),
            now,
            times,
            outcome,
        })
    }
}

/// `GET /a?b=c`.
fn request_line(text: &str) -> Result<(Method, Uri), String> {
    let (method, target) = text
        .split_once(' ')
        .ok_or_else(|| format!("{text:?} is not a method and a target, such as \"GET /index.html\""))?;
    let method = method.parse().map_err(|_| format!("{method:?} is not a method"))?;
    Ok((method, url(target.trim())?))
}

fn read_headers(section: &mut Section<'_>, errors: &mut ConfigErrors) -> Vec<(HeaderName, HeaderValue)> {
    let mut headers = Vec::new();
    for (name, value) in section.values("headers", errors).unwrap_or_default() {
        let Some(texts) = texts(&value.value) else {
            errors.push(section.error_at(
                &value,
                format!("`{}` must be a string or a list of strings", name.value),
            ));
            continue;
        };
        for text in texts {
            match pair(&name.value, &text) {
                Ok(header) => headers.push(header),
                Err(problem) => errors.push(section.error_at(&value, format!("`{}`: {problem}", name.value))),
            }
        }
    }
    headers
}

/// A string, or a list of strings.
pub(super) fn texts(value: &toml::Value) -> Option<Vec<String>> {
    match value {
        toml::Value::String(text) => Some(vec![text.clone()]),
        toml::Value::Array(items) => items.iter().map(|item| item.as_str().map(str::to_owned)).collect(),
        _ => None,
    }
}

// === impl Outcome ===

impl Outcome {
    fn read(mut section: Section<'_>, errors: &mut ConfigErrors) -> Self {
        let status = section.count("status", errors);
        let media_type = section.string("type", errors).map(|text| text.value);
        let status = status.map(|status| {
            u16::try_from(status)
                .ok()
                .and_then(|status| StatusCode::from_u16(status).ok())
        });
        if status == Some(None) {
            errors.push(section.error("`status` must be a status, such as 404"));
        }
        section.finish(errors);
        Self {
            status: status.flatten().unwrap_or(StatusCode::OK),
            media_type,
        }
    }
}

impl Default for Outcome {
    fn default() -> Self {
        Self {
            status: StatusCode::OK,
            media_type: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases::expect::Absent;

    fn read(text: &str) -> Result<TestFile, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("first.toml");
        fs::write(&file, text).expect("a file");
        let told = |errors: ConfigErrors| errors.to_string().replace(&*folder.path().display().to_string(), "DIR");
        TestFile::read(&file).map_err(told)
    }

    #[test]
    fn a_file_with_everything() {
        let file = read(
            r#"
            grants = ["logging"]
            roots = ["tenants"]
            [config]
            realm = "a"
            kept = 1
            [[case]]
            name = "a stranger"
            request = "GET /private/x?y=1"
            headers = { authorization = "Basic YTpi", cookie = ["a=1", "b=2"] }
            client = "192.0.2.7"
            host = "example.org"
            scheme = "https"
            facts = { user = "alice" }
            now = "2026-11-20T12:00:00Z"
            times = 3
            outcome = { status = 404, type = "text/html" }
            config = { realm = "x" }
            [case.expect]
            respond = 401
            headers = { www-authenticate = 'Basic realm="x"', x-gone = false, vary = ["a", "b"], date = true }
            body = "no"
            asked = ["path", "header authorization"]
            kept = true
            facts = { user = false }
            place = { directory = "/a" }
            missing = false
            pace = 1000
            "#,
        )
        .expect("a file");
        assert!(file.grants.logging && file.roots.contains("tenants") && file.roots.contains("default"));
        let [case] = &*file.cases else { panic!("{file:?}") };
        assert_eq!((&*case.name, case.line), ("a stranger", 7));
        assert_eq!(case.config["realm"].as_str(), Some("x"));
        assert_eq!(case.config["kept"].as_integer(), Some(1));
        let request = case.request.as_ref().expect("a request");
        assert_eq!(request.headers.len(), 4, "two cookies and Host");
        assert_eq!((request.scheme, request.times), (Scheme::Https, 3));
        assert_eq!(request.outcome.status, StatusCode::NOT_FOUND);
        assert_eq!(case.expect.conclusion, Some(Conclusion::Respond(401)));
        assert_eq!(case.expect.place, Some(Ok(("default".into(), "/a".into()))));
        assert_eq!(case.expect.missing, Some(Err(Absent)));
        assert_eq!(case.expect.pace, Some(Ok(1000)));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place_and_all_at_once() {
        const CASE: &str = "[[case]]\nname = \"a\"\nrequest = \"GET /\"\n";
        for (text, expected) in [
            (String::new(), "first.toml:1:1: has no [[case]]"),
            (CASE.to_owned(), "first.toml:1:1: [[case]] has no [case.expect]"),
            (
                format!("{CASE}[case.expect]\n"),
                "first.toml:4:1: [case.expect] names nothing",
            ),
            (
                format!("{CASE}[case.expect]\nrespnd = 1\n"),
                "first.toml:5:1: unknown key `respnd` in [expect]\n    hint: did you mean `respond`?",
            ),
            (
                format!("{CASE}[case.expect]\nrespond = 401\nproceed = true\n"),
                "first.toml:4:1: `respond`, `proceed`, `fault` and `refused` exclude each other",
            ),
            (
                format!("{CASE}[case.expect]\nproceed = false\n"),
                "`proceed` can only be true",
            ),
            (
                "[[case]]\nname = \"a\"\nrequest = \"/\"\nclient = \"x\"\nexpect = { kept = true }\n".to_owned(),
                "first.toml:3:11: `request`: \"/\" is not a method and a target, such as \"GET /index.html\"\n\
                 DIR/first.toml:4:10: `client`: \"x\" is no address",
            ),
            (
                format!("{CASE}headers = {{ a = 1 }}\nexpect = {{ kept = true }}\n"),
                "4:17: `a` must be a string",
            ),
            (format!("{CASE}expect = {{ place = true }}\n"), "`place` cannot be true"),
            (
                format!("{CASE}expect = {{ pace = 0 }}\n"),
                "`pace` must be a whole number, 1 or more",
            ),
            (
                format!("grants = [\"x\"]\n{CASE}expect = {{ kept = true }}\n"),
                "1:11: `grants`: there is no service `x`",
            ),
        ] {
            let error = read(&text).expect_err(&text);
            assert!(error.contains(expected), "{text}\n{error}");
        }
        let file = read("[[case]]\nname = \"a\"\n[case.expect]\nrefused = \"x\"\n").expect("needs no request");
        assert!(file.cases[0].request.is_none());
    }
}
