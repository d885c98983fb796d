//! What is asked for again and again is answered with a head that was made before: nobody is given one that was made of
//! another's decision, for another method or another part.
use support::{Chain, Launch, Policy, Tree};

#[test]
fn each_client_has_the_head_of_its_own_decision() {
    let tree = Tree::new().file("page.html", "<p>page</p>").file("style.css", "css");
    let chain = Chain::new([
        Policy::standard("security-headers"),
        Policy::guest("probe").config(
            "ask = \"cookie who\"\nanswers-header = \"X-Who\"\n\
             headers = \"set | X-Page | yes | found | text/html\\nremove | X-Content-Type-Options | | | text/css\"",
        ),
    ]);
    let server = Launch::new(&tree).plugins(&chain).start();
    let mut connection = server.connect();
    let mut first: Vec<Vec<(String, String)>> = Vec::new();
    for round in 0..6 {
        let mut at = 0;
        for path in ["/page.html", "/style.css"] {
            let etag = connection.request("GET", path, &[]).header("etag").map(str::to_owned);
            let etag = etag.expect("a file has an entity tag");
            for who in ["", "who=a", "who=b", "who=a; other=1"] {
                for (method, name, value, status) in [
                    ("GET", "X-None", "", 200),
                    ("HEAD", "X-None", "", 200),
                    ("GET", "Range", "bytes=1-1", 206),
                    ("GET", "If-None-Match", etag.as_str(), 304),
                    ("GET", "If-Match", "\"other\"", 412),
                    ("POST", "X-None", "", 405),
                ] {
                    let what = format!("{method} {path} {name} {who:?} in round {round}");
                    let response = connection.request(method, path, &[("Cookie", who), (name, value)]);
                    assert_eq!(response.status, status, "{what}");
                    let said = match who {
                        "" => "none",
                        "who=b" => "some(b)",
                        _ => "some(a)",
                    };
                    assert_eq!(response.header("x-who"), Some(said), "{what}");
                    let fields = response.stable_headers();
                    match round {
                        0 => first.push(fields),
                        _ => assert_eq!(fields, first[at], "{what}"),
                    }
                    at += 1;
                }
            }
        }
    }
}
