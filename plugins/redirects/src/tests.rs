use super::*;
use wasmserve_plugin::testing::{self, Question, configure};

fn policy(rules: &str, dialect: &'static str) -> Redirects {
    configure([("rules", &*rules.to_owned().leak()), ("dialect", dialect)]).unwrap()
}

/// Where a decision leads, by itself or when no file is found.
fn leads(decision: &Decision) -> Option<(u16, &str)> {
    match decision {
        Decision::Respond(response) => {
            let location = response.headers.iter().find(|header| header.name == "Location")?;
            Some((response.status, &location.value))
        }
        Decision::Proceed(changes) => {
            let missing = changes.missing.as_ref().filter(|missing| missing.status / 100 == 3)?;
            let location = changes.headers.iter().find(|header| header.name == "Location")?;
            Some((missing.status, &location.value))
        }
    }
}

/// The constructs of the public documentation of both formats, with examples of our own.
#[test]
fn redirects_of_every_construct() {
    let rules = "\
        # a comment\n\
        /home            /\n\
        /blog/old.html   /blog/new       302   # a comment, too\n\
        /search          https://find.example.org/?from=here 303\n\
        /shop id=:id color=red  /items/:id/red 308\n\
        /shop id=:id     /items/:id?item=:id 301\n\
        /shop            /items\n\
        /posts/:year/:month/:day/:slug  /archive/:slug#:year 301\n\
        /docs/*          /manual/:splat  301!\n\
        /legacy*         /:splat  301\n\
        http://old.example.com/*  https://example.com:8443/:splat 301\n\
        /de/*            /german/:splat  302 Language=de,de-AT\n\
        /beta/*          /next/:splat    302 Cookie=beta,preview\n\
        /loop            /loop 301\n\
        /my%20page       /other%20page\n";
    let policy = policy(rules, "netlify");
    let location = |request: testing::Request| {
        let decision = request.decide(&policy).unwrap();
        leads(&decision).map(|(status, location)| (status, location.to_owned()))
    };
    for (path, query, expected) in [
        ("/home", "", Some((301, "/"))),
        ("/home/", "", Some((301, "/"))),
        ("/homes", "", None),
        ("/home", "a=b&c", Some((301, "/?a=b&c"))),
        ("/blog/old.html", "", Some((302, "/blog/new"))),
        ("/search", "q=x", Some((303, "https://find.example.org/?from=here"))),
        ("/shop", "color=red&id=7", Some((308, "/items/7/red?color=red&id=7"))),
        ("/shop", "id=a%26b%20c", Some((301, "/items/a&b%20c?item=a%26b%20c"))),
        ("/shop", "color=red", Some((301, "/items?color=red"))),
        ("/posts/2026/11/20/a b", "", Some((301, "/archive/a%20b#2026"))),
        ("/posts/2026/11/20", "", None),
        ("/docs/a/b", "", Some((301, "/manual/a/b"))),
        ("/docs/", "", Some((301, "/manual/"))),
        ("/docs", "", Some((301, "/manual/"))),
        ("/docs/ü\"<", "", Some((301, "/manual/%C3%BC%22%3C"))),
        ("/legacy/evil.org", "", Some((301, "/evil.org"))),
        ("/legacya", "", Some((301, "/a"))),
        ("/loop", "", None),
        ("/my page", "", Some((301, "/other%20page"))),
        ("/x", "", None),
    ] {
        let mut request = testing::Request::get(path);
        if !query.is_empty() {
            request = request.query(query);
        }
        let expected = expected.map(|(status, location): (u16, &str)| (status, location.to_owned()));
        assert_eq!(location(request), expected, "{path}?{query}");
    }
    let old = testing::Request::get("/a/b").host("old.example.com");
    assert_eq!(
        location(old.clone()),
        Some((301, "https://example.com:8443/a/b".into()))
    );
    assert_eq!(location(old.scheme("https")), None);
    for (accept, expected) in [
        ("de", true),
        ("de-CH, en;q=0.9", true),
        ("en, de;q=0.5", false),
        ("de;q=0.4, en;q=0.5", false),
        ("", false),
    ] {
        let request = testing::Request::get("/de/a").header("Accept-Language", accept);
        assert_eq!(location(request).is_some(), expected, "{accept}");
    }
    for (cookie, expected) in [("beta=1", true), ("x=1; preview=", true), ("alpha=1", false)] {
        let request = testing::Request::get("/beta/a").header("Cookie", cookie);
        assert_eq!(location(request).is_some(), expected, "{cookie}");
    }
}

#[test]
fn a_rule_that_leads_to_itself_is_passed_over() {
    let rules = "/a /a?x=1\n/b id=:id /b?id=:id\n/c https://example.org/c\n/d http://example.org:8080/d\n\
                 /e /e#part\n/f /f/\n";
    let policy = policy(rules, "netlify");
    for (scheme, host, path, query, expected) in [
        ("http", "example.com", "/a", None, Some("/a?x=1")),
        ("http", "example.com", "/a", Some("x=1"), None),
        ("http", "example.com", "/a", Some("x=2"), Some("/a?x=1")),
        ("http", "example.com", "/b", Some("id=7"), None),
        ("http", "example.com", "/b", Some("id=7&more"), Some("/b?id=7")),
        ("http", "example.com", "/c", None, Some("https://example.org/c")),
        ("https", "example.org", "/c", None, None),
        ("https", "EXAMPLE.org", "/c", None, None),
        ("http", "example.org", "/c", None, Some("https://example.org/c")),
        ("http", "example.org:8080", "/d", None, None),
        ("http", "example.org", "/d", None, Some("http://example.org:8080/d")),
        ("http", "example.com", "/e", None, None),
        ("http", "example.com", "/f", None, Some("/f/")),
        ("http", "example.com", "/f/", None, None),
    ] {
        let (name, _) = host.split_once(':').unwrap_or((host, ""));
        let mut request = testing::Request::get(path)
            .scheme(scheme)
            .host(name)
            .header("Host", host);
        if let Some(query) = query {
            request = request.query(query);
        }
        let decision = request.decide(&policy).unwrap();
        assert_eq!(
            leads(&decision).map(|(_, location)| location),
            expected,
            "{scheme} {host} {path} {query:?}"
        );
    }
}

#[test]
fn rewrites_are_candidates_behind_the_file() {
    let rules = "/app/*  /app/index.html  200\n/maintenance/*  /closed.html 200!\n/u/:name /users/:name.html 200\n\
                 /gone/* /gone.html 410\n/secret/* /404.html 404!\n/* /404.html 404\n";
    let policy = policy(rules, "netlify");
    for (path, expected) in [
        ("/app/x", Decision::from(proceed().paths(["/app/x", "/app/index.html"]))),
        ("/maintenance/x", proceed().paths(["/closed.html"]).into()),
        (
            "/u/alice b",
            proceed().paths(["/u/alice b", "/users/alice b.html"]).into(),
        ),
        ("/gone/x", proceed().missing(410, ["/gone.html"]).into()),
        ("/secret/x", deny(404).into()),
        ("/x", proceed().missing(404, ["/404.html"]).into()),
    ] {
        assert_eq!(testing::Request::get(path).decide(&policy), Ok(expected), "{path}");
    }
    let mapped = testing::Request::get("/app/x").targets(["/app/x", "/app/x.html"]);
    let expected = proceed().paths(["/app/x", "/app/x.html", "/app/index.html"]);
    assert_eq!(mapped.decide(&policy), Ok(expected.into()));
}

#[test]
fn cloudflare_differs() {
    let policy = policy("/home /\n/app/* /index.html 200\n/a/*/z /b/:splat 301\n", "cloudflare");
    let decide = |path| testing::Request::get(path).decide(&policy).unwrap();
    assert_eq!(leads(&decide("/home")), Some((302, "/")));
    assert_eq!(leads(&decide("/home/")), None);
    assert_eq!(decide("/app/x"), proceed().paths(["/index.html"]).into());
    assert_eq!(decide("/app"), proceed().into());
    assert_eq!(leads(&decide("/a/x/y/z")), Some((301, "/b/x/y")));
}

#[test]
fn a_redirect_yields_to_a_file_unless_it_is_forced() {
    for (rule, dialect, method, expected) in [
        (
            "/a /b 302",
            "netlify",
            "GET",
            Decision::from(proceed().missing_redirect(302, "/b")),
        ),
        (
            "/a /b 302",
            "netlify",
            "HEAD",
            proceed().missing_redirect(302, "/b").into(),
        ),
        (
            "/a /b 302",
            "netlify",
            "OPTIONS",
            proceed().missing_redirect(302, "/b").into(),
        ),
        ("/a /b 302", "netlify", "POST", redirect(302, "/b").into()),
        ("/a /b 302!", "netlify", "GET", redirect(302, "/b").into()),
        ("/a /b 302", "cloudflare", "GET", redirect(302, "/b").into()),
    ] {
        let decided = testing::Request::new(method, "/a").decide(&policy(rule, dialect));
        assert_eq!(decided, Ok(expected), "{rule} {dialect} {method}");
    }
}

#[test]
fn a_rewrite_leads_to_no_path_that_is_none() {
    let policy = policy("/a* /b/:splat 200\n", "netlify");
    for path in ["/a/../x", "/a//x", "/a"] {
        // The server refuses such paths; a capture of `/x` would make `/b//x`.
        let decision = testing::Request::get(path).decide(&policy).unwrap();
        if let Decision::Proceed(changes) = decision {
            assert!(
                changes.paths.iter().skip(1).all(|path| path::check(path).is_ok()),
                "{changes:?}"
            );
        }
    }
    assert_eq!(testing::Request::get("/a/x").decide(&policy), Ok(proceed().into()));
}

#[test]
fn asks_only_what_a_matching_rule_needs() {
    let policy = policy(
        "/shop id=:id /items/:id\nhttp://old.example.com/old/* /new 301\n/de/* /g 302 Language=de\n",
        "netlify",
    );
    for (path, asked) in [
        ("/other", vec![Question::Path]),
        ("/shop", vec![Question::Path, Question::QueryParameter("id".into())]),
        ("/old/a", vec![Question::Path, Question::Scheme, Question::Host]),
        (
            "/de/a",
            vec![Question::Path, Question::Header("accept-language".into())],
        ),
    ] {
        let request = testing::Request::get(path);
        request.decide(&policy).unwrap();
        assert_eq!(request.asked(), asked, "{path}");
    }
}

#[test]
fn the_first_of_many_rules_counts() {
    let mut rules: String = (0..2000).map(|number| format!("/p{number} /q{number} 301\n")).collect();
    rules += "/p1999 /never 301\n/p* /any 302\n/p5 /never 301\n";
    let policy = policy(&rules, "netlify");
    for (path, expected) in [
        ("/p1999", (301, "/q1999")),
        ("/p5", (301, "/q5")),
        ("/p2000", (302, "/any")),
    ] {
        let decision = testing::Request::get(path).decide(&policy).unwrap();
        assert_eq!(leads(&decision), Some(expected), "{path}");
    }
}

#[test]
fn mistakes_are_said_with_their_lines() {
    let rules = "/a /b\n\na /b\n/a\n/a b /c\n/a /b 305\n/a /b 301 Country=de\n/a /b 301 Role=admin\n/a /b 301 x\n\
                 /a https://api.example.com/:splat 200\n/a https://:host/ 301\n/a /b//c 200\n/a ftp://b/c\n/a /b 30x\n\
                 /*/* /b\n/a //evil.org 301\n/a https://a.org:splat 301\n/a /b 301 Language=\n";
    let error = configure::<Redirects>([("rules", rules)]).err().unwrap();
    for line in [3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18] {
        assert!(error.contains(&format!("line {line}: ")), "{line}: {error}");
    }
    assert!(!error.contains("line 1: ") && !error.contains("line 2: "), "{error}");
    for line in [
        "/a x=1 /b",
        "/a /b 301!",
        "/a /b 301 Language=de",
        "http://a.org/ /b",
        "/a /b 404",
    ] {
        let error = configure::<Redirects>([("rules", line), ("dialect", "cloudflare")]).err();
        assert!(error.is_some_and(|error| error.contains("cloudflare")), "{line}");
    }
    for (key, text) in [("dialect", "apache"), ("rule", "/a /b")] {
        let error = configure::<Redirects>([("rules", "/a /b"), (key, text)]).err().unwrap();
        assert!(error.contains(&format!("`{key}`")), "{error}");
    }
}
