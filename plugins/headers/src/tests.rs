use super::*;
use wasmserve_plugin::testing::{self, Question, configure};

fn policy(rules: &str) -> Headers {
    configure([("rules", &*rules.to_owned().leak())]).unwrap()
}

/// The changes in one line: `name=value`, `+name=value`, `!name`.
fn changes(policy: &Headers, request: &testing::Request) -> String {
    let Decision::Proceed(changes) = request.decide(policy).unwrap() else {
        panic!("responds");
    };
    let shown = changes.headers.iter().map(|change| {
        assert_eq!(change.when, Outcomes::FOUND | Outcomes::MISSING);
        match change.operation {
            wasmserve_plugin::HeaderOperation::Set => format!("{}={}", change.name, change.value),
            wasmserve_plugin::HeaderOperation::Append => format!("+{}={}", change.name, change.value),
            wasmserve_plugin::HeaderOperation::Remove => format!("!{}", change.name),
        }
    });
    shown.collect::<Vec<_>>().join(" | ")
}

/// The constructs of the public documentation of both formats, with examples of our own.
#[test]
fn every_construct() {
    let policy = policy(
        "# a comment\n\
         /*\n  X-Frame-Options: DENY\n\tX-Robots-Tag: noindex\n\n\
         /assets/*\n  Cache-Control: public, max-age=60\n  # another comment\n  ! X-Frame-Options\n\
         /assets/app.js\n  cache-control: immutable\n  Link: </a.css>; rel=preload; as=style\n\
         /film/:title\n  X-Title: the :title: of :year\n\
         https://:branch.example.com/*\n  X-Branch: :branch/:splat\n\
         /cookies\n  Set-Cookie: a=b\n  Set-Cookie: c=d\n  Vary: Accept\n",
    );
    for (request, expected) in [
        (
            testing::Request::get("/"),
            "X-Frame-Options=DENY | X-Robots-Tag=noindex",
        ),
        (
            testing::Request::get("/assets/a.css"),
            "X-Robots-Tag=noindex | Cache-Control=public, max-age=60 | !X-Frame-Options",
        ),
        (
            testing::Request::get("/assets/app.js"),
            "X-Robots-Tag=noindex | Cache-Control=public, max-age=60, immutable | !X-Frame-Options | \
             Link=</a.css>; rel=preload; as=style",
        ),
        (
            testing::Request::get("/film/a b, c\""),
            "X-Frame-Options=DENY | X-Robots-Tag=noindex | X-Title=the a%20b%2C%20c%22: of :year",
        ),
        (
            testing::Request::get("/x/y").scheme("https").host("main.example.com"),
            "X-Frame-Options=DENY | X-Robots-Tag=noindex | X-Branch=main/x/y",
        ),
        (
            testing::Request::get("/cookies"),
            "X-Frame-Options=DENY | X-Robots-Tag=noindex | +Set-Cookie=a=b | +Set-Cookie=c=d | +Vary=Accept",
        ),
    ] {
        assert_eq!(changes(&policy, &request), expected);
    }
}

#[test]
fn asks_the_host_only_where_a_rule_has_one() {
    let policy = policy("/a/*\n  X-A: b\nhttps://example.com/b/*\n  X-B: c\n");
    for (path, asked) in [
        ("/a/x", vec![Question::Path]),
        ("/b/x", vec![Question::Path, Question::Scheme, Question::Host]),
    ] {
        let request = testing::Request::get(path);
        request.decide(&policy).unwrap();
        assert_eq!(request.asked(), asked, "{path}");
    }
}

#[test]
fn mistakes_are_said_with_their_lines() {
    let rules = "  X-A: b\n/a\n  X-A\n  X A: b\n  X-A:\n  Content-Length: 5\n  Basic-Auth: a:b\n  Proxy-X: y\n  !\n  ! ETag\n\
                 a/b\n  X-A: b\n/*/*\n";
    let error = configure::<Headers>([("rules", rules)]).err().unwrap();
    for line in [1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13] {
        assert!(error.contains(&format!("line {line}: ")), "{line}: {error}");
    }
    for line in [2, 12] {
        assert!(!error.contains(&format!("line {line}: ")), "{line}: {error}");
    }
    assert!(configure::<Headers>([("rules", ""), ("rule", "")]).is_err());
    assert!(configure::<Headers>([]).is_err());
}
