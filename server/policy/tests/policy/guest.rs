//! Guests written for a test: a core module in text, with the contract's metadata, as `wit-bindgen` would have made it.
#![allow(dead_code, reason = "the benchmarks use a part of it")]
use std::{fmt::Write, path::PathBuf};
use wit_component::StringEncoding;

const STATICS: usize = 4096;
const HEAP: usize = 256 << 10;

/// Core imports by their short name in the text, such as `$request.path`, with parameters and results.
const IMPORTS: &[(&str, &str, &str, &str)] = &[
    (
        "request.method",
        "wasmserve:policy/request@0.1.0",
        "method",
        "(param i32)",
    ),
    ("request.path", "wasmserve:policy/request@0.1.0", "path", "(param i32)"),
    (
        "request.targets",
        "wasmserve:policy/request@0.1.0",
        "targets",
        "(param i32)",
    ),
    (
        "request.query",
        "wasmserve:policy/request@0.1.0",
        "query",
        "(param i32)",
    ),
    (
        "request.query-parameter",
        "wasmserve:policy/request@0.1.0",
        "query-parameter",
        "(param i32 i32 i32)",
    ),
    (
        "request.query-values",
        "wasmserve:policy/request@0.1.0",
        "query-parameter-values",
        "(param i32 i32 i32)",
    ),
    (
        "request.header",
        "wasmserve:policy/request@0.1.0",
        "header",
        "(param i32 i32 i32)",
    ),
    (
        "request.all-values",
        "wasmserve:policy/request@0.1.0",
        "header-values",
        "(param i32 i32 i32)",
    ),
    (
        "request.cookie",
        "wasmserve:policy/request@0.1.0",
        "cookie",
        "(param i32 i32 i32)",
    ),
    (
        "request.scheme",
        "wasmserve:policy/request@0.1.0",
        "scheme",
        "(param i32)",
    ),
    ("request.host", "wasmserve:policy/request@0.1.0", "host", "(param i32)"),
    ("request.site", "wasmserve:policy/request@0.1.0", "site", "(param i32)"),
    (
        "request.client-address",
        "wasmserve:policy/request@0.1.0",
        "client-address",
        "(param i32)",
    ),
    (
        "request.client-within",
        "wasmserve:policy/request@0.1.0",
        "client-within",
        "(param i32 i32) (result i32)",
    ),
    (
        "request.fact",
        "wasmserve:policy/request@0.1.0",
        "fact",
        "(param i32 i32 i32)",
    ),
    ("clock.now", "wasmserve:policy/clock@0.1.0", "now", "(result i64)"),
    (
        "clock.before",
        "wasmserve:policy/clock@0.1.0",
        "before",
        "(param i64) (result i32)",
    ),
    (
        "config.get",
        "wasi:config/store@0.2.0-rc.1",
        "get",
        "(param i32 i32 i32)",
    ),
    (
        "logging.log",
        "wasi:logging/logging@0.1.0-draft",
        "log",
        "(param i32 i32 i32 i32 i32)",
    ),
    (
        "counters.take",
        "wasmserve:policy/counters@0.1.0",
        "take",
        "(param i32 i32 i64 f64 i32)",
    ),
    (
        "random.u64",
        "wasi:random/random@0.2.0",
        "get-random-u64",
        "(result i64)",
    ),
    (
        "seed.seed",
        "wasi:random/insecure-seed@0.2.0",
        "insecure-seed",
        "(param i32)",
    ),
    (
        "monotonic.now",
        "wasi:clocks/monotonic-clock@0.2.0",
        "now",
        "(result i64)",
    ),
    ("stdout.get", "wasi:cli/stdout@0.2.0", "get-stdout", "(result i32)"),
    (
        "stream.write",
        "wasi:io/streams@0.2.0",
        "[method]output-stream.blocking-write-and-flush",
        "(param i32 i32 i32 i32)",
    ),
    (
        "stream.drop",
        "wasi:io/streams@0.2.0",
        "[resource-drop]output-stream",
        "(param i32)",
    ),
    (
        "socket.new",
        "wasi:sockets/tcp-create-socket@0.2.0",
        "create-tcp-socket",
        "(param i32 i32)",
    ),
    ("blob.open", "wasi:blobstore/blobstore@0.2.0", "open", "(result i32)"),
];

const WORLD: &str = "
package test:guest;
world guest {
    include wasmserve:policy/policy@0.1.0;
    import wasmserve:policy/counters@0.1.0;
    import wasi:logging/logging@0.1.0-draft;
    import wasi:keyvalue/store@0.2.0-draft;
    import wasi:keyvalue/atomics@0.2.0-draft;
    import wasi:random/random@0.2.0;
    import wasi:random/insecure-seed@0.2.0;
    import wasi:clocks/monotonic-clock@0.2.0;
    import wasi:cli/stdout@0.2.0;
    import wasi:sockets/tcp-create-socket@0.2.0;
    import wasi:blobstore/blobstore@0.2.0;
}
";

/// The parts of WASI that the guests above import.
const WASI: &[&str] = &[
    "package wasi:random@0.2.0;
     interface random { get-random-u64: func() -> u64; }
     interface insecure-seed { insecure-seed: func() -> tuple<u64, u64>; }",
    "package wasi:clocks@0.2.0;
     interface monotonic-clock { now: func() -> u64; }",
    "package wasi:io@0.2.0;
     interface error { resource error; }
     interface streams {
         use error.{error};
         variant stream-error { last-operation-failed(error), closed }
         resource output-stream {
             blocking-write-and-flush: func(contents: list<u8>) -> result<_, stream-error>;
         }
     }",
    "package wasi:cli@0.2.0;
     interface stdout { use wasi:io/streams@0.2.0.{output-stream}; get-stdout: func() -> output-stream; }",
    "package wasi:sockets@0.2.0;
     interface network {
         enum error-code {
             unknown, access-denied, not-supported, invalid-argument, out-of-memory, timeout, concurrency-conflict,
             not-in-progress, would-block, invalid-state, new-socket-limit, address-not-bindable, address-in-use,
             remote-unreachable, connection-refused, connection-reset, connection-aborted, datagram-too-large,
             name-unresolvable, temporary-resolver-failure, permanent-resolver-failure,
         }
         enum ip-address-family { ipv4, ipv6 }
     }
     interface tcp { resource tcp-socket; }
     interface tcp-create-socket {
         use network.{error-code, ip-address-family};
         use tcp.{tcp-socket};
         create-tcp-socket: func(address-family: ip-address-family) -> result<tcp-socket, error-code>;
     }",
    "package wasi:blobstore@0.2.0;
     interface blobstore { open: func() -> u32; }",
];

/// A guest under construction. `configure` and `decide` are expressions that leave the address of their result.
#[derive(Clone)]
pub struct Guest {
    statics: Vec<u8>,
    pub configure: String,
    pub decide: String,
    /// More definitions of the module.
    pub more: String,
    /// Pages of memory at the start.
    pub pages: u32,
}

/// What a guest replies, laid out in its memory.
#[derive(Clone, Debug)]
pub enum Reply {
    Proceed(Changes),
    Respond {
        status: u16,
        headers: Vec<(String, String)>,
        body: Vec<u8>,
        allowed: bool,
    },
    Fail(String),
}

#[derive(Clone, Debug, Default)]
pub struct Changes {
    pub paths: Vec<String>,
    pub place: Option<(String, String)>,
    pub missing: Option<(Vec<String>, u16)>,
    pub headers: Vec<Change>,
    pub facts: Vec<(String, String)>,
    pub allowed: bool,
    pub pace: Option<u64>,
}

#[derive(Clone, Debug, Default)]
pub struct Change {
    /// 0: set, 1: append, 2: remove.
    pub operation: u8,
    pub name: String,
    pub value: String,
    /// 1: found, 2: redirected, 4: missing, 8: failed.
    pub when: u8,
    pub types: Vec<String>,
}

pub fn set(name: &str, value: &str) -> Change {
    Change {
        name: name.into(),
        value: value.into(),
        ..Change::default()
    }
}

pub fn proceed() -> Reply {
    Reply::Proceed(Changes::default())
}

pub fn with_header(name: &str, value: &str) -> Reply {
    Reply::Proceed(Changes {
        headers: vec![set(name, value)],
        ..Changes::default()
    })
}

pub fn respond(status: u16) -> Reply {
    Reply::Respond {
        status,
        headers: Vec::new(),
        body: Vec::new(),
        allowed: false,
    }
}

impl Guest {
    pub fn new() -> Self {
        Self {
            statics: Vec::new(),
            configure: "(i32.const 16)".into(),
            decide: String::new(),
            more: String::new(),
            pages: 16,
        }
    }

    /// One that always replies the same.
    pub fn replying(reply: &Reply) -> Self {
        let mut guest = Self::new();
        guest.decide = guest.reply(reply);
        guest
    }

    fn put(&mut self, bytes: &[u8], align: usize) -> u32 {
        while !self.statics.len().is_multiple_of(align) {
            self.statics.push(0);
        }
        let at = STATICS + self.statics.len();
        self.statics.extend_from_slice(bytes);
        u32::try_from(at).unwrap()
    }

    fn string(&mut self, text: &str) -> [u32; 2] {
        [self.put(text.as_bytes(), 1), u32::try_from(text.len()).unwrap()]
    }

    fn strings(&mut self, texts: &[String]) -> [u32; 2] {
        let all: Vec<[u32; 2]> = texts.iter().map(|text| self.string(text)).collect();
        let bytes: Vec<u8> = all.iter().flatten().flat_map(|word| word.to_le_bytes()).collect();
        [self.put(&bytes, 4), u32::try_from(texts.len()).unwrap()]
    }

    fn pairs(&mut self, pairs: &[(String, String)]) -> [u32; 2] {
        let flat: Vec<String> = pairs.iter().flat_map(|(a, b)| [a.clone(), b.clone()]).collect();
        let [at, count] = self.strings(&flat);
        [at, count / 2]
    }

    /// Address and length of a text, as two operands.
    pub fn text(&mut self, text: &str) -> String {
        let [at, length] = self.string(text);
        format!("(i32.const {at}) (i32.const {length})")
    }

    /// The address of a `result<decision, string>`, as an operand.
    pub fn reply(&mut self, reply: &Reply) -> String {
        let mut area = Area(vec![0; 96]);
        match reply {
            Reply::Fail(message) => {
                area.0[0] = 1;
                area.words(8, &self.string(message));
            }
            Reply::Proceed(changes) => self.changes(changes, &mut area),
            Reply::Respond {
                status,
                headers,
                body,
                allowed,
            } => {
                area.0[8] = 1;
                area.0[16..18].copy_from_slice(&status.to_le_bytes());
                area.words(20, &self.pairs(headers));
                area.words(28, &[self.put(body, 1), u32::try_from(body.len()).unwrap()]);
                area.0[36] = u8::from(*allowed);
            }
        }
        format!("(i32.const {})", self.put(&area.0, 8))
    }

    fn changes(&mut self, changes: &Changes, area: &mut Area) {
        area.words(16, &self.strings(&changes.paths));
        if let Some((root, directory)) = &changes.place {
            area.0[24] = 1;
            area.words(28, &self.string(root));
            area.words(36, &self.string(directory));
        }
        if let Some((paths, status)) = &changes.missing {
            area.0[44] = 1;
            area.words(48, &self.strings(paths));
            area.0[56..58].copy_from_slice(&status.to_le_bytes());
        }
        let headers: Vec<u8> = changes.headers.iter().flat_map(|change| self.change(change)).collect();
        area.words(
            60,
            &[self.put(&headers, 4), u32::try_from(changes.headers.len()).unwrap()],
        );
        area.words(68, &self.pairs(&changes.facts));
        area.0[76] = u8::from(changes.allowed);
        if let Some(pace) = changes.pace {
            area.0[80] = 1;
            area.0[88..96].copy_from_slice(&pace.to_le_bytes());
        }
    }

    fn change(&mut self, change: &Change) -> Vec<u8> {
        let mut area = Area(vec![0; 32]);
        area.0[0] = change.operation;
        area.words(4, &self.string(&change.name));
        area.words(12, &self.string(&change.value));
        area.0[20] = change.when;
        area.words(24, &self.strings(&change.types));
        area.0
    }

    /// The module as text.
    pub fn module(&self) -> String {
        assert!(
            STATICS + self.statics.len() < HEAP,
            "the statics of the guest reach into its heap"
        );
        let body = format!("{} {} {}", self.configure, self.decide, self.more);
        let mut imports = String::new();
        for (short, module, name, signature) in IMPORTS {
            // A name ends at a blank or a parenthesis.
            if body
                .split(|c: char| c.is_whitespace() || c == ')')
                .any(|word| word == format!("${short}"))
            {
                writeln!(imports, "(import \"{module}\" \"{name}\" (func ${short} {signature}))").unwrap();
            }
        }
        let statics: String = self.statics.iter().map(|byte| format!("\\{byte:02x}")).collect();
        let Self {
            configure,
            decide,
            more,
            pages,
            ..
        } = self;
        format!(
            r#"(module $guest
                {imports}
                (memory (export "memory") {pages})
                (global $heap (mut i32) (i32.const {HEAP}))
                (global $counter (mut i32) (i32.const 0))
                (func $allocate (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
                    (local $at i32)
                    (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
                    (global.set $heap (i32.add (local.get $at) (local.get 3)))
                    (local.get $at))
                ;; FNV-1a of the bytes at an address.
                (func $hash (param $at i32) (param $length i32) (result i32)
                    (local $hash i32)
                    (local.set $hash (i32.const 0x811c9dc5))
                    (block $end (loop $next
                        (br_if $end (i32.eqz (local.get $length)))
                        (local.set $hash (i32.mul (i32.const 0x01000193)
                            (i32.xor (local.get $hash) (i32.load8_u (local.get $at)))))
                        (local.set $at (i32.add (local.get $at) (i32.const 1)))
                        (local.set $length (i32.sub (local.get $length) (i32.const 1)))
                        (br $next)))
                    (local.get $hash))
                {more}
                (func $configure (export "wasmserve:policy/guest@0.1.0#configure") (result i32) {configure})
                (func $decide (export "wasmserve:policy/guest@0.1.0#decide") (result i32) {decide})
                (data (i32.const {STATICS}) "{statics}"))"#
        )
    }

    /// The module in binary form, with the contract's metadata.
    pub fn build(&self) -> Vec<u8> {
        with_metadata(&self.module())
    }

    /// The file of the module, within a folder.
    pub fn write(&self, folder: &std::path::Path, name: &str) -> PathBuf {
        let file = folder.join(name);
        std::fs::write(&file, self.build()).unwrap();
        file
    }
}

/// A core module with metadata that says which world it is for.
pub fn with_metadata(module: &str) -> Vec<u8> {
    let mut resolve = wit_parser::Resolve::default();
    resolve
        .push_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit"))
        .unwrap();
    for package in WASI {
        resolve.push_str("wasi.wit", package).unwrap();
    }
    let package = resolve.push_str("guest.wit", WORLD).unwrap();
    let world = resolve.select_world(&[package], Some("guest")).unwrap();
    let mut bytes = wat::parse_str(module).unwrap_or_else(|error| panic!("{error}\n{module}"));
    wit_component::embed_component_metadata(&mut bytes, &resolve, world, StringEncoding::UTF8).unwrap();
    bytes
}

struct Area(Vec<u8>);

impl Area {
    fn words(&mut self, at: usize, words: &[u32]) {
        for (i, word) in words.iter().enumerate() {
            self.0[at + 4 * i..at + 4 * i + 4].copy_from_slice(&word.to_le_bytes());
        }
    }
}
