//! Traces for OpenTelemetry, as a collector gets them; and what requests feel of one that is away or slow: nothing.
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU16, Ordering::Relaxed},
    },
    thread,
};
use support::{Hosting, Launch, eventually};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// Takes what servers post, or does not.
#[derive(Default)]
struct Collector {
    /// Head and body of each request.
    posted: Mutex<Vec<(String, Value)>>,
    /// What is answered; 0: nothing, until it is something else.
    status: AtomicU16,
    stopped: AtomicBool,
}

impl Collector {
    fn start(status: u16) -> (Arc<Self>, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = listener.local_addr().expect("it is bound");
        let collector = Arc::new(Self::default());
        collector.status.store(status, Relaxed);
        let own = collector.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let own = own.clone();
                thread::spawn(move || own.take(&stream));
            }
        });
        (collector, address)
    }

    fn take(&self, stream: &TcpStream) -> Option<()> {
        let mut reader = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            (reader.read_line(&mut head).ok()? > 0).then_some(())?;
        }
        let lower = head.to_ascii_lowercase();
        let length = lower.lines().find_map(|line| line.strip_prefix("content-length: "))?;
        let mut body = vec![0; length.trim().parse().ok()?];
        reader.read_exact(&mut body).ok()?;
        while self.status.load(Relaxed) == 0 {
            if self.stopped.load(Relaxed) {
                return None;
            }
            thread::sleep(std::time::Duration::from_millis(10));
        }
        let status = self.status.load(Relaxed);
        if status == 200 {
            let body = serde_json::from_slice(&body).expect("JSON");
            self.posted.lock().expect("no panic").push((head, body));
        }
        let retry = if status == 503 { "Retry-After: 1\r\n" } else { "" };
        let answer = format!("HTTP/1.1 {status} x\r\n{retry}Content-Length: 2\r\n\r\n{{}}");
        { stream }.write_all(answer.as_bytes()).ok()
    }

    /// Everything that was posted so far.
    fn spans(&self) -> Vec<Span> {
        let posted = self.posted.lock().expect("no panic");
        let bodies = posted.iter().flat_map(|(_, body)| list(&body["resourceSpans"]));
        let scopes = bodies.flat_map(|resource| list(&resource["scopeSpans"]));
        scopes.flat_map(|scope| list(&scope["spans"])).map(Span::of).collect()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.stopped.store(true, Relaxed);
    }
}

fn list(value: &Value) -> &Vec<Value> {
    value.as_array().unwrap_or_else(|| panic!("no list: {value}"))
}

/// A span, its attributes by their names.
#[derive(Clone, Debug)]
struct Span {
    trace: String,
    id: String,
    parent: Option<String>,
    name: String,
    kind: u64,
    begun: u128,
    ended: u128,
    attributes: BTreeMap<String, String>,
    error: bool,
}

impl Span {
    #[track_caller]
    fn of(value: &Value) -> Self {
        let text = |key: &str| {
            let text = value[key].as_str();
            text.unwrap_or_else(|| panic!("{key} is no text: {value}")).to_owned()
        };
        let time = |key: &str| text(key).parse().expect("nanoseconds");
        let attribute = |attribute: &Value| {
            let (key, value) = (attribute["key"].as_str(), &attribute["value"]);
            // A 64-bit number is a text too.
            let value = value["stringValue"].as_str().or(value["intValue"].as_str());
            (key.expect("a key").to_owned(), value.expect("a value").to_owned())
        };
        let attributes = list(&value["attributes"]);
        let named: BTreeMap<_, _> = attributes.iter().map(attribute).collect();
        assert_eq!(named.len(), attributes.len(), "each name once: {value}");
        let span = Self {
            trace: text("traceId"),
            id: text("spanId"),
            parent: value["parentSpanId"].as_str().map(str::to_owned),
            name: text("name"),
            kind: value["kind"].as_u64().expect("a number"),
            begun: time("startTimeUnixNano"),
            ended: time("endTimeUnixNano"),
            attributes: named,
            error: value["status"]["code"] == 2,
        };
        assert_eq!((span.trace.len(), span.id.len()), (32, 16), "{value}");
        assert!(span.begun <= span.ended, "{value}");
        span
    }

    fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.get(name).map(String::as_str)
    }
}

fn hosting(collector: SocketAddr, more: &str) -> Hosting {
    let hosting = Hosting::new()
        .file("root/file.txt", "content")
        .guest("probe")
        .guest("misbehaving");
    hosting.write("collector-headers", "X-Api-Key: s3cret-key\n");
    hosting.configure(
        &format!(
            "admin = \"admin.sock\"\n[[listener]]\naddress = \"127.0.0.1:0\"\ntrusted = [\"127.0.0.1\"]\n\
             [server.traces]\nurl = \"http://{collector}/v1/traces?key=s3cret\"\nservice-name = \"files\"\n\
             headers-file = \"collector-headers\"\ninterval = \"50ms\"\n{more}"
        ),
        "[[site]]\nname = \"a\"\nhosts = [\"a.example\"]\nroot = \"root\"\n\
         [[site.policy]]\nplugin = \"probe\"\nname = \"first\"\nconfig = { ask = \"path\" }\n\
         [[site.policy]]\nplugin = \"probe\"\nname = \"door\"\nconfig = { only = \"/closed\", respond = \"403\" }\n\
         [[site.policy]]\nplugin = \"probe\"\nname = \"faulty\"\nconfig = { only = \"/fault\", respond = \"no number\" }\n",
    );
    hosting
}

/// Spans by what became of them.
fn counted(hosting: &Hosting, result: &str) -> u64 {
    let metrics = super::metrics::get(&hosting.at("admin.sock"), "/metrics");
    let name = format!("wasmserve_trace_spans_total{{result=\"{result}\"}} ");
    let count = metrics.lines().find_map(|line| line.strip_prefix(&name));
    count
        .unwrap_or_else(|| panic!("no {name}: {metrics}"))
        .parse()
        .expect("a number")
}

#[test]
fn a_request_is_a_span_and_each_policy_one_in_it() {
    let (collector, address) = Collector::start(200);
    let hosting = hosting(address, "");
    let server = hosting.start();
    let ask = |target: &str, more: &[(&str, &str)]| {
        let fields = [&[("Host", "A.example:8080"), ("User-Agent", "test")][..], more].concat();
        server.request("GET", target, &fields).status
    };
    let of = |path: &str| -> Vec<Span> {
        let spans = collector.spans();
        let own = spans.iter().filter(|span| span.attribute("url.path") == Some(path));
        let traces: BTreeSet<&String> = own.map(|span| &span.trace).collect();
        spans
            .iter()
            .filter(|span| traces.contains(&span.trace))
            .cloned()
            .collect()
    };

    assert_eq!(
        ask(
            "/file.txt?token=s3cret",
            &[("traceparent", PARENT), ("tracestate", "v=1")]
        ),
        200
    );
    eventually("the spans arrive", || !of("/file.txt").is_empty());
    let spans = of("/file.txt");
    let [own, first, door, faulty] = &spans[..] else {
        panic!("{spans:#?}")
    };
    assert_eq!((own.name.as_str(), own.kind), ("GET", 2));
    assert_eq!(
        (own.trace.as_str(), own.parent.as_deref()),
        (&PARENT[3..35], Some(&PARENT[36..52]))
    );
    for (name, expected) in [
        ("http.request.method", "GET"),
        ("http.response.status_code", "200"),
        ("http.response.body.size", "7"),
        ("url.path", "/file.txt"),
        ("url.scheme", "http"),
        ("server.address", "a.example"),
        ("client.address", "127.0.0.1"),
        ("network.protocol.version", "1.1"),
        ("user_agent.original", "test"),
        ("wasmserve.site", "a"),
        ("wasmserve.verdict", "proceed"),
        ("wasmserve.policies.ran", "3"),
        ("wasmserve.policies.kept", "0"),
        ("wasmserve.outcome", "completed"),
    ] {
        assert_eq!(own.attribute(name), Some(expected), "{name} of {own:#?}");
    }
    assert!(!own.error && own.attribute("error.type").is_none());
    for (span, name) in [(first, "first"), (door, "door"), (faulty, "faulty")] {
        assert_eq!((span.name.clone(), span.kind), (format!("policy {name}"), 1));
        assert_eq!((&span.trace, span.parent.as_ref()), (&own.trace, Some(&own.id)));
        assert_eq!(span.attribute("wasmserve.policy"), Some(name));
        assert_eq!(span.attribute("wasmserve.evidence"), Some("fresh"));
        assert_eq!(span.attribute("wasmserve.decision"), Some("proceed"));
        assert!(
            own.begun <= span.begun && span.begun < span.ended,
            "{span:?} in {own:?}"
        );
    }
    assert!(
        first.ended <= door.begun && door.ended <= faulty.begun,
        "one after the other"
    );

    // A policy that ends the chain is the last; a refusal is no error of the server, a fault is one.
    assert_eq!((ask("/closed", &[]), ask("/fault", &[])), (403, 500));
    eventually("the spans arrive", || {
        !of("/closed").is_empty() && !of("/fault").is_empty()
    });
    let (closed, fault) = (of("/closed"), of("/fault"));
    assert_eq!((closed.len(), fault.len()), (3, 4), "{closed:#?} {fault:#?}");
    assert_eq!(closed[0].attribute("wasmserve.decided_by"), Some("door"));
    assert_eq!(closed[2].attribute("wasmserve.decision"), Some("respond"));
    assert_eq!(closed[2].attribute("wasmserve.status"), Some("403"));
    assert!(closed.iter().all(|span| !span.error) && closed[0].parent.is_none());
    assert_ne!(closed[0].trace, fault[0].trace);
    assert_eq!(fault[3].attribute("wasmserve.decision"), Some("fault"));
    assert_eq!(fault[0].attribute("error.type"), Some("500"));
    assert!(fault[0].error && fault[3].error && !fault[1].error);

    // Once a decision is kept, that is told.
    eventually("a kept decision is told of", || {
        ask("/kept", &[]);
        let spans = of("/kept");
        spans
            .iter()
            .any(|span| span.attribute("wasmserve.evidence") == Some("kept"))
    });

    // A client that knows that nobody traces it is not traced; one that says nonsense is, by itself.
    assert_eq!(ask("/quiet", &[("traceparent", &PARENT.replace("-01", "-00"))]), 404);
    assert_eq!(ask("/nonsense", &[("traceparent", "00-nonsense")]), 404);
    eventually("the spans arrive", || !of("/nonsense").is_empty());
    assert!(of("/nonsense")[0].parent.is_none());
    assert!(of("/quiet").is_empty());

    let posted = collector.posted.lock().expect("no panic").clone();
    for (head, body) in &posted {
        assert!(head.starts_with("POST /v1/traces?key=s3cret HTTP/1.1\r\n"), "{head}");
        let lower = head.to_ascii_lowercase();
        assert!(lower.contains("content-type: application/json\r\n"), "{head}");
        assert!(lower.contains("x-api-key: s3cret-key\r\n"), "{head}");
        let resource = body["resourceSpans"][0]["resource"]["attributes"].to_string();
        assert!(
            resource.contains("\"service.name\",\"value\":{\"stringValue\":\"files\"}"),
            "{resource}"
        );
        assert!(!body.to_string().contains("s3cret"), "{body}");
    }
    assert!(!server.log().contains("s3cret"), "{}", server.log());
    assert_eq!(counted(&hosting, "sent"), collector.spans().len() as u64);
}

/// Only whom the listener trusts is believed, unless all are.
#[test]
fn strangers_do_not_say_what_is_traced() {
    for (parents, believed) in [("proxies", false), ("anyone", true), ("nobody", false)] {
        let (collector, address) = Collector::start(200);
        let hosting = hosting(address, &format!("parents = \"{parents}\"\none-in = 1\n"));
        let text = fs::read_to_string(hosting.at("wasmserve.toml")).expect("it is there");
        hosting.write("wasmserve.toml", text.replace("trusted = [\"127.0.0.1\"]\n", ""));
        let server = hosting.start();
        server.request("GET", "/file.txt", &[("Host", "a.example"), ("traceparent", PARENT)]);
        eventually("the spans arrive", || !collector.spans().is_empty());
        let is_believed = collector.spans()[0].trace == PARENT[3..35];
        assert_eq!(is_believed, believed, "{parents}");
    }
}

/// Requests are answered, no more waits than there is room for, what is lost is counted, and it goes on by itself.
#[test]
fn a_collector_that_is_slow_or_away_is_not_felt() {
    for away in [0, 503] {
        let (collector, address) = Collector::start(away);
        let hosting = hosting(address, "");
        let server = hosting.start();
        let mut connection = server.connect();
        let mut ask = |path: &str, status: u16, count: usize| {
            for _ in 0..count {
                let response = connection.request("GET", path, &[("Host", "a.example")]);
                assert_eq!(response.status, status);
            }
        };
        // More than the queue holds: 2,048.
        ask("/file.txt", 200, 3000);
        eventually("some are dropped", || counted(&hosting, "dropped") > 0);
        let before = support::process::resident(server.pid());
        ask("/file.txt", 200, 3000);
        let grown = support::process::resident(server.pid()).saturating_sub(before);
        assert!(grown < 8 << 20, "{grown} bytes for spans that nobody takes");
        if away == 503 {
            let line = server.logged("traces are not delivered");
            assert!(line.contains("503") && !line.contains("s3cret"), "{line}");
        }
        // It comes back, and has what waited.
        collector.status.store(200, Relaxed);
        eventually("what waited arrives", || collector.spans().len() > 2048);
        eventually("it is counted", || counted(&hosting, "sent") > 2048);
        ask("/after", 404, 1);
        let is_after = |span: &Span| span.attribute("url.path") == Some("/after");
        eventually("it goes on", || collector.spans().iter().any(is_after));
    }
}

/// Nobody listens at all.
#[test]
fn a_collector_that_is_not_there_is_not_felt_and_keeps_no_process() {
    let nobody = TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("loopback");
    let hosting = hosting(nobody, "");
    let mut server = hosting.start();
    for _ in 0..50 {
        assert_eq!(server.get_from("a.example", "/file.txt").status, 200);
    }
    server.logged("traces are not delivered");
    assert_eq!(server.log().matches("traces are not delivered").count(), 1);
    assert_eq!(counted(&hosting, "sent"), 0);
    server.ask_to_stop();
    assert!(server.ended().success());
}

/// The last spans are sent when the server stops.
#[test]
fn the_last_spans_are_sent_when_the_server_stops() {
    let (collector, address) = Collector::start(200);
    let hosting = hosting(address, "");
    let text = fs::read_to_string(hosting.at("wasmserve.toml")).expect("it is there");
    hosting.write(
        "wasmserve.toml",
        text.replace("interval = \"50ms\"", "interval = \"10m\""),
    );
    let mut server = hosting.start();
    for _ in 0..20 {
        server.get_from("a.example", "/file.txt");
    }
    assert!(collector.spans().is_empty());
    server.ask_to_stop();
    assert!(server.ended().success());
    let own = collector.spans().iter().filter(|span| span.kind == 2).count();
    assert_eq!(own, 20);
}

#[test]
fn mistakes_in_traces_are_told() {
    for (lines, expected) in [
        (
            "url = \"localhost:4318\"",
            "`url`: \"localhost:4318\" is not a URL such as",
        ),
        (
            "url = \"http://c.example/\"\nparents = \"all\"",
            "`parents` cannot be \"all\"",
        ),
        ("one-in = 0", "`one-in`"),
        ("sample = 1", "unknown key `sample`"),
        ("headers-file = \"none\"", "cannot read"),
    ] {
        let hosting = Hosting::new().file("root/file.txt", "");
        hosting.configure(
            &format!("[server.traces]\n{lines}"),
            "[[site]]\nname = \"a\"\nhosts = [\"*\"]\nroot = \"root\"\n",
        );
        let said = hosting.launch().refusal();
        assert!(said.contains(expected), "{lines}: {said}");
        let config = hosting.at("wasmserve.toml");
        let checked = Launch::bare()
            .arguments(["check", "--config"])
            .arguments([config])
            .run_to_end();
        assert!(checked.log.contains(expected), "{lines}: {}", checked.log);
    }
}
