//! What the settings of a store decide, and that Google's and Microsoft's are asked as Amazon's are.
//!
//! The stores are parts of these tests: they speak as much of each protocol as reading needs, and check who asks.
use support::{
    Hosting, Launch, Response, Server, Tree,
    bucket::{Bucket, Dialect, Fault},
    eventually, pattern,
};

/// A server over `www` of the bucket, with further lines of its site and of the store, and under policies.
fn launch(bucket: &Bucket, dialect: Dialect, [site, store, policies]: [&str; 3]) -> (Hosting, Launch) {
    let hosting = Hosting::new().guest("probe");
    let site = format!(
        "[[site]]\nname = \"store\"\nhosts = [\"*\"]\nroot = \"{}://bucket/www\"\nlisting = true\n{site}\n\
         error-pages = {{ 404 = \"/404.html\" }}\n\
         [site.store]\nendpoint = {:?}\nallow-http = true\nrequest-timeout = \"2m\"\nread-timeout = \"2m\"\n{store}\n{policies}",
        dialect.scheme(),
        bucket.endpoint()
    );
    hosting.configure("", &site);
    let launch = bucket.with_keys(hosting.launch());
    (hosting, launch)
}

fn start(bucket: &Bucket, lines: [&str; 3]) -> (Hosting, Server) {
    let (hosting, launch) = launch(bucket, Dialect::S3, lines);
    (hosting, launch.start())
}

fn filled(dialect: Dialect) -> Bucket {
    Bucket::speaking(dialect)
        .object("www/large.bin", pattern(1, 1 << 20))
        .object("www/files/one.txt", "one")
        .object("www/files/a b&c.txt", "two")
        .object("www/files/within/three.txt", "three")
        .object("www/404.html", "nothing here")
}

#[test]
fn every_provider_is_asked_in_its_own_words() {
    for dialect in [Dialect::S3, Dialect::Google, Dialect::Azure] {
        let bucket = filled(dialect);
        let (_hosting, launch) = launch(&bucket, dialect, [""; 3]);
        let server = launch.start();
        let content = pattern(1, 1 << 20);
        let whole = server.get("/large.bin");
        assert!(
            whole.status == 200 && whole.body == content,
            "{dialect:?}: {}",
            server.log()
        );
        let tag = whole.header("etag").expect("a tag").to_owned();
        assert!(tag.starts_with("\"version-"), "{dialect:?}: {tag}");
        let part = server.request("GET", "/large.bin", &[("Range", "bytes=1000-1999"), ("If-Range", &tag)]);
        assert!(
            part.status == 206 && part.body == content[1000..2000],
            "{dialect:?}: {part:?}"
        );
        assert_eq!(
            server.request("GET", "/large.bin", &[("If-None-Match", &tag)]).status,
            304
        );
        let head = server.request("HEAD", "/large.bin", &[]);
        assert_eq!(head.header("content-length"), Some("1048576"), "{dialect:?}");
        assert_eq!(
            head.header("last-modified"),
            Some("Tue, 03 Nov 2026 08:00:00 GMT"),
            "{dialect:?}"
        );
        assert_eq!(server.get("/files/a%20b&c.txt").text(), "two", "{dialect:?}");
        let nothing = server.get("/nothing.txt");
        assert_eq!((nothing.status, nothing.text()), (404, "nothing here"), "{dialect:?}");
        assert_eq!(server.get("/files").header("location"), Some("files/"), "{dialect:?}");
        // Broken off, it goes on where it was; replaced, it does not.
        bucket.fail([Fault::Cut(70_000), Fault::Status(500), Fault::Cut(333_333)]);
        assert!(
            server.get("/large.bin").body == content,
            "{dialect:?}: {}",
            server.log()
        );
        bucket.put("www/files/one.txt", "another one");
        eventually("the new version is served", || {
            server.get("/files/one.txt").text() == "another one"
        });
        let asked = bucket.asked();
        assert!(
            asked.iter().any(|line| line == "GET /bucket/www/large.bin 1000-1999"),
            "{asked:?}"
        );
    }
}

#[test]
fn every_provider_is_listed_by_pages() {
    for dialect in [Dialect::S3, Dialect::Google, Dialect::Azure] {
        let bucket = Bucket::speaking(dialect);
        for number in 0..2100 {
            bucket.put(&format!("www/many/{number:04}.txt"), "x");
        }
        for odd in ["many/odd//x.txt", "many/./x.txt", "many/within/x.txt"] {
            bucket.put(&format!("www/{odd}"), "x");
        }
        let (_hosting, launch) = launch(&bucket, dialect, [""; 3]);
        let server = launch.start();
        let listing = server.request("GET", "/many/", &[("Accept", "application/json")]);
        assert_eq!(listing.status, 200, "{dialect:?}: {}", server.log());
        assert_eq!(listing.text().matches(".txt\"").count(), 2100, "{dialect:?}");
        assert!(listing.text().contains("\"within\""), "{dialect:?}");
        let pages = bucket
            .asked()
            .iter()
            .filter(|line| line.contains("prefix=www%2Fmany%2F"))
            .count();
        assert!(pages >= 3, "{dialect:?}: {pages}");
    }
}

#[test]
fn every_provider_wants_its_keys_and_nobody_sees_them() {
    for (dialect, variable) in [
        (Dialect::S3, "AWS_ACCESS_KEY_ID"),
        (Dialect::Google, "GOOGLE_SERVICE_ACCOUNT"),
        (Dialect::Azure, "AZURE_STORAGE_ACCOUNT_KEY"),
    ] {
        let bucket = filled(dialect);
        let (hosting, _) = launch(&bucket, dialect, [""; 3]);
        let refused = hosting.launch().refusal();
        assert!(refused.contains(variable), "{dialect:?}: {refused}");
        // Keys of somebody else: the store refuses them.
        let (hosting, launch) = launch(
            &bucket,
            dialect,
            ["", "credentials-file = \"keys\"\nmax-retries = 0", ""],
        );
        let others = "AWS_ACCESS_KEY_ID=other\nAWS_SECRET_ACCESS_KEY=other-secret\nGOOGLE_BEARER_TOKEN=other-secret\n\
                      AZURE_STORAGE_ACCOUNT_NAME=other\nAZURE_STORAGE_ACCOUNT_KEY=b3RoZXItc2VjcmV0\n";
        std::fs::write(hosting.at("keys"), others).expect("the folder is ours");
        let server = launch.start();
        assert_eq!(server.get("/files/one.txt").status, 502, "{dialect:?}");
        server.logged("HEAD of a store failed");
        for secret in ["other-secret", "b3RoZXItc2VjcmV0", "test-secret-key"] {
            assert!(!server.log().contains(secret), "{dialect:?}: {}", server.log());
        }
        assert!(
            !bucket.asked().is_empty() && !server.get("/files/one.txt").text().contains("InvalidAccessKeyId"),
            "{dialect:?}"
        );
    }
}

/// Without the right to list, S3 does not say what is not there.
#[test]
fn a_denied_key_fails_or_is_missing_as_configured() {
    let bucket = filled(Dialect::S3);
    bucket.tell_nothing();
    let status = |server: &Server, path: &str| server.get(path).status;
    let (_hosting, server) = start(&bucket, ["", "max-retries = 0", ""]);
    assert_eq!(
        status(&server, "/files/one.txt"),
        502,
        "its siblings may be there or not"
    );
    assert_eq!(status(&server, "/nothing.txt"), 502);
    assert!(server.logged("of a store failed").contains("`denied`"));

    let (hosting, server) = start(&bucket, ["", "denied = \"missing\"", ""]);
    assert_eq!(server.get("/files/one.txt").text(), "one");
    let missing = server.get("/nothing.txt");
    assert_eq!((missing.status, missing.text()), (404, "nothing here"));
    for path in ["/files", "/files/", "/nothing/"] {
        assert_eq!(
            status(&server, path),
            404,
            "{path}: what is a directory, only a listing tells"
        );
    }
    assert!(!server.log().contains("of a store failed"), "{}", server.log());
    // A GET that is denied after its HEAD was not is a failure still.
    bucket.fail([Fault::Status(403)]);
    assert_eq!(status(&server, "/large.bin"), 502);

    let check = |launch: Launch| {
        launch
            .arguments(["check", "--config"])
            .arguments([hosting.at("wasmserve.toml")])
            .run_to_end()
    };
    let right = check(bucket.with_keys(Launch::bare()));
    assert!(right.status.success(), "{}", right.log);
    let wrong = check(bucket.with_keys(Launch::bare()).variable("AWS_ACCESS_KEY_ID", "other"));
    assert!(
        !wrong.status.success(),
        "keys that are none are no missing object: {}",
        wrong.log
    );
}

/// Candidates after the first are looked at together. Were they asked for one after the other, nobody would ever answer.
#[test]
fn candidates_are_looked_at_side_by_side() {
    let bucket = Bucket::new()
        .object("www/held-3.txt", "the third")
        .object("www/held-4.txt", "the fourth")
        .object("www/first.txt", "the first");
    bucket.hold("held-", 4);
    let serve = |first: &str| {
        let policy = format!(
            "[[site.policy]]\nplugin = \"probe\"\n[site.policy.config]\n\
             paths = \"/{first}\\n/held-1.txt\\n/held-2.txt\\n/held-3.txt\\n/held-4.txt\""
        );
        start(&bucket, ["precompressed = []", "", &policy])
    };
    let heads = |key: &str| {
        let asked = bucket.asked();
        asked
            .iter()
            .filter(|line| **line == format!("HEAD /bucket/www/{key}"))
            .count()
    };
    let (_hosting, server) = serve("first.txt");
    assert_eq!(server.get("/").text(), "the first");
    assert_eq!(
        heads("held-1.txt"),
        0,
        "what is wanted first is there: nothing else is asked for"
    );
    let (_hosting, server) = serve("nothing.txt");
    let response = server.get("/");
    assert_eq!(response.text(), "the third", "the order stays: {}", server.log());
    for key in ["nothing.txt", "held-1.txt", "held-2.txt", "held-3.txt", "held-4.txt"] {
        assert_eq!(heads(key), 1, "{key}: {:?}", bucket.asked());
    }
}

/// The same policies, over a folder and over a store.
#[test]
fn places_and_fallbacks_are_those_of_a_folder() {
    let files = [
        ("tenants/north/file.txt", "north's"),
        ("tenants/north/gone.html", "gone in the north"),
        ("tenants/south/file.txt", "south's"),
        ("tenants/.hidden/file.txt", "nobody's"),
        ("file.txt", "everybody's"),
        ("gone.html", "gone"),
    ];
    let tree = files
        .iter()
        .fold(Tree::new(), |tree, (path, content)| tree.file(path, content));
    let bucket = files.iter().fold(Bucket::new(), |bucket, (path, content)| {
        bucket.object(&format!("www/{path}"), *content)
    });
    for config in [
        "place = \"default /tenants/north\"",
        "place = \"default /tenants/north\"\nmissing = \"404 /gone.html\"",
        "place = \"default /tenants/north\"\nmissing = \"200 /gone.html\"",
        "place = \"default /tenants/south\"\nmissing = \"404 /gone.html\"",
        "place = \"default /tenants/west\"\nmissing = \"404 /gone.html\"",
        "place = \"default /tenants/.hidden\"\nmissing = \"404 /gone.html\"",
        "place = \"elsewhere /tenants/north\"",
        "missing = \"410 /none.html /gone.html\"",
        "missing = \"200 /none.html\"",
        "paths = \"/tenants/north/file.txt\"",
        "paths = \"/tenants/north\"",
    ] {
        let policy = format!("[[site.policy]]\nplugin = \"probe\"\n[site.policy.config]\n{config}\n");
        let folder = Hosting::new().guest("probe");
        let root = tree.root();
        folder.configure(
            "",
            &format!(
                "[[site]]\nname = \"store\"\nhosts = [\"*\"]\nroot = {root:?}\nlisting = true\n\
                 error-pages = {{ 404 = \"/404.html\" }}\n{policy}"
            ),
        );
        let folder = folder.start();
        let (_hosting, store) = start(&bucket, ["", "metadata-ttl = \"1h\"", &policy]);
        for path in [
            "/",
            "/file.txt",
            "/gone.html",
            "/nothing",
            "/nothing/",
            "/tenants/south/file.txt",
            "/tenants/",
            "/north",
            "/%2e%2e/south/file.txt",
        ] {
            let seen = |response: Response| {
                let is_listing = response.text().contains("<table>");
                let text = if is_listing { "a listing" } else { response.text() };
                let location = response.header("location").map(str::to_owned);
                (response.status, location, text.to_owned())
            };
            let (expected, got) = (seen(folder.get(path)), seen(store.get(path)));
            assert_eq!(got, expected, "{path} under {config}");
        }
    }
}

/// New keys in the file are used after a reload; what is on disk stays.
#[test]
fn keys_are_changed_by_a_reload() {
    let bucket = filled(Dialect::S3);
    let (hosting, launch) = launch(
        &bucket,
        Dialect::S3,
        [
            "",
            "credentials-file = \"keys\"\nmax-retries = 0\nmetadata-ttl = \"0s\"",
            "",
        ],
    );
    let keys = |id: &str| format!("AWS_ACCESS_KEY_ID={id}\nAWS_SECRET_ACCESS_KEY=secret\n");
    hosting.write("keys", keys("test-key-id"));
    let text = std::fs::read_to_string(hosting.at("wasmserve.toml")).expect("it was written");
    let cache = "[server.disk-cache]\ndirectory = \"cache\"\n[[site]]";
    hosting.write("wasmserve.toml", text.replacen("[[site]]", cache, 1));
    let server = launch.start();
    assert_eq!(server.get("/files/one.txt").text(), "one");
    hosting.write("keys", keys("withdrawn"));
    server.reload(2);
    assert_eq!(
        server.get("/files/one.txt").status,
        502,
        "what is on disk is not for who may not read it"
    );
    hosting.write("keys", keys("test-key-id"));
    server.reload(3);
    assert_eq!(server.get("/files/one.txt").text(), "one");
    let gets = bucket.asked();
    let gets = gets
        .iter()
        .filter(|line| line.starts_with("GET /bucket/www/files/one.txt"));
    assert_eq!(gets.count(), 1, "{:?}", bucket.asked());
}
