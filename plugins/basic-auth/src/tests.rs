use super::*;
use base64ct::{Base64, Encoding};
use wasmserve_plugin::testing::{self, Question, configure};

/// `password` by argon2id, `secret` by bcrypt.
const USERS: &str = r#"{
    "alice": "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
    "bob@example.com": "$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a"
}"#;

fn policy() -> BasicAuth {
    configure([
        ("prefixes", r#"["/private/", "/a/b"]"#),
        ("users", USERS),
        ("realm", "The \"club\""),
    ])
    .unwrap()
}

fn with(request: testing::Request, user: &str, password: &str) -> testing::Request {
    let encoded = Base64::encode_string(format!("{user}:{password}").as_bytes());
    request.header("Authorization", format!("Basic {encoded}"))
}

fn challenge() -> Decision {
    unauthorized("The \"club\"").into()
}

fn admitted(user: &str) -> Decision {
    proceed().fact("user", user).into()
}

#[test]
fn the_challenge_is_of_rfc_7617() {
    let Decision::Respond(response) = testing::Request::get("/private/").decide(&policy()).unwrap() else {
        panic!("admitted");
    };
    assert_eq!(response.status, 401);
    let challenge = response
        .headers
        .iter()
        .find(|header| header.name == "WWW-Authenticate")
        .unwrap();
    assert_eq!(challenge.value, r#"Basic realm="The \"club\"", charset="UTF-8""#);
}

#[test]
fn users_and_passwords() {
    for (user, password, expected) in [
        ("alice", "password", admitted("alice")),
        ("bob@example.com", "secret", admitted("bob@example.com")),
        ("alice", "secret", challenge()),
        ("bob@example.com", "password", challenge()),
        ("alice", "", challenge()),
        ("", "", challenge()),
        ("", "password", challenge()),
        ("Alice", "password", challenge()),
        ("alice ", "password", challenge()),
        ("alice", "password:", challenge()),
    ] {
        let request = with(testing::Request::get("/private/a"), user, password);
        assert_eq!(request.decide(&policy()), Ok(expected), "{user:?} {password:?}");
    }
}

/// The hash that is computed in an unknown name's stead is a user's: its password must not admit the name.
#[test]
fn an_unknown_name_is_refused_with_any_users_password() {
    let policy = policy();
    for number in 0..20 {
        for password in ["password", "secret"] {
            let request = with(testing::Request::get("/private/"), &format!("nobody{number}"), password);
            assert_eq!(request.decide(&policy), Ok(challenge()));
        }
    }
}

#[test]
fn an_unknown_name_costs_what_a_users_costs() {
    let policy = policy();
    let decoy = |name: &str| policy.decoy(name).unwrap().secret();
    let decoys: Vec<&[u8]> = (0..20).map(|number| decoy(&format!("nobody{number}"))).collect();
    for user in policy.users.values() {
        assert!(decoys.contains(&user.secret()), "names are not spread over the users");
    }
    assert_eq!(decoy("nobody0"), decoys[0], "a name does not always cost the same");
}

#[test]
fn guards_whole_segments_of_the_path_and_of_every_target() {
    for (path, targets, guarded) in [
        ("/private/", &["/private/"][..], true),
        ("/private", &["/private"], true),
        ("/private/a/b.txt", &["/private/a/b.txt"], true),
        ("/privateer", &["/privateer"], false),
        ("/a", &["/a"], false),
        ("/a/b", &["/a/b"], true),
        ("/a/b.html", &["/a/b.html"], false),
        ("/", &["/"], false),
        ("/", &["/public/", "/private/index.html"], true),
        ("/a", &["/a", "/a/b/index.html"], true),
        ("/private/", &["/public/"], true),
    ] {
        let request = match targets {
            [one] => testing::Request::get(path).targets([one]),
            [one, two] => testing::Request::get(path).targets([one, two]),
            _ => unreachable!("one target or two"),
        };
        let expected = if guarded { challenge() } else { proceed().into() };
        assert_eq!(request.decide(&policy()), Ok(expected), "{path} {targets:?}");
    }
}

#[test]
fn every_method_is_guarded() {
    for method in ["GET", "HEAD", "POST", "OPTIONS", "BREW"] {
        assert_eq!(
            testing::Request::new(method, "/private/").decide(&policy()),
            Ok(challenge()),
            "{method}"
        );
    }
}

#[test]
fn authorization_is_asked_beneath_a_prefix_only() {
    let open = with(testing::Request::get("/open"), "alice", "password");
    open.decide(&policy()).unwrap();
    assert_eq!(open.asked(), [Question::Path, Question::Targets]);
    let guarded = with(testing::Request::get("/private/"), "alice", "password");
    guarded.decide(&policy()).unwrap();
    assert_eq!(
        guarded.asked(),
        [Question::Path, Question::Header("authorization".into())]
    );
}

#[test]
fn two_credentials_are_none() {
    let request = with(
        with(testing::Request::get("/private/"), "alice", "password"),
        "alice",
        "password",
    );
    assert_eq!(request.decide(&policy()), Ok(challenge()));
}

#[test]
fn without_users_everybody_is_refused() {
    for users in ["{}", ""] {
        let configuration = [("prefixes", r#"["/"]"#), ("users", users)];
        let given = configuration.into_iter().filter(|(_, text)| !text.is_empty());
        let policy: BasicAuth = configure(given).unwrap();
        for request in [testing::Request::get("/"), with(testing::Request::get("/"), "", "")] {
            assert_eq!(request.decide(&policy), Ok(unauthorized("Restricted").into()));
        }
    }
}

/// As `htpasswd -B` and other servers write it.
#[test]
fn users_of_a_password_file() {
    let file = "# staff\n\nalice:$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4\r\n\
                bob:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a:a comment\n";
    let policy: BasicAuth = configure([("prefixes", r#"["/"]"#), ("htpasswd", file)]).unwrap();
    for (user, password, admitted) in [
        ("alice", "password", true),
        ("bob", "secret", true),
        ("bob", "password", false),
        ("# staff", "", false),
    ] {
        let decision = with(testing::Request::get("/"), user, password)
            .decide(&policy)
            .unwrap();
        assert_eq!(matches!(decision, Decision::Proceed(_)), admitted, "{user}");
    }
}

#[test]
fn mistakes_in_a_password_file_are_said_with_their_lines() {
    let file = "alice\nbob:hunter2\n:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n\
                carol:$apr1$Q1x.7iRk$YZ0iCtC.W8yOHdGyNGPRj/\ndave:rqXexS6ZhobKA\n\
                erin:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n\
                erin:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n";
    let error = configure::<BasicAuth>([("prefixes", r#"["/"]"#), ("htpasswd", file)])
        .err()
        .unwrap();
    for line in [1, 2, 3, 4, 5, 7] {
        assert!(error.contains(&format!("`htpasswd` line {line}: ")), "{line}: {error}");
    }
    assert!(
        !error.contains("line 6") && !error.contains("hunter2") && !error.contains("apr1"),
        "{error}"
    );
    assert!(error.contains("htpasswd -B"), "{error}");
}

#[test]
fn mistakes_in_the_configuration() {
    const PREFIXES: (&str, &str) = ("prefixes", r#"["/private/"]"#);
    for (configuration, named) in [
        (&[][..], "prefixes"),
        (&[("prefixes", "[]")], "`prefixes`"),
        (&[("prefixes", "/private/")], "`prefixes`"),
        (&[("prefixes", r#"["private"]"#)], "`prefixes`"),
        (&[("prefixes", r#"["/private//"]"#)], "`prefixes`"),
        (&[("prefixes", r#"["/a/../private/"]"#)], "`prefixes`"),
        (&[("prefixes", r#"["/private/*"]"#)], "`prefixes`"),
        (&[("prefixes", r#"["/my%20files/"]"#)], "`prefixes`"),
        (&[PREFIXES, ("users", "alice")], "`users`"),
        (&[PREFIXES, ("users", r#"["alice"]"#)], "`users`"),
        (&[PREFIXES, ("users", r#"{"alice": "password"}"#)], "\"alice\""),
        (&[PREFIXES, ("users", r#"{"al:ice": "$2y$05$"}"#)], "\"al:ice\""),
        (&[PREFIXES, ("users", r#"{"": "$2y$05$"}"#)], "\"\""),
        (&[PREFIXES, ("realm", "")], "`realm`"),
        (&[PREFIXES, ("realm", "a\nb")], "`realm`"),
        (&[PREFIXES, ("user", "{}")], "`user`"),
    ] {
        let error = configure::<BasicAuth>(configuration.iter().copied()).err();
        assert!(
            error.as_ref().is_some_and(|error| error.contains(named)),
            "{configuration:?}: {error:?}"
        );
    }
}

#[test]
fn all_mistakes_are_said_at_once_and_no_password_with_them() {
    let configuration = [
        ("prefixes", r#"["a", "/b*"]"#),
        ("users", r#"{"alice": "hunter2", "bob": "$2y$"}"#),
        ("realm", "ü"),
    ];
    let error = configure::<BasicAuth>(configuration).err().unwrap();
    for named in ["\"a\"", "\"/b*\"", "\"alice\"", "\"bob\"", "`realm`"] {
        assert!(error.contains(named), "{named}: {error}");
    }
    assert!(!error.contains("hunter2"), "{error}");
}
