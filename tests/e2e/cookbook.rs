//! The recipes of the author's guide: each loads as it is printed, and does what its heading says.
use std::{fs, os::unix::fs::symlink};
use support::{Tree, project, server_binary, tool};

/// A recipe as it is printed.
struct Recipe {
    /// What is in bold.
    heading: String,
    /// Lines of `plugins.toml`.
    chain: String,
    /// Whole plugins.
    sources: Vec<String>,
}

/// A part of a heading, what is asked, and what `explain` says of it.
const ASKED: [(&str, &[&str], &str); 17] = [
    ("Protect a folder by passwords", &["/private/"], "answer   401"),
    (
        "Let members in by the tokens",
        &["/members/"],
        "www-authenticate: Bearer",
    ),
    ("Give out links that expire", &["/private/a.pdf"], "answer   403"),
    ("Keep the links that nginx", &["/s/a?md5=x&expires=1"], "answer   403"),
    ("Let the office in", &["/", "--client", "198.51.100.1"], "answer   403"),
    (
        "Host many customers",
        &["/", "-H", "Host: alice.example.com"],
        "in root default, directory /customers/alice/public",
    ),
    (
        "Serve a single-page application",
        &["/users/7"],
        "when nothing is there: 200 /index.html",
    ),
    ("Move a site here", &["/home?x=1"], "location: /?x=1"),
    (
        "Let a web application elsewhere",
        &["/a", "-H", "Origin: https://app.example.com"],
        "access-control-allow-origin: https://app.example.com",
    ),
    (
        "Limit what one client",
        &["/"],
        "ratelimit-policy: \"client\";q=20;w=12",
    ),
    (
        "Show each visitor the pages",
        &["/a", "-H", "Accept-Language: de"],
        "serve /de/a, else",
    ),
    (
        "Try the next version",
        &["/", "-H", "Cookie: version=canary"],
        "directory /releases/next",
    ),
    (
        "Keep other sites from",
        &["/a/b.mp4", "-H", "Referer: https://thief.example/"],
        "answer   403",
    ),
    (
        "Close the shop",
        &["/shop/", "--client", "198.51.100.1"],
        "answer   503",
    ),
    (
        "Give each customer so many bytes",
        &["/", "-H", "Host: alice.example.com"],
        "2. quota: proceeds",
    ),
    (
        "Send AVIF or WebP",
        &["/photo.jpg", "-H", "Accept: image/webp,*/*"],
        "serve /photo.jpg.webp, else /photo.jpg",
    ),
    (
        "Slow downloads down",
        &["/downloads/a.iso"],
        "pace     100000 bytes a second",
    ),
];

fn recipes() -> Vec<Recipe> {
    let guide = fs::read_to_string(project().join("plugins/README.md")).expect("the author's guide");
    let (_, cookbook) = guide.split_once("\n## Cookbook\n").expect("a cookbook");
    let (cookbook, _) = cookbook.split_once("\n## ").unwrap_or((cookbook, ""));
    let recipes = cookbook.split("\n**").skip(1).map(|recipe| {
        let (heading, text) = recipe.split_once("**").expect("a heading in bold");
        let blocks = |language: &str| {
            let fence = format!("```{language}\n");
            let begun = text.split(&*fence).skip(1);
            let blocks = begun.map(|rest| rest.split("```").next().unwrap_or_default().to_owned());
            blocks.collect::<Vec<_>>()
        };
        Recipe {
            heading: heading.replace('\n', " "),
            chain: blocks("toml").concat(),
            sources: blocks("rust"),
        }
    });
    recipes.collect()
}

/// What recipes name, where they name it: a site, and the operator's files beside the plugins.
fn surroundings() -> Tree {
    let tree = Tree::new()
        .file("site/_headers", "/*\n  X-A: 1\n")
        .file("site/_redirects", "/home / 301\n")
        .file(
            "plugins/staff.htpasswd",
            "alice:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n",
        )
        .file("plugins/links.key", "a secret of the tests\n")
        .file(
            "plugins/id.example.com.jwks.json",
            r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#,
        );
    for plugin in fs::read_dir(project().join("plugins")).expect("a folder") {
        let plugin = plugin.expect("an entry");
        if plugin.path().join("plugin.toml").is_file() || plugin.file_name() == "cookbook" {
            let link = tree.at("plugins").join(plugin.file_name());
            symlink(plugin.path(), link).expect("a link");
        }
    }
    tree
}

#[test]
fn every_recipe_does_what_it_says() {
    let recipes = recipes();
    let tree = surroundings();
    let binary = server_binary();
    for recipe in &recipes {
        let (_, request, expected) = ASKED
            .iter()
            .find(|(part, ..)| recipe.heading.contains(part))
            .unwrap_or_else(|| panic!("nothing is asked of the recipe {:?}", recipe.heading));
        // Not every machine has that folder.
        let chain = recipe.chain.replace("/etc/staff.htpasswd", "staff.htpasswd");
        fs::write(tree.at("plugins/plugins.toml"), chain).expect("a file");
        let (root, plugins) = (tree.at("site"), tree.at("plugins"));
        let mut arguments = vec!["explain".as_ref(), "--root".as_ref(), root.as_os_str()];
        arguments.extend(["--plugins".as_ref(), plugins.as_os_str()]);
        arguments.extend(request.iter().map(std::ffi::OsStr::new));
        let ran = tool::run(&tree.root(), binary.to_str().expect("a path"), arguments);
        let text = String::from_utf8_lossy(&ran.stdout);
        assert_eq!(ran.code, Some(0), "{}:\n{}", recipe.heading, ran.stderr);
        assert!(text.contains(expected), "{}: no {expected:?}:\n{text}", recipe.heading);
    }
    assert_eq!(recipes.len(), ASKED.len(), "each recipe is asked for once");
}

/// What is printed is what is built, and tested by its own tests.
#[test]
fn whole_plugins_are_printed_as_they_are() {
    let printed: Vec<String> = recipes().into_iter().flat_map(|recipe| recipe.sources).collect();
    let folders = fs::read_dir(project().join("plugins/cookbook")).expect("a folder");
    let mut count = 0;
    for folder in folders.map(|entry| entry.expect("an entry").path()) {
        let source = fs::read_to_string(folder.join("src/lib.rs")).expect("a source");
        assert!(printed.contains(&source), "{} is printed otherwise", folder.display());
        count += 1;
    }
    assert_eq!(printed.len(), count);
}
