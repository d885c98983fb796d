//! Rules and users in files of their own: redirects, headers, basic-auth's password file.
use std::fs;
use support::{Chain, Launch, Policy, Tree, eventually};

fn tree() -> Tree {
    Tree::new()
        .file("index.html", "home")
        .file("app/index.html", "the application")
        .file("app/real.txt", "a file")
        .file("posts/hello.html", "a post")
        .file("404.html", "our own page")
        .file("private/a.txt", "SECRET")
}

/// A policy whose `rules` are the text of a file.
fn with_rules(plugin: &str, name: &str) -> Policy {
    Policy::standard(plugin).config(&format!("[policy.config-files]\nrules = \"{name}\""))
}

#[test]
fn redirects_and_rewrites_of_a_file() {
    let tree = tree();
    let guard = Policy::standard("basic-auth").config("prefixes = [\"/private/\"]");
    let chain = Chain::new([with_rules("redirects", "_redirects"), guard]);
    let rules = "/old/*  /new/:splat  302\n/news/:slug  /posts/:slug.html  200\n/app/*  /app/index.html  200\n\
                 /open  /private/a.txt  200!\n/legacy*  /:splat  301\n/*  /404.html  404\n";
    fs::write(chain.at("_redirects"), rules).expect("rules");
    let server = Launch::new(&tree).plugins(&chain).start();
    for (target, status, content) in [
        ("/", 200, "home"),
        ("/app/real.txt", 200, "a file"),
        ("/app/view/7", 200, "the application"),
        ("/news/hello", 200, "a post"),
        ("/nothing", 404, "our own page"),
    ] {
        let response = server.get(target);
        assert_eq!((response.status, response.text()), (status, content), "{target}");
    }
    for (target, status, location) in [
        ("/old/a%20b?x=1", 302, "/new/a%20b?x=1"),
        ("/legacy/evil.org", 301, "/evil.org"),
    ] {
        let response = server.get(target);
        assert_eq!(
            (response.status, response.header("location")),
            (status, Some(location)),
            "{target}"
        );
    }
    // A rewrite does not lead around a guard behind it.
    let response = server.get("/open");
    assert_eq!(response.status, 401, "{response:?}");
    assert!(!response.text().contains("SECRET"));
}

/// What both formats say of files that are there: on Netlify they go before redirects that are not forced.
#[test]
fn redirects_yield_to_files_unless_they_are_forced() {
    let tree = tree().file("pricing.html", "prices").file("form.html", "a form");
    let rules = "/  /welcome  302  Language=de\n/pricing  /plans  301\n/form.html  /contact  307\n\
                 /app/*  https://app.example.com/:splat  302\n/posts/*  /blog/:splat  301!\n\
                 /private/*  /members/:splat  301\n/*  /index.html  200\n";
    let guard = || Policy::standard("basic-auth").config("prefixes = [\"/private/\"]");
    let clean_urls = || Policy::standard("clean-urls");
    let chain = Chain::new([with_rules("redirects", "_redirects"), clean_urls(), guard()]);
    fs::write(chain.at("_redirects"), rules).expect("rules");
    let server = Launch::new(&tree).plugins(&chain).start();
    for (method, target, status, location) in [
        ("GET", "/pricing", 200, None),
        ("GET", "/pricing/", 301, Some("/plans")),
        ("GET", "/form.html", 200, None),
        ("HEAD", "/form.html", 200, None),
        ("POST", "/form.html", 307, Some("/contact")),
        ("GET", "/app/real.txt", 200, None),
        ("GET", "/app/", 200, None),
        ("GET", "/app/view?x=1", 302, Some("https://app.example.com/view?x=1")),
        ("HEAD", "/app/view", 302, Some("https://app.example.com/view")),
        ("GET", "/posts/hello.html", 301, Some("/blog/hello.html")),
        ("GET", "/nothing", 200, None),
        // What a guard protects does not show by a redirect what is in it.
        ("GET", "/private/a.txt", 401, None),
        ("GET", "/private/none.txt", 401, None),
    ] {
        // Twice: the second answer is that of a kept decision.
        for _ in 0..2 {
            let response = server.request(method, target, &[("Accept-Language", "de")]);
            assert_eq!(
                (response.status, response.header("location")),
                (status, location),
                "{method} {target}"
            );
        }
    }
    drop(server);
    let cloudflare = "dialect = \"cloudflare\"\n[policy.config-files]\nrules = \"_redirects\"";
    let chain = Chain::new([Policy::standard("redirects").config(cloudflare), clean_urls(), guard()]);
    fs::write(chain.at("_redirects"), "/pricing  /plans  301\n").expect("rules");
    let server = Launch::new(&tree).plugins(&chain).start();
    let response = server.get("/pricing");
    assert_eq!((response.status, response.header("location")), (301, Some("/plans")));
}

/// A file that comes and goes is seen although the decision is kept.
#[test]
fn a_kept_redirect_yields_to_a_file_that_appears() {
    let tree = tree();
    let chain = Chain::new([with_rules("redirects", "_redirects")]);
    fs::write(chain.at("_redirects"), "/new.html  /app/  302\n").expect("rules");
    let server = Launch::new(&tree).plugins(&chain).start();
    let response = server.get("/new.html");
    assert_eq!((response.status, response.header("location")), (302, Some("/app/")));
    fs::write(tree.at("new.html"), "the new page").expect("a file");
    eventually("the file is served", || {
        server.get("/new.html").text() == "the new page"
    });
}

#[test]
fn header_fields_of_a_file() {
    let tree = tree();
    let chain = Chain::new([with_rules("headers", "_headers"), with_rules("redirects", "_redirects")]);
    let rules = "/*\n  X-Frame-Options: DENY\n  X-Robots-Tag: noindex\n/app/*\n  ! X-Frame-Options\n  X-Robots-Tag: nofollow\n\
                 /posts/:slug\n  X-Slug: :slug\n";
    fs::write(chain.at("_headers"), rules).expect("rules");
    fs::write(chain.at("_redirects"), "/old / 301\n").expect("rules");
    let server = Launch::new(&tree).plugins(&chain).start();
    for (target, name, value) in [
        ("/", "x-frame-options", Some("DENY")),
        ("/app/real.txt", "x-frame-options", None),
        ("/app/real.txt", "x-robots-tag", Some("noindex, nofollow")),
        ("/posts/hello.html", "x-slug", Some("hello.html")),
        ("/posts/no%0Ane%22", "x-slug", None),
        ("/posts/n%C3%BCll", "x-slug", Some("n%C3%BCll")),
        ("/none", "x-frame-options", Some("DENY")),
        ("/old", "x-frame-options", None),
    ] {
        let response = server.get(target);
        assert_eq!(response.header(name), value, "{target} {name}: {response:?}");
    }
}

#[test]
fn users_of_a_password_file() {
    let tree = tree();
    let chain = Chain::new([Policy::standard("basic-auth")
        .config("prefixes = [\"/private/\"]\n[policy.config-files]\nhtpasswd = \"staff.htpasswd\"")]);
    let users = "# staff\nbob:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n";
    fs::write(chain.at("staff.htpasswd"), users).expect("users");
    let server = Launch::new(&tree).plugins(&chain).start();
    for (credentials, status) in [("Basic Ym9iOnNlY3JldA==", 200), ("Basic Ym9iOndyb25n", 401)] {
        let response = server.request("GET", "/private/a.txt", &[("Authorization", credentials)]);
        assert_eq!(response.status, status, "{credentials}");
    }
    drop(server);
    fs::write(
        chain.at("staff.htpasswd"),
        "bob:$apr1$Q1x.7iRk$YZ0iCtC.W8yOHdGyNGPRj/\n",
    )
    .expect("users");
    let refusal = Launch::new(&tree).plugins(&chain).refusal();
    assert!(
        refusal.contains("`htpasswd` line 1: ") && refusal.contains("htpasswd -B"),
        "{refusal}"
    );
}

#[test]
fn mistakes_in_rules_keep_the_server_from_starting() {
    for (plugin, text, problem) in [
        ("redirects", "/a /b\n/a\n", "line 2: "),
        ("headers", "/*\n  X-A\n", "line 2: "),
    ] {
        let chain = Chain::new([with_rules(plugin, "rules.txt")]);
        fs::write(chain.at("rules.txt"), text).expect("rules");
        let refusal = Launch::new(&tree()).plugins(&chain).refusal();
        assert!(refusal.contains(problem), "{plugin}: {refusal}");
    }
}
