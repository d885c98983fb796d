//! Policies that refuse: ip-access, hotlink, maintenance.
use support::{Chain, Launch, Policy, Tree};

fn tree() -> Tree {
    Tree::new()
        .file("index.html", "home")
        .file("public/a.txt", "open")
        .file("private/a.txt", "SECRET")
        .file("images/a.png", "png")
        .file("no.png", "no")
}

#[test]
fn addresses_are_admitted_and_refused() {
    let tree = tree();
    let configuration = "rules = [\"deny 127.0.0.0/8\", \"deny ::1\", \"allow all\"]\n\
                         prefixes = { \"/public/\" = [\"allow 127.0.0.1\", \"deny all\"] }";
    let chain = Chain::new([
        Policy::standard("clean-urls"),
        Policy::standard("ip-access").config(configuration),
    ]);
    let server = Launch::new(&tree).plugins(&chain).start();
    for (target, status) in [
        ("/public/a.txt", 200),
        ("/private/a.txt", 403),
        ("/", 403),
        ("/none", 403),
        ("/publicity", 403),
    ] {
        for _ in 0..2 {
            let response = server.get(target);
            assert_eq!(response.status, status, "{target}: {response:?}");
            assert!(
                response.members("cache-control").contains(&"private".to_owned()),
                "{response:?}"
            );
            assert!(!response.text().contains("SECRET"));
        }
    }
    // A mapping in front of the guard leads neither around it nor into its exception.
    for path in ["/private/a.txt", "/public/a.txt\\n/private/a.txt"] {
        let chain = Chain::new([
            Policy::guest("probe").config(&format!("paths = \"{path}\"")),
            Policy::standard("ip-access").config(configuration),
        ]);
        let server = Launch::new(&tree).plugins(&chain).start();
        assert_eq!(server.get("/public/b.txt").status, 403, "{path}");
    }
}

#[test]
fn pages_of_other_sites_do_not_get_images() {
    let tree = tree();
    let chain =
        Chain::new([Policy::standard("hotlink")
            .config("paths = [\"/images/**\"]\nhosts = [\"friend.org\"]\ninstead = \"/no.png\"")]);
    let server = Launch::new(&tree).plugins(&chain).start();
    for (referer, content) in [
        ("http://localhost/page", "png"),
        ("https://friend.org/", "png"),
        ("", "png"),
        ("https://evil.org/", "no"),
        ("https://localhost@evil.org/", "no"),
    ] {
        let response = server.request("GET", "/images/a.png", &[("Referer", referer)]);
        assert_eq!((response.status, response.text()), (200, content), "{referer}");
        assert!(
            response.members("vary").contains(&"referer".to_owned()),
            "{referer}: {response:?}"
        );
    }
    assert_eq!(server.get("/images/a.png").text(), "png");
    let page = server.request("GET", "/", &[("Referer", "https://evil.org/")]);
    assert_eq!(page.text(), "home");
    assert!(!page.members("vary").contains(&"referer".to_owned()), "{page:?}");
}

#[test]
fn maintenance_closes_all_but_a_few() {
    let tree = tree();
    let closed = "prefixes = [\"/private/\"]\nretry-after = 120\npage = \"<p>Soon.</p>\"\n\
                  cookie = { name = \"preview\", value = \"0123456789abcdef\" }";
    let chain = Chain::new([Policy::standard("maintenance").config(closed)]);
    let server = Launch::new(&tree).plugins(&chain).start();
    for method in ["GET", "HEAD", "POST"] {
        let response = server.request(method, "/private/a.txt", &[]);
        assert_eq!(response.status, 503, "{response:?}");
        assert_eq!(response.header("retry-after"), Some("120"));
        assert!(
            response.members("cache-control").contains(&"no-store".to_owned()),
            "{response:?}"
        );
    }
    assert_eq!(server.get("/private/a.txt").text(), "<p>Soon.</p>");
    assert_eq!(server.get("/").text(), "home");
    let cookie = [("Cookie", "a=b; preview=0123456789abcdef")];
    assert_eq!(server.request("GET", "/private/a.txt", &cookie).text(), "SECRET");
    assert_eq!(server.get("/private/a.txt").status, 503);

    let over = Chain::new([Policy::standard("maintenance").config("until = \"2020-01-01T00:00:00Z\"")]);
    let server = Launch::new(&tree).plugins(&over).start();
    assert_eq!(server.get("/").text(), "home");
    let allowed = Chain::new([Policy::standard("maintenance").config("allow = [\"127.0.0.0/8\", \"::1\"]")]);
    let server = Launch::new(&tree).plugins(&allowed).start();
    assert_eq!(server.get("/").text(), "home");
}
