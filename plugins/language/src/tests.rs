use super::*;
use wasmserve_plugin::testing::{self, Question, configure};

const LANGUAGES: (&str, &str) = ("languages", r#"["en", "de", "pt-BR"]"#);

fn paths(decision: Decision) -> Vec<String> {
    match decision {
        Decision::Proceed(changes) => changes.paths,
        Decision::Respond(response) => panic!("{response:?}"),
    }
}

#[test]
fn candidates_are_in_the_wanted_language_first() {
    let policy: Language = configure([LANGUAGES, ("except", r#"["/assets/"]"#)]).unwrap();
    for (path, accept, expected) in [
        ("/", "de", &["/de/", "/en/", "/"][..]),
        ("/about", "pt;q=0.5, de;q=0.1", &["/pt-BR/about", "/en/about", "/about"]),
        ("/about", "en", &["/en/about", "/about"]),
        ("/about", "ja", &["/en/about", "/about"]),
        ("/de/about", "en", &["/de/about", "/about"]),
        ("/de", "en", &["/de"]),
        ("/desk", "en", &["/en/desk", "/desk"]),
        ("/DE/about", "en", &["/en/DE/about", "/DE/about"]), // directories have case
        ("/assets/a.css", "de", &[]),
    ] {
        let request = testing::Request::get(path).header("Accept-Language", accept);
        assert_eq!(paths(request.decide(&policy).unwrap()), expected, "{path} {accept}");
        let asked = request.asked().contains(&Question::Header("accept-language".into()));
        let named = path == "/de" || path.starts_with("/de/");
        assert_eq!(
            asked,
            !expected.is_empty() && !named,
            "asks what it does not need: {path}"
        );
    }
}

#[test]
fn every_target_is_translated() {
    let policy: Language = configure([LANGUAGES, ("default", "de")]).unwrap();
    let request = testing::Request::get("/a")
        .targets(["/a", "/a.html"])
        .header("Accept-Language", "en");
    let expected = ["/en/a", "/de/a", "/a", "/en/a.html", "/de/a.html", "/a.html"];
    assert_eq!(paths(request.decide(&policy).unwrap()), expected);
}

#[test]
fn the_cookie_overrides() {
    let policy: Language = configure([LANGUAGES, ("cookie", "lang")]).unwrap();
    for (cookie, first) in [
        ("lang=de", "/de/a"),
        ("lang=PT-br", "/pt-BR/a"),
        ("lang=ja", "/en/a"),
        ("x=de", "/en/a"),
    ] {
        let request = testing::Request::get("/a")
            .header("Cookie", cookie)
            .header("Accept-Language", "en");
        assert_eq!(paths(request.decide(&policy).unwrap())[0], first, "{cookie}");
    }
    let request = testing::Request::get("/a").header("Cookie", "lang=de");
    request.decide(&policy).unwrap();
    assert_eq!(
        request.asked(),
        [Question::Path, Question::Cookie("lang".into()), Question::Targets]
    );
}

#[test]
fn redirects() {
    let policy: Language = configure([LANGUAGES, ("redirect", "true")]).unwrap();
    let request = testing::Request::get("/a b")
        .query("c=d")
        .header("Accept-Language", "de");
    assert_eq!(request.decide(&policy), Ok(redirect(302, "/de/a%20b?c=d").into()));
    let named = proceed().paths(["/de/a", "/a"]);
    assert_eq!(testing::Request::get("/de/a").decide(&policy), Ok(named.into()));
}

#[test]
fn mistakes_in_the_configuration() {
    for (configuration, named) in [
        (&[][..], "languages"),
        (&[("languages", "[]")], "`languages`"),
        (&[("languages", r#"["en", "../etc"]"#)], "`languages`"),
        (&[("languages", r#"["en", "e"]"#)], "`languages`"),
        (&[("languages", r#"["en", "EN"]"#)], "twice"),
        (&[LANGUAGES, ("default", "fr")], "`default`"),
        (&[LANGUAGES, ("cookie", "a b")], "`cookie`"),
        (&[LANGUAGES, ("except", r#"["assets"]"#)], "`except`"),
        (&[LANGUAGES, ("redirect", "302")], "`redirect`"),
        (&[LANGUAGES, ("language", "en")], "`language`"),
    ] {
        let error = configure::<Language>(configuration.iter().copied()).err();
        assert!(
            error.as_ref().is_some_and(|error| error.contains(named)),
            "{configuration:?}: {error:?}"
        );
    }
}
