//! Policies that choose files: single-page, tenant-map, language.
use support::{Chain, Launch, Policy, Tree};

#[test]
fn views_of_a_single_page_application() {
    let tree = Tree::new().file("index.html", "the application").file("app.js", "js");
    let chain = Chain::new([Policy::standard("single-page").config("except = [\"/api/\"]")]);
    let server = Launch::new(&tree).plugins(&chain).start();
    for (target, status, content) in [
        ("/", 200, Some("the application")),
        ("/users/7", 200, Some("the application")),
        ("/users/", 200, Some("the application")),
        ("/app.js", 200, Some("js")),
        ("/old.js", 404, None),
        ("/api/users", 404, None),
    ] {
        let response = server.get(target);
        assert_eq!(response.status, status, "{target}: {response:?}");
        if let Some(content) = content {
            assert_eq!(response.text(), content, "{target}");
        }
    }
}

/// Two tenants; alice's directory holds a link that leads into bob's.
fn tenants() -> Tree {
    Tree::new()
        .file("tenants/alice/index.html", "alice's page")
        .file("tenants/alice/docs/a.txt", "alice's file")
        .file("tenants/bob/index.html", "bob's page")
        .file("tenants/bob/secret.txt", "bob's secret")
        .link("tenants/alice/neighbour", "../bob/secret.txt")
        .file("secret.txt", "the operator's")
}

#[test]
fn tenants_by_host() {
    let tree = tenants();
    let chain = Chain::new([Policy::standard("tenant-map").config(
        "by = \"host\"\nhosts = [\"*.example.com\"]\ndirectory = \"/tenants/{tenant}\"\n\
         tenants = { \"www.bob.org\" = \"bob\" }",
    )]);
    let server = Launch::new(&tree).plugins(&chain).start();
    for (host, target, status, content) in [
        ("alice.example.com", "/", 200, "alice's page"),
        ("Alice.Example.Com:80", "/docs/a.txt", 200, "alice's file"),
        ("bob.example.com", "/", 200, "bob's page"),
        ("www.bob.org", "/secret.txt", 200, "bob's secret"),
        ("alice.example.com", "/secret.txt", 404, ""),
        ("alice.example.com", "/neighbour", 404, ""),
        ("alice.example.com", "/tenants/bob/secret.txt", 404, ""),
        ("carol.example.com", "/", 404, ""),
        ("example.com", "/", 404, ""),
        ("localhost", "/secret.txt", 404, ""),
    ] {
        let response = server.request("GET", target, &[("Host", host)]);
        assert_eq!(response.status, status, "{host} {target}: {response:?}");
        if status == 200 {
            assert_eq!(response.text(), content, "{host} {target}");
        }
        assert!(status == 200 || !response.text().contains("secret"), "{response:?}");
    }
}

#[test]
fn tenants_by_path() {
    let tree = tenants();
    let chain = Chain::new([
        Policy::standard("tenant-map").config("by = \"path\"\ndirectory = \"/tenants/{tenant}\""),
        Policy::standard("basic-auth").config("prefixes = [\"/bob/\", \"/docs/\"]"),
    ]);
    let server = Launch::new(&tree).plugins(&chain).start();
    for (target, status) in [
        ("/alice/", 200),
        ("/alice/neighbour", 404),
        ("/carol/", 404),
        ("/.git/config", 404),
        ("/secret.txt", 308),
        ("/secret.txt/", 404),
        // A guard may name the path or what is served.
        ("/bob/secret.txt", 401),
        ("/alice/docs/a.txt", 401),
    ] {
        let response = server.get(target);
        assert_eq!(response.status, status, "{target}: {response:?}");
        assert!(!response.text().contains("secret"), "{response:?}");
    }
    let alone = server.get("/alice?a=1");
    assert_eq!((alone.status, alone.leads_to("/alice").as_str()), (308, "/alice/?a=1"));
}

/// A folder without its slash leads to the one with it, though it is another path in the tenant's directory.
#[test]
fn folders_of_tenants_by_path() {
    let tree = tenants().file("tenants/alice/docs/index.html", "alice's docs");
    let policy = Policy::standard("tenant-map").config("by = \"path\"\ndirectory = \"/tenants/{tenant}\"");
    let chain = Chain::new([policy]);
    let server = Launch::new(&tree).plugins(&chain).start();
    let leads = server.get("/alice/docs?a=1");
    assert_eq!(leads.status / 100, 3, "{leads:?}");
    assert_eq!(leads.leads_to("/alice/docs"), "/alice/docs/?a=1");
    assert_eq!(server.get("/alice/docs/").text(), "alice's docs");
    assert_eq!(server.get("/alice/none").status, 404);
}

#[test]
fn the_visitors_language() {
    let tree = Tree::new()
        .file("en/index.html", "hello")
        .file("de/index.html", "hallo")
        .file("en/terms.html", "terms")
        .file("logo.svg", "logo");
    let chain = Chain::new([
        Policy::standard("language").config("languages = [\"en\", \"de\"]"),
        Policy::standard("clean-urls"),
    ]);
    let server = Launch::new(&tree).plugins(&chain).start();
    for (target, accept, content) in [
        ("/", "de-CH, en;q=0.5", "hallo"),
        ("/", "en, de;q=0.5", "hello"),
        ("/", "ja", "hello"),
        ("/terms", "de", "terms"),
        ("/logo.svg", "de", "logo"),
        ("/de/", "en", "hallo"),
    ] {
        for _ in 0..2 {
            let response = server.request("GET", target, &[("Accept-Language", accept)]);
            assert_eq!((response.status, response.text()), (200, content), "{target} {accept}");
            let varies = response.members("vary").contains(&"accept-language".to_owned());
            assert_eq!(varies, target != "/de/", "{target}: {response:?}");
        }
    }
    assert_eq!(server.request("GET", "/none", &[("Accept-Language", "de")]).status, 404);
}
