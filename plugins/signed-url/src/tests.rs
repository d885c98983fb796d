//! Signatures here were made by Python: `base64.urlsafe_b64encode(hmac.digest(secret, message, "sha256"))`.
use super::*;
use wasmserve_plugin::testing::{self, Question, configure};

const PREFIXES: (&str, &str) = ("prefixes", r#"["/private/"]"#);
const SECRETS: (&str, &str) = (
    "secret",
    "a newer secret of the operator\nthe older secret of the operator\n",
);

/// Of the older secret, expires 1795197600: the path /private/a b.pdf; the prefix /private/; the prefix for 192.0.2.0/24.
const PATH: &str = "SbEudcPHjskWHocwefYOl5zkFI-_rwPBZSxEgJ4aGq4";
const PREFIX: &str = "Bj5z3oGAavUEBYGWntsVdeq2Q7uccX56OVy23E267EY";
const CLIENT: &str = "HQ0IIjd4SRtV5SPRK2DjLUuhgrKQ6ljRcrCZ6b4epfY";

fn link(path: &str, parameters: &str, signature: &str) -> testing::Request {
    testing::Request::get(path)
        .query(&format!("expires=1795197600&{parameters}signature={signature}"))
        .now(1_795_197_599)
}

fn status(policy: &SignedUrl, request: &testing::Request) -> u16 {
    match request.decide(policy).unwrap() {
        Decision::Proceed(changes) => {
            assert_eq!(changes, proceed());
            200
        }
        Decision::Respond(response) => response.status,
    }
}

#[test]
fn links_and_what_they_open() {
    let policy: SignedUrl = configure([PREFIXES, SECRETS]).unwrap();
    let client = "prefix=/private/&client=192.0.2.0/24&";
    for (path, parameters, signature, expected) in [
        ("/private/a b.pdf", "", PATH, 200),
        ("/private/b.pdf", "", PATH, 403),
        ("/private/a b.pdf/", "", PATH, 403),
        ("/private/a b.pdf", "prefix=/private/&", PATH, 403),
        ("/private/a b.pdf", "prefix=/private/a b.pdf&", PATH, 403),
        ("/private/a b.pdf", "client=127.0.0.1&", PATH, 403),
        ("/private/x/y", "prefix=/private/&", PREFIX, 200),
        ("/private/x/y", "prefix=%2Fprivate%2F&", PREFIX, 200),
        ("/private/x/y", "prefix=/private&", PREFIX, 403),
        ("/private/x/y", "prefix=/&", PREFIX, 403),
        ("/private/x/y", "", PREFIX, 403),
        ("/private/x/y", "prefix=/private/&client=0.0.0.0/0&", PREFIX, 403),
        ("/private/x/y", "prefix=/private/&", CLIENT, 403),
        ("/private/x/y", client, CLIENT, 403), // from 127.0.0.1
        ("/private/x/y", "prefix=/private/&client=nonsense&", CLIENT, 403),
        ("/private/a b.pdf", "", "", 403),
        ("/private/a b.pdf", "", "AAAA", 403),
        ("/private/a b.pdf", "", "%00", 403),
        ("/public/a", "", "AAAA", 200),
    ] {
        let request = link(path, parameters, signature);
        assert_eq!(status(&policy, &request), expected, "{path} {parameters} {signature}");
    }
    let there = link("/private/x/y", client, CLIENT).client("192.0.2.7".parse::<std::net::IpAddr>().unwrap());
    assert_eq!(status(&policy, &there), 200);
    assert_eq!(status(&policy, &testing::Request::get("/private/a b.pdf")), 403);
    // A mapping in front does not lead around the guard.
    let mapped = testing::Request::get("/public").targets(["/private/a b.pdf"]);
    assert_eq!(status(&policy, &mapped), 403);
}

#[test]
fn a_link_expires_and_its_time_cannot_be_changed() {
    let policy: SignedUrl = configure([PREFIXES, SECRETS]).unwrap();
    let late = link("/private/a b.pdf", "", PATH).now(1_795_197_600);
    assert_eq!(status(&policy, &late), 410);
    for expires in [
        "1795197601",
        "01795197600",
        "+1795197600",
        "1795197600.0",
        "",
        "99999999999999999999",
    ] {
        let request = testing::Request::get("/private/a b.pdf").query(&format!("expires={expires}&signature={PATH}"));
        assert_eq!(status(&policy, &request), 403, "{expires}");
    }
}

#[test]
fn asks_the_time_last_and_coarsely() {
    let policy: SignedUrl = configure([PREFIXES, SECRETS]).unwrap();
    let right = link("/private/a b.pdf", "", PATH);
    right.decide(&policy).unwrap();
    assert_eq!(right.asked().last(), Some(&Question::Before(1_795_197_600)));
    let wrong = link("/private/b.pdf", "client=0.0.0.0/0&", PATH);
    wrong.decide(&policy).unwrap();
    let asks = |question: &Question| matches!(question, Question::Before(_) | Question::ClientWithin(_));
    assert!(
        !wrong.asked().iter().any(asks),
        "believes what is not signed: {:?}",
        wrong.asked()
    );
    let open = link("/public", "", PATH);
    open.decide(&policy).unwrap();
    assert_eq!(open.asked(), [Question::Path, Question::Targets]);
}

#[test]
fn another_secret_makes_another_signature() {
    let policy: SignedUrl = configure([PREFIXES, ("secret", "a newer secret of the operator")]).unwrap();
    assert_eq!(status(&policy, &link("/private/a b.pdf", "", PATH)), 403);
}

/// The example of nginx's documentation is of this form; the digest is Python's `hashlib.md5`.
#[test]
fn links_of_secure_link() {
    let form = r#"{"expression": "$secure_link_expires$uri$remote_addr secret"}"#;
    let policy: SignedUrl = configure([PREFIXES, ("secure-link", form), ("status", "404")]).unwrap();
    for (path, query, now, expected) in [
        ("/private/link", "md5=8wgWTYzzt0iJ7qghnlQkHQ&expires=1795197600", 0, 200),
        (
            "/private/link",
            "md5=8wgWTYzzt0iJ7qghnlQkHQ==&expires=1795197600",
            0,
            200,
        ),
        (
            "/private/link",
            "md5=8wgWTYzzt0iJ7qghnlQkHQ&expires=1795197600",
            1_795_197_600,
            410,
        ),
        ("/private/link", "md5=8wgWTYzzt0iJ7qghnlQkHQ&expires=1795197601", 0, 404),
        (
            "/private/other",
            "md5=8wgWTYzzt0iJ7qghnlQkHQ&expires=1795197600",
            0,
            404,
        ),
        ("/private/link", "md5=8wgWTYzzt0iJ7qghnlQkHQ", 0, 404),
        ("/private/link", "expires=1795197600", 0, 404),
        ("/private/link", "md5=&expires=1795197600", 0, 404),
    ] {
        let request = testing::Request::get(path).query(query).now(now);
        assert_eq!(status(&policy, &request), expected, "{path} {query} {now}");
    }
    let elsewhere = testing::Request::get("/private/link")
        .query("md5=8wgWTYzzt0iJ7qghnlQkHQ&expires=1795197600")
        .client(None);
    assert_eq!(status(&policy, &elsewhere), 404);
}

#[test]
fn mistakes_in_the_configuration() {
    for (configuration, named) in [
        (&[PREFIXES][..], "`secret`"),
        (&[PREFIXES, ("secret", "")], "`secret`"),
        (&[PREFIXES, ("secret", "hunter2")], "`secret`"),
        (
            &[PREFIXES, ("secret", "a long secret of the operator\nhunter2")],
            "line 2",
        ),
        (&[SECRETS], "prefixes"),
        (&[SECRETS, ("prefixes", "[]")], "`prefixes`"),
        (&[PREFIXES, SECRETS, ("status", "302")], "`status`"),
        (&[PREFIXES, SECRETS, ("expired", "1")], "`expired`"),
        (
            &[PREFIXES, SECRETS, ("secure-link", r#"{"expression": "$uri"}"#)],
            "`secure-link`",
        ),
        (
            &[PREFIXES, ("secure-link", r#"{"expression": "$uri hunter2"}"#)],
            "`secure-link`",
        ),
        (&[PREFIXES, SECRETS, ("secrets", "a")], "`secrets`"),
    ] {
        let error = configure::<SignedUrl>(configuration.iter().copied()).err();
        assert!(
            error
                .as_ref()
                .is_some_and(|error| error.contains(named) && !error.contains("hunter2")),
            "{configuration:?}: {error:?}"
        );
    }
}
