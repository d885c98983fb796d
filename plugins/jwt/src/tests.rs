use super::*;
use base64ct::{Base64UrlUnpadded, Encoding};
use hmac::{Hmac, KeyInit, Mac};
use key::{JwkSet, Key};
use serde_json::{Value, json};
use sha2::Sha256;
use wasmserve_plugin::testing::{self, Question, configure};

/// The payload of RFC 7515, appendix A.1 to A.3: issued by joe, expires at 1300819380.
const PAYLOAD: &str = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";

/// The keys, headers and signatures of RFC 7515, appendices A.1, A.2 and A.3.
const RFC_7515: [(&str, &str, &str); 3] = [
    (
        r#"{"kty":"oct","alg":"HS256","k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"}"#,
        "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9",
        "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
    ),
    (
        r#"{"kty":"RSA","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ","e":"AQAB"}"#,
        "eyJhbGciOiJSUzI1NiJ9",
        "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw",
    ),
    (
        r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#,
        "eyJhbGciOiJFUzI1NiJ9",
        "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
    ),
];

/// The key of RFC 8037, appendix A.2.
const ED25519: &str = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;

fn key(jwk: &str) -> Key {
    let set: JwkSet = serde_json::from_str(&format!("{{\"keys\":[{jwk}]}}")).unwrap();
    let jwk = set.keys.into_iter().next().unwrap();
    Key::published(jwk).unwrap().expect("a key that is known")
}

/// A policy with configuration that is made up.
fn policy(configuration: &[(&'static str, String)]) -> Result<Jwt, String> {
    let given = configuration.iter().map(|(key, text)| (*key, &*text.clone().leak()));
    configure(std::iter::once(("prefixes", r#"["/members/"]"#)).chain(given))
}

const SECRET: &str = "a secret of at least thirty-two bytes";

fn with_secret(configuration: &[(&'static str, &str)]) -> Jwt {
    let keys = ("keys", json!([{"algorithm": "HS256", "secret": SECRET}]).to_string());
    let given = configuration.iter().map(|(key, text)| (*key, (*text).to_owned()));
    policy(&std::iter::once(keys).chain(given).collect::<Vec<_>>()).unwrap()
}

fn sign(header: &Value, claims: &Value) -> String {
    let encode = |value: &Value| Base64UrlUnpadded::encode_string(value.to_string().as_bytes());
    let signed = format!("{}.{}", encode(header), encode(claims));
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(signed.as_bytes());
    format!(
        "{signed}.{}",
        Base64UrlUnpadded::encode_string(&mac.finalize().into_bytes())
    )
}

fn token(claims: &Value) -> String {
    sign(&json!({"alg": "HS256", "typ": "JWT"}), claims)
}

fn bearing(token: &str) -> testing::Request {
    testing::Request::get("/members/a").header("Authorization", format!("Bearer {token}"))
}

/// The status and the challenge; 200 and the facts when it goes on.
fn outcome(policy: &Jwt, request: &testing::Request) -> (u16, String) {
    match request.decide(policy).unwrap() {
        Decision::Proceed(changes) => {
            let facts: Vec<String> = changes
                .facts
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            (200, facts.join(" "))
        }
        Decision::Respond(response) => {
            let challenge = response.headers.iter().find(|header| header.name == "WWW-Authenticate");
            (response.status, challenge.expect("a challenge").value.clone())
        }
    }
}

const INVALID: &str = "Bearer realm=\"Restricted\", error=\"invalid_token\"";

#[test]
fn examples_of_rfc_7515() {
    for (jwk, header, signature) in RFC_7515 {
        let set = format!("{{\"keys\":[{jwk}]}}");
        let policy = policy(&[
            ("jwks", set),
            ("leeway", "0".into()),
            ("issuer", "joe".into()),
            ("claims", r#"{"iss": "user"}"#.into()),
        ]);
        let policy = policy.unwrap();
        let request = bearing(&format!("{header}.{PAYLOAD}.{signature}"));
        let valid = request.clone().now(1_300_819_379);
        assert_eq!(outcome(&policy, &valid), (200, "user=joe".into()), "{jwk}");
        assert_eq!(valid.asked().last(), Some(&Question::Before(1_300_819_380)));
        assert_eq!(
            outcome(&policy, &request.now(1_300_819_380)),
            (401, INVALID.into()),
            "{jwk}"
        );
    }
}

#[test]
fn example_of_rfc_8037() {
    let signed = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
    let signature = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    let text = format!("{signed}.{signature}");
    assert!(Token::parse(&text).unwrap().is_signed_by(&key(ED25519)));
    let other = format!("{signed}x.{signature}");
    assert!(!Token::parse(&other).unwrap().is_signed_by(&key(ED25519)));
}

#[test]
fn a_changed_signature_or_message_is_another() {
    for (jwk, header, signature) in RFC_7515 {
        let key = key(jwk);
        let message = format!("{header}.{PAYLOAD}");
        let signature = Base64UrlUnpadded::decode_vec(signature).unwrap();
        assert!(key.verifies(message.as_bytes(), &signature));
        for at in [0, signature.len() / 2, signature.len() - 1] {
            let mut changed = signature.clone();
            changed[at] ^= 1;
            assert!(!key.verifies(message.as_bytes(), &changed), "{jwk} {at}");
        }
        for shorter in [&signature[..0], &signature[1..], &signature[..signature.len() - 1]] {
            assert!(!key.verifies(message.as_bytes(), shorter), "{jwk}");
        }
        assert!(!key.verifies(&message.as_bytes()[1..], &signature));
    }
}

/// The header's algorithm never chooses how a key is used (RFC 8725, section 2.1).
#[test]
fn algorithms_cannot_be_confused() {
    let keys: Vec<Key> = RFC_7515
        .iter()
        .map(|(jwk, ..)| *jwk)
        .chain([ED25519])
        .map(key)
        .collect();
    let encode = |text: &str| Base64UrlUnpadded::encode_string(text.as_bytes());
    for key in &keys {
        for algorithm in [
            "none", "None", "", "HS256", "RS256", "ES256", "EdDSA", "Ed25519", "HS384", "RS512", "PS256",
        ] {
            let header = encode(&json!({ "alg": algorithm }).to_string());
            // Nothing; and the message authenticated with what is public of an RSA key.
            let mut mac = Hmac::<Sha256>::new_from_slice(RFC_7515[1].0.as_bytes()).unwrap();
            mac.update(format!("{header}.{PAYLOAD}").as_bytes());
            for signature in [
                String::new(),
                Base64UrlUnpadded::encode_string(&mac.finalize().into_bytes()),
            ] {
                let text = format!("{header}.{PAYLOAD}.{signature}");
                let signed = Token::parse(&text).is_some_and(|token| token.is_signed_by(key));
                assert!(!signed, "{algorithm}");
            }
        }
        let matching = RFC_7515.iter().filter(|(_, header, signature)| {
            let text = format!("{header}.{PAYLOAD}.{signature}");
            Token::parse(&text).unwrap().is_signed_by(key)
        });
        assert_eq!(matching.count(), usize::from(!key.is_for("EdDSA")));
    }
}

/// RFC 9864 names Ed25519 apart from EdDSA; the private key is that of RFC 8037, appendix A.1.
#[test]
fn ed25519_has_two_names() {
    use ed25519_dalek::Signer;
    let secret = Base64UrlUnpadded::decode_vec("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A").unwrap();
    let signing = ed25519_dalek::SigningKey::from_bytes(&secret.try_into().unwrap());
    for (algorithm, expected) in [("EdDSA", true), ("Ed25519", true), ("Ed448", false), ("ed25519", false)] {
        let header = Base64UrlUnpadded::encode_string(json!({ "alg": algorithm }).to_string().as_bytes());
        let signed = format!("{header}.{PAYLOAD}");
        let signature = Base64UrlUnpadded::encode_string(&signing.sign(signed.as_bytes()).to_bytes());
        let text = format!("{signed}.{signature}");
        assert_eq!(
            Token::parse(&text).unwrap().is_signed_by(&key(ED25519)),
            expected,
            "{algorithm}"
        );
    }
}

#[test]
fn rsa_keys_are_measured_by_their_bits() {
    // As many bytes as 2048 bits have, and one bit less or not.
    for (first, bits) in [(0x7f, 2047), (0x80, 2048)] {
        let modulus = [&[first][..], &[0xff; 255]].concat();
        let n = Base64UrlUnpadded::encode_string(&modulus);
        let set = json!({ "keys": [{ "kty": "RSA", "n": n, "e": "AQAB" }] }).to_string();
        let error = policy(&[("jwks", set)]).err();
        match error {
            None => assert_eq!(bits, 2048),
            Some(error) => assert!(bits == 2047 && error.contains("2047 bits"), "{error}"),
        }
    }
}

#[test]
fn claims_and_what_follows() {
    let policy = with_secret(&[
        ("issuer", "https://id.example"),
        ("audience", r#"["files", "other"]"#),
        ("require", r#"{"scope": "read", "groups": "staff"}"#),
        (
            "claims",
            r#"{"sub": "user", "groups": "groups", "n": "plan", "deep": "roles"}"#,
        ),
    ]);
    let now = 1_795_197_600;
    let right = json!({
        "iss": "https://id.example", "aud": "files", "exp": now, "sub": "alice", "scope": "write read",
        "groups": ["staff", "all"], "n": 7, "deep": {"a": 1},
    });
    let facts = "groups=staff,all plan=7 user=alice";
    let insufficient = "Bearer realm=\"Restricted\", error=\"insufficient_scope\"";
    for (claim, value, expected) in [
        ("sub", json!("alice"), (200, facts)),
        ("aud", json!(["x", "other"]), (200, facts)),
        ("nbf", json!(now + 60), (200, facts)),
        ("exp", json!(now - 59), (200, facts)),
        ("exp", json!(f64::from(u32::MAX) + 0.5), (200, facts)),
        ("exp", json!(now - 60), (401, INVALID)),
        ("exp", json!("soon"), (401, INVALID)),
        ("exp", json!(-1), (401, INVALID)),
        ("exp", Value::Null, (401, INVALID)),
        ("nbf", json!(now + 61), (401, INVALID)),
        ("nbf", json!("soon"), (401, INVALID)),
        ("iss", json!("https://evil.example"), (401, INVALID)),
        ("iss", json!(["https://id.example"]), (401, INVALID)),
        ("aud", json!("elsewhere"), (401, INVALID)),
        ("aud", json!(["elsewhere"]), (401, INVALID)),
        ("aud", Value::Null, (401, INVALID)),
        ("scope", json!("write reading"), (403, insufficient)),
        ("groups", json!(["staffer"]), (403, insufficient)),
        ("groups", Value::Null, (403, insufficient)),
    ] {
        let mut claims = right.clone();
        claims[claim] = value.clone();
        let request = bearing(&token(&claims)).now(now);
        assert_eq!(
            outcome(&policy, &request),
            (expected.0, expected.1.to_owned()),
            "{claim}: {value}"
        );
    }
    let mut lasting = right;
    lasting.as_object_mut().unwrap().remove("exp");
    assert_eq!(outcome(&policy, &bearing(&token(&lasting))).0, 401);
    let policy = with_secret(&[("expiry", "optional")]);
    assert_eq!(outcome(&policy, &bearing(&token(&lasting))).0, 200);
}

#[test]
fn headers_of_tokens() {
    let policy = with_secret(&[("expiry", "optional")]);
    let claims = json!({"sub": "alice"});
    for (header, status) in [
        (json!({"alg": "HS256"}), 200),
        (json!({"alg": "HS256", "kid": "any"}), 200),
        (json!({"alg": "HS256", "crit": ["b64"], "b64": false}), 401),
        (json!({"alg": "HS256", "crit": []}), 401),
        (json!({"alg": "hs256"}), 401),
        (json!({"typ": "JWT"}), 401),
        (json!(["HS256"]), 401),
    ] {
        assert_eq!(
            outcome(&policy, &bearing(&sign(&header, &claims))).0,
            status,
            "{header}"
        );
    }
    let named = (
        "keys",
        json!([{"algorithm": "HS256", "secret": SECRET, "id": "2026"}]).to_string(),
    );
    let policy = super::tests::policy(&[named, ("expiry", "optional".into())]).unwrap();
    for (kid, status) in [("2026", 200), ("2025", 401)] {
        let text = sign(&json!({"alg": "HS256", "kid": kid}), &claims);
        assert_eq!(outcome(&policy, &bearing(&text)).0, status, "{kid}");
    }
    let right = token(&claims);
    for text in [
        "",
        ".",
        "..",
        "...",
        "a.b",
        &format!("{right}."),
        &format!("{right}="),
        &right[1..],
        "a.b.c.d.e",
    ] {
        assert_eq!(outcome(&policy, &bearing(text)), (401, INVALID.into()), "{text}");
    }
}

#[test]
fn where_tokens_are_looked_for() {
    let policy = with_secret(&[("expiry", "optional"), ("cookie", "session"), ("query", "token")]);
    let alice = token(&json!({"sub": "alice"}));
    let path = || testing::Request::get("/members/a");
    for (request, expected) in [
        (path(), (401, "Bearer realm=\"Restricted\"")),
        (
            path().header("Authorization", "Basic YTpi"),
            (401, "Bearer realm=\"Restricted\""),
        ),
        (
            path().header("Authorization", format!("bearer  {alice} ")),
            (200, "user=alice"),
        ),
        (
            path().header("Cookie", format!("a=b; session={alice}")),
            (200, "user=alice"),
        ),
        (path().query(&format!("token={alice}")), (200, "user=alice")),
        // The first that is there counts, right or wrong.
        (bearing("wrong").query(&format!("token={alice}")), (401, INVALID)),
        (
            path().header("Cookie", "session=").query(&format!("token={alice}")),
            (401, INVALID),
        ),
    ] {
        assert_eq!(
            outcome(&policy, &request),
            (expected.0, expected.1.to_owned()),
            "{request:?}"
        );
    }
    let Decision::Proceed(changes) = path().query(&format!("token={alice}")).decide(&policy).unwrap() else {
        panic!("refused");
    };
    assert_eq!(
        (&*changes.headers[0].name, &*changes.headers[0].value),
        ("Cache-Control", "private, no-store")
    );
    let elsewhere = with_secret(&[("expiry", "optional")]);
    assert_eq!(outcome(&elsewhere, &path().query(&format!("token={alice}"))).0, 401);
}

#[test]
fn guards_the_path_and_every_target() {
    let policy = with_secret(&[]);
    for (path, target, status) in [
        ("/members", "/members", 401),
        ("/membership", "/membership", 200),
        ("/a", "/members/a", 401),
    ] {
        let request = testing::Request::get(path).targets([target]);
        let decision = request.decide(&policy).unwrap();
        let found = if matches!(decision, Decision::Proceed(_)) {
            200
        } else {
            401
        };
        assert_eq!(found, status, "{path} {target}");
        let asked = request.asked().contains(&Question::Header("authorization".into()));
        assert_eq!(asked, status == 401, "asks what it does not need");
    }
}

#[test]
fn keys_of_a_set_that_are_for_something_else_are_left_out() {
    let (rsa, ..) = RFC_7515[1];
    let others = [
        r#"{"kty":"EC","crv":"P-384","x":"AA","y":"AA"}"#,
        r#"{"kty":"OKP","crv":"X25519","x":"AA"}"#,
        r#"{"kty":"oct","k":"AAAA"}"#,
        r#"{"kty":"quantum"}"#,
        &rsa.replace("\"e\"", "\"use\":\"enc\",\"e\""),
        &rsa.replace("\"e\"", "\"alg\":\"RS512\",\"e\""),
    ]
    .join(",");
    let set = |keys: &str| ("jwks", format!("{{\"keys\":[{keys}]}}"));
    assert_eq!(policy(&[set(&format!("{others},{rsa}"))]).unwrap().0.keys.len(), 1);
    assert!(policy(&[set(&others)]).err().unwrap().contains("`jwks` has no key"));
}

const PEM_ED25519: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n-----END PUBLIC KEY-----\n";

#[test]
fn public_keys_in_pem() {
    let pem = |algorithm: &str| {
        (
            "keys",
            json!([{"algorithm": algorithm, "pem": PEM_ED25519}]).to_string(),
        )
    };
    for algorithm in ["EdDSA", "Ed25519"] {
        assert!(
            policy(&[pem(algorithm)]).unwrap().0.keys[0].is_for(algorithm),
            "{algorithm}"
        );
    }
    for algorithm in ["RS256", "ES256"] {
        assert!(
            policy(&[pem(algorithm)]).err().unwrap().contains(algorithm),
            "{algorithm}"
        );
    }
}

#[test]
fn mistakes_in_the_configuration() {
    let keys = || ("keys", json!([{"algorithm": "HS256", "secret": SECRET}]).to_string());
    let wrong = |keys: Value| ("keys", keys.to_string());
    let small = r#"{"keys":[{"kty":"RSA","n":"sXchDaQebHnPiGvyDOAT4saGEUetSyo9MKLOoWFsueri","e":"AQAB"}]}"#;
    for (configuration, named) in [
        (vec![], "`keys`"),
        (
            vec![wrong(json!([{"algorithm": "HS256", "secret": "hunter2"}]))],
            "`keys` number 1",
        ),
        (vec![wrong(json!([{"algorithm": "none", "secret": SECRET}]))], "`keys`"),
        (
            vec![wrong(json!([{"algorithm": "HS256", "pem": PEM_ED25519}]))],
            "`keys`",
        ),
        (vec![wrong(json!([{"algorithm": "RS256", "secret": SECRET}]))], "`keys`"),
        (vec![wrong(json!([{"algorithm": "RS256", "pem": "hunter2"}]))], "`keys`"),
        (vec![("jwks", "hunter2".into())], "`jwks`"),
        (vec![("jwks", small.into())], "`jwks`"),
        (
            vec![("jwks", r#"{"keys":[{"kty":"EC","crv":"P-256","x":"AA"}]}"#.into())],
            "`jwks`",
        ),
        (vec![keys(), ("leeway", "86400".into())], "`leeway`"),
        (vec![keys(), ("claims", r#"{"sub": "name"}"#.into())], "`claims`"),
        (vec![keys(), ("realm", "a\"b".into())], "`realm`"),
        (vec![keys(), ("cookie", String::new())], "`cookie`"),
        (vec![keys(), ("expiry", "never".into())], "`expiry`"),
        (vec![keys(), ("key", "a".into())], "`key`"),
    ] {
        let error = policy(&configuration).err();
        assert!(
            error
                .as_ref()
                .is_some_and(|error| error.contains(named) && !error.contains("hunter2")),
            "{configuration:?}: {error:?}"
        );
    }
}
