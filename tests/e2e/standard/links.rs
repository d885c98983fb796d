//! Links that expire: signed-url, `wasmserve sign`, and links that others made.
use std::{fs, path::Path};
use support::{Chain, Launch, Policy, Server, Tree, server_binary, tool};

const SECRET: &str = "a secret of the operator's own";

fn tree() -> Tree {
    Tree::new()
        .file("private/a b.txt", "SECRET")
        .file("private/album/1.txt", "SECRET")
        .file("public.txt", "open")
}

/// A server whose secret lies in a file that a browser could name.
fn server(tree: &Tree, chain: &Chain) -> Server {
    fs::write(
        chain.at("links.key"),
        format!("{SECRET}\nan older secret of the operator's\n"),
    )
    .expect("a key");
    Launch::new(tree).plugins(chain).start()
}

fn chain() -> Chain {
    Chain::new([Policy::standard("signed-url")
        .config("prefixes = [\"/private/\"]\n[policy.config-files]\nsecret = \"links.key\"")])
}

/// What `wasmserve sign` prints.
fn sign(folder: &Path, arguments: &[&str]) -> String {
    let binary = server_binary();
    let all = ["sign", "--secret-file", "links.key"].iter().chain(arguments);
    let ran = tool::run(folder, binary.to_str().expect("a path of this project"), all).success();
    String::from_utf8(ran.stdout).expect("a link is text").trim().to_owned()
}

/// Prints what a Python program prints.
fn python(folder: &Path, program: &str) -> String {
    let ran = tool::run(folder, "python3", ["-c", program]).success();
    String::from_utf8(ran.stdout).expect("it prints text").trim().to_owned()
}

#[test]
fn links_of_the_command_open_what_they_are_for() {
    let (tree, chain) = (tree(), chain());
    let server = server(&tree, &chain);
    let folder = chain.folder();
    let link = sign(&folder, &["/private/a%20b.txt"]);
    for _ in 0..2 {
        let response = server.get(&link);
        assert_eq!((response.status, response.text()), (200, "SECRET"), "{link}");
        let caching = response.members("cache-control");
        assert!(
            !caching.contains(&"private".to_owned()),
            "any cache may keep it: {response:?}"
        );
    }
    let whole = sign(
        &folder,
        &[
            "--expires",
            "2d",
            "https://files.example.com/private/a%20b.txt?download=1#page",
        ],
    );
    let target = whole
        .strip_prefix("https://files.example.com")
        .expect("the URL is kept");
    let (target, fragment) = target.split_once('#').expect("the fragment is kept");
    assert_eq!((server.get(target).status, fragment), (200, "page"));

    let album = sign(&folder, &["--prefix", "/private/album/", "/private/album/1.txt"]);
    assert_eq!(server.get(&album).status, 200);
    let query = album.split_once('?').expect("a query").1;
    assert_eq!(server.get(&format!("/private/album/none?{query}")).status, 404);
    assert_eq!(server.get(&format!("/private/a%20b.txt?{query}")).status, 403);

    let own = sign(&folder, &["--client", "127.0.0.0/8", "/private/a%20b.txt"]);
    let response = server.get(&own);
    assert_eq!(response.status, 200);
    assert!(
        response.members("cache-control").contains(&"private".to_owned()),
        "{response:?}"
    );
    let others = sign(&folder, &["--client", "192.0.2.1", "/private/a%20b.txt"]);
    assert_eq!(server.get(&others).status, 403);

    let late = sign(&folder, &["--until", "2020-01-01T00:00:00Z", "/private/a%20b.txt"]);
    assert_eq!(server.get(&late).status, 410);
    for target in [
        "/private/a%20b.txt".to_owned(),
        link.replace("a%20b.txt", "album/1.txt"),
        link.replace("expires=", "expires=1"),
        format!("{link}x"),
        link.replace("signature=", "signature=A"),
    ] {
        let response = server.get(&target);
        assert_eq!(response.status, 403, "{target}");
        assert!(!response.text().contains("SECRET"));
    }
    assert_eq!(server.get("/public.txt").text(), "open");
}

#[test]
fn links_of_an_independent_signer_are_admitted() {
    let (tree, chain) = (tree(), chain());
    let server = server(&tree, &chain);
    for (scope, path, query, client) in [
        ("path /private/a b.txt", "/private/a%20b.txt", "", "any"),
        (
            "prefix /private/",
            "/private/album/1.txt",
            "&prefix=%2Fprivate%2F",
            "any",
        ),
        (
            "path /private/a b.txt",
            "/private/a%20b.txt",
            "&client=127.0.0.1",
            "127.0.0.1",
        ),
    ] {
        for (secret, status) in [(0, 200), (1, 200), (2, 403)] {
            let program = format!(
                "import base64, hmac, time\n\
                 secret = (open('links.key', 'rb').read().split(b'\\n') + [b'another secret of somebody'])[{secret}] or b'none'\n\
                 expires = int(time.time()) + 3600\n\
                 message = f'{scope}\\nexpires {{expires}}\\nclient {client}\\n'\n\
                 digest = hmac.digest(secret, message.encode(), 'sha256')\n\
                 signature = base64.urlsafe_b64encode(digest).decode().rstrip('=')\n\
                 print(f'{path}?signature={{signature}}{query}&expires={{expires}}')"
            );
            let link = python(&chain.folder(), &program);
            assert_eq!(server.get(&link).status, status, "{link}");
        }
    }
}

#[test]
fn links_of_nginx_are_admitted() {
    let tree = tree();
    let chain = Chain::new([Policy::standard("signed-url").config(
        "prefixes = [\"/private/\"]\n\
         secure-link = { expression = \"$secure_link_expires$uri$remote_addr secret\", signature = \"md5\" }",
    )]);
    let server = Launch::new(&tree).plugins(&chain).start();
    for (offset, address, status) in [
        (3600, "127.0.0.1", 200),
        (-1, "127.0.0.1", 410),
        (3600, "127.0.0.2", 403),
    ] {
        let program = format!(
            "import base64, hashlib, time\n\
             expires = int(time.time()) + {offset}\n\
             digest = hashlib.md5(f'{{expires}}/private/a b.txt{address} secret'.encode()).digest()\n\
             md5 = base64.urlsafe_b64encode(digest).decode().replace('=', '')\n\
             print(f'/private/a%20b.txt?md5={{md5}}&expires={{expires}}')"
        );
        let link = python(&chain.folder(), &program);
        assert_eq!(server.get(&link).status, status, "{link}");
    }
}

#[test]
fn the_secret_is_never_served() {
    let tree = Tree::new().file("index.html", "home");
    let chain = chain();
    let key = tree.at("links.key");
    fs::write(&key, SECRET).expect("a key");
    fs::write(
        chain.at("plugins.toml"),
        format!(
            "[[policy]]\nplugin = \"signed-url\"\n[policy.config]\nprefixes = [\"/private/\"]\n\
             [policy.config-files]\nsecret = {key:?}\n"
        ),
    )
    .expect("a chain");
    let tree = tree.link("innocent.txt", "links.key").hard_link("other.txt", &key);
    let server = Launch::new(&tree).plugins(&chain).start();
    for target in ["/links.key", "/innocent.txt", "/other.txt"] {
        let response = server.get(target);
        assert_ne!(response.status, 200, "{target}: {response:?}");
        assert!(!response.text().contains(SECRET));
    }
    assert_eq!(server.get("/").text(), "home");
}

#[test]
fn a_missing_secret_keeps_the_server_from_starting() {
    let chain = chain();
    let refusal = Launch::new(&tree()).plugins(&chain).refusal();
    assert!(
        refusal.contains("plugins.toml:") && refusal.contains("`secret`") && refusal.contains("links.key"),
        "{refusal}"
    );
}
