//! What may be loaded, and what is refused with which words.
use crate::{
    guest::{Guest, proceed},
    harness::{Chains, decide, get, mapping, targets},
};

#[tokio::test]
async fn an_empty_chain_proceeds_as_it_is() {
    let verdict = decide(&wasmserve_policy::Chain::empty("test".into()), get("/a%20b")).await;
    assert_eq!(targets(&verdict), ["/a b"]);
}

#[tokio::test]
async fn a_core_module_with_metadata_and_a_component_are_policies() {
    let module = Guest::replying(&proceed()).build();
    let component = wit_component::ComponentEncoder::default()
        .module(&module)
        .unwrap()
        .encode()
        .unwrap();
    let mut chains = Chains::new();
    chains.add_bytes(&module);
    chains.add_bytes(&component);
    let chain = chains.load().await;
    let policies = chain.policies();
    assert_eq!(policies[1].contract, "wasmserve:policy/guest@0.1.0");
    assert_eq!(policies[1].digest.len(), 64);
    assert_ne!(policies[0].digest, policies[1].digest);
}

#[tokio::test]
async fn what_is_no_policy_is_refused_by_name() {
    let bare = wat::parse_str("(module (memory (export \"memory\") 1))").unwrap();
    let empty = wat::parse_str("(component)").unwrap();
    let cases: [(&[u8], &str); 5] = [
        (b"", "is neither a WebAssembly component nor a core module"),
        (b"<html>", "is neither a WebAssembly component nor a core module"),
        (b"\0asm\x01\0\0\0garbage", "is not a valid WebAssembly module"),
        (&bare, "is a core module without the metadata that wit-bindgen adds"),
        (&empty, "does not export wasmserve:policy/guest@0.1.0"),
    ];
    for (bytes, reason) in cases {
        let mut chains = Chains::new();
        chains.add_bytes(bytes);
        let refused = chains.refused().await;
        assert!(
            refused.starts_with("policy-0 (") && refused.contains(reason),
            "{refused}"
        );
        assert!(!refused.contains('\n'), "{refused}");
    }
}

#[tokio::test]
async fn a_file_that_is_not_there_is_named() {
    let mut chains = Chains::one(&Guest::replying(&proceed()));
    chains.spec.policies[0].wasm = "nowhere/policy.wasm".into();
    let refused = chains.refused().await;
    assert!(
        refused.contains("nowhere/policy.wasm") && refused.contains("cannot be read"),
        "{refused}"
    );
}

#[tokio::test]
async fn another_version_of_the_contract_is_refused_by_name() {
    let other = wat::parse_str(
        r#"(component
            (component $empty)
            (instance $i (instantiate $empty))
            (export "wasmserve:policy/guest@0.2.0" (instance $i)))"#,
    )
    .unwrap();
    let mut chains = Chains::new();
    chains.add_bytes(&other);
    let refused = chains.refused().await;
    assert!(
        refused.contains("speaks wasmserve:policy/guest@0.2.0, and this server speaks wasmserve:policy/guest@0.1.0")
    );
}

/// A guest that calls an import in front of its reply.
fn calling(call: &str) -> Guest {
    let mut guest = Guest::new();
    let reply = guest.reply(&proceed());
    guest.decide = format!("{call} {reply}");
    guest
}

#[tokio::test]
async fn what_is_not_granted_is_refused_with_what_to_add() {
    let logging = "(call $logging.log (i32.const 2) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))";
    let mut chains = Chains::one(&calling(logging));
    let refused = chains.refused().await;
    assert!(
        refused
            .ends_with("imports wasi:logging/logging@0.1.0-draft, which is not granted: add \"logging\" to its grants"),
        "{refused}"
    );
    chains.spec.policies[0].grants.logging = true;
    decide(&chains.load().await, get("/")).await;

    let blobs = Chains::one(&calling("(drop (call $blob.open))")).refused().await;
    assert!(
        blobs.ends_with("imports wasi:blobstore/blobstore@0.2.0, which this server does not offer"),
        "{blobs}"
    );
}

/// Language runtimes import sockets, used or not. Whoever asks for one is told that it is denied: one (an error), and one
/// (`access-denied`).
#[tokio::test]
async fn a_socket_can_be_asked_for_and_never_be_had() {
    let denied = "(call $socket.new (i32.const 0) (i32.const 16))
         (if (i32.ne (i32.load8_u (i32.const 16)) (i32.const 1)) (then (unreachable)))
         (if (i32.ne (i32.load8_u (i32.const 20)) (i32.const 1)) (then (unreachable)))";
    let chain = Chains::one(&calling(denied)).load().await;
    for _ in 0..3 {
        mapping(&decide(&chain, get("/")).await);
    }
    let counts = chain.counts();
    // What is asked of a network cannot be asked again natively.
    assert_eq!((counts[0].ran, counts[0].kept), (3, 0));
}

#[tokio::test]
async fn what_is_not_imported_needs_no_grant() {
    let guest = Guest::replying(&proceed());
    let chain = Chains::one(&guest).load().await;
    assert_eq!(chain.policies()[0].imports, Vec::<String>::new());
}

#[tokio::test]
async fn the_words_of_configure_are_shown() {
    let mut guest = Guest::replying(&proceed());
    let words = guest.text("no users are configured");
    guest.configure = format!(
        "(i32.store8 (i32.const 64) (i32.const 1)) (i32.store (i32.const 68) {}) (i32.store (i32.const 72) {}) (i32.const 64)",
        words.split_inclusive(')').next().unwrap(),
        words.split_inclusive(')').nth(1).unwrap(),
    );
    let refused = Chains::one(&guest).refused().await;
    assert!(
        refused.ends_with("cannot be configured: no users are configured"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_question_about_the_request_in_configure_traps() {
    let mut guest = Guest::replying(&proceed());
    guest.configure = "(call $request.path (i32.const 64)) (i32.const 16)".into();
    let refused = Chains::one(&guest).refused().await;
    assert!(
        refused.contains("there is no request to ask about while a policy is configured"),
        "{refused}"
    );
}

#[tokio::test]
async fn configure_that_does_not_end_is_stopped() {
    let mut guest = Guest::replying(&proceed());
    guest.configure = "(loop $forever (br $forever)) (i32.const 16)".into();
    let mut chains = Chains::one(&guest);
    chains.spec.policies[0].limits.configure = std::time::Duration::from_millis(5);
    let refused = chains.refused().await;
    assert!(
        refused.contains("cannot be configured: ran for more than 5ms"),
        "{refused}"
    );
}

#[tokio::test]
async fn two_policies_of_one_name_and_reserved_facts_are_refused() {
    let mut chains = Chains::one(&Guest::replying(&proceed()));
    chains.add(&Guest::replying(&proceed())).name = "policy-0".into();
    assert!(
        chains
            .refused()
            .await
            .contains("another plugin of the chain has this name")
    );

    for name in ["tls.client", "wasmserve.site"] {
        let mut chains = Chains::one(&Guest::replying(&proceed()));
        chains.spec.policies[0].establishes.insert(name.into());
        assert!(chains.refused().await.contains("are the server's own"));
    }
}

#[tokio::test]
async fn more_memory_than_the_limit_is_refused_when_it_is_there_from_the_start() {
    let mut guest = Guest::replying(&proceed());
    guest.pages = 64;
    let mut chains = Chains::one(&guest);
    chains.spec.policies[0].limits.memory = 1 << 20;
    let refused = chains.refused().await;
    assert!(
        refused.contains("needs 4194304 bytes of memory, and its limit is 1048576"),
        "{refused}"
    );
}

/// A kept decision must hold wherever it was made: what processors may answer differently is not run.
#[tokio::test]
async fn instructions_that_may_differ_between_machines_are_refused() {
    for (what, text) in [
        (
            "relaxed SIMD",
            "(drop (i8x16.relaxed_swizzle (v128.const i64x2 0 0) (v128.const i64x2 0 0)))",
        ),
        ("threads", "(drop (i32.atomic.load (i32.const 64)))"),
    ] {
        let refused = Chains::one(&calling(text)).refused().await;
        assert!(
            refused.contains(&format!("{what} support is not enabled")),
            "{what}: {refused}"
        );
    }
}

#[test]
fn the_contract_is_well_formed() {
    let mut resolve = wit_parser::Resolve::default();
    let (package, _) = resolve
        .push_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit"))
        .unwrap();
    assert_eq!(resolve.packages[package].name.to_string(), "wasmserve:policy@0.1.0");
    let imports = |world: &str| {
        let world = resolve.select_world(&[package], Some(world)).unwrap();
        let names = resolve.worlds[world].imports.keys();
        names.map(|key| resolve.name_world_key(key)).collect::<Vec<_>>()
    };
    let needed = [
        "wasmserve:policy/request@0.1.0",
        "wasmserve:policy/clock@0.1.0",
        "wasi:config/store@0.2.0-rc.1",
    ];
    assert_eq!(imports("policy"), needed);
    let services = imports("policy-with-services");
    assert!(
        needed.iter().all(|name| services.contains(&name.to_string())),
        "{services:?}"
    );
    assert!(imports("observer").contains(&needed[2].to_owned()));
    // Every interface says what it is for, and so does everything in it.
    for (_, interface) in resolve
        .interfaces
        .iter()
        .filter(|(_, interface)| interface.package == Some(package))
    {
        let name = interface.name.as_deref().unwrap();
        assert!(interface.docs.contents.is_some(), "{name}");
        for function in interface.functions.values() {
            assert!(function.docs.contents.is_some(), "{name}.{}", function.name);
        }
    }
}
