//! Signed tokens: jwt.
use std::fs;
use support::{Chain, Launch, Policy, Tree, tokens::TOKENS, tool};

fn tree() -> Tree {
    Tree::new().file("members/a.txt", "SECRET").file("public.txt", "open")
}

#[test]
fn tokens_of_every_public_key_algorithm() {
    let tree = tree();
    let keys: Vec<String> = TOKENS
        .iter()
        .map(|(algorithm, pem, _)| format!("{{ algorithm = {algorithm:?}, pem = {pem:?} }}"))
        .collect();
    let config = format!("prefixes = [\"/members/\"]\nkeys = [{}]", keys.join(", "));
    let chain = Chain::new([
        Policy::standard("jwt").config(&config),
        Policy::guest("probe").config("ask = \"fact user\"\nanswers-header = \"X-User\""),
    ]);
    let server = Launch::new(&tree).plugins(&chain).start();
    for (algorithm, _, token) in TOKENS {
        let bearer = format!("Bearer {token}");
        for _ in 0..3 {
            let response = server.request("GET", "/members/a.txt", &[("Authorization", &bearer)]);
            assert_eq!((response.status, response.text()), (200, "SECRET"), "{algorithm}");
            assert_eq!(response.header("x-user"), Some("some(alice)"));
            assert!(
                response.members("cache-control").contains(&"private".to_owned()),
                "{response:?}"
            );
        }
        let (signed, signature) = token.rsplit_once('.').expect("a token has three parts");
        let (header, payload) = signed.split_once('.').expect("a token has three parts");
        for wrong in [
            format!("{signed}."),
            format!("{signed}.{}", signature.chars().rev().collect::<String>()),
            format!("{header}.e30.{signature}"),
            // {"alg":"none"} and {"alg":"HS256"}
            format!("eyJhbGciOiJub25lIn0.{payload}."),
            format!("eyJhbGciOiJIUzI1NiJ9.{payload}.{signature}"),
            signed.to_owned(),
        ] {
            let bearer = format!("Bearer {wrong}");
            let response = server.request("GET", "/members/a.txt", &[("Authorization", &bearer)]);
            assert_eq!(response.status, 401, "{algorithm}: {wrong}");
            let challenge = response.header("www-authenticate").unwrap_or_default();
            assert_eq!(challenge, "Bearer realm=\"Restricted\", error=\"invalid_token\"");
            assert!(!response.text().contains("SECRET"));
        }
    }
    let bare = server.get("/members/a.txt");
    assert_eq!(
        (bare.status, bare.header("www-authenticate")),
        (401, Some("Bearer realm=\"Restricted\""))
    );
    assert_eq!(server.get("/public.txt").text(), "open");
}

#[test]
fn tokens_of_an_independent_signer_and_their_claims() {
    let tree = tree();
    let chain = Chain::new([Policy::standard("jwt").config(
        "prefixes = [\"/members/\"]\nissuer = \"https://id.example\"\naudience = [\"files\"]\ncookie = \"session\"\n\
         require = { groups = \"staff\" }\n[policy.config-files]\njwks = \"keys.json\"",
    )]);
    // 32 bytes: a to z, A to F.
    let key = "YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXpBQkNERUY";
    let keys = format!("{{\"keys\":[{{\"kty\":\"oct\",\"alg\":\"HS256\",\"kid\":\"1\",\"k\":\"{key}\"}}]}}");
    fs::write(chain.at("keys.json"), keys).expect("a set of keys");
    let server = Launch::new(&tree).plugins(&chain).start();
    for (claims, status) in [
        (
            "'iss': 'https://id.example', 'aud': ['x', 'files'], 'exp': now + 60, 'groups': ['staff']",
            200,
        ),
        (
            "'iss': 'https://id.example', 'aud': 'files', 'exp': now + 60, 'groups': 'guests'",
            403,
        ),
        (
            "'iss': 'https://evil.example', 'aud': 'files', 'exp': now + 60, 'groups': 'staff'",
            401,
        ),
        (
            "'iss': 'https://id.example', 'aud': 'mail', 'exp': now + 60, 'groups': 'staff'",
            401,
        ),
        (
            "'iss': 'https://id.example', 'aud': 'files', 'exp': now - 3600, 'groups': 'staff'",
            401,
        ),
        (
            "'iss': 'https://id.example', 'aud': 'files', 'exp': now + 3600, 'nbf': now + 3600, 'groups': 'staff'",
            401,
        ),
        ("'iss': 'https://id.example', 'aud': 'files', 'groups': 'staff'", 401),
    ] {
        let program = format!(
            "import base64, hmac, json, time\n\
             now = int(time.time())\n\
             encode = lambda data: base64.urlsafe_b64encode(data).decode().rstrip('=')\n\
             part = lambda value: encode(json.dumps(value).encode())\n\
             signed = part({{'alg': 'HS256', 'kid': '1'}}) + '.' + part({{'sub': 'alice', {claims}}})\n\
             key = b'abcdefghijklmnopqrstuvwxyzABCDEF'\n\
             print(signed + '.' + encode(hmac.digest(key, signed.encode(), 'sha256')))"
        );
        let printed = tool::run(&chain.folder(), "python3", ["-c", program.as_str()])
            .success()
            .stdout;
        let token = String::from_utf8(printed).expect("a token is text");
        let token = token.trim();
        let cookie = format!("session={token}");
        let response = server.request("GET", "/members/a.txt", &[("Cookie", &cookie)]);
        assert_eq!(response.status, status, "{claims}: {response:?}");
        let bearer = format!("bearer {token}");
        let response = server.request("GET", "/members/a.txt", &[("Authorization", &bearer)]);
        assert_eq!(response.status, status, "{claims}: {response:?}");
        // Not where nobody configured it.
        assert_eq!(server.get(&format!("/members/a.txt?token={token}")).status, 401);
    }
}
