//! What RFC 9113 says of frames and fields that must not be: each case is a sentence of it. No conformance tool for HTTP/2 can
//! be had from the package registries that the tests install from, so these are written from the document.
use std::io;
use support::{
    Certificate, Launch, Tree,
    frames::{
        CONTINUATION, DATA, END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS, INITIAL_WINDOW_SIZE, PING, RST_STREAM,
        SETTINGS, WINDOW_UPDATE, field, request,
    },
};

const PRIORITY: u8 = 2;
const PUSH_PROMISE: u8 = 5;
const ACK: u8 = 1;
const PADDED: u8 = 8;

// Codes (section 7).
const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const STREAM_CLOSED: u32 = 5;
const FRAME_SIZE_ERROR: u32 = 6;
const COMPRESSION_ERROR: u32 = 9;

/// `:status: 200` and `:status: 400` of the static table (RFC 7541, appendix A).
const OK: u8 = 0x88;
const BAD_REQUEST: u8 = 0x8c;

/// The stream of the case, and one that is asked for something afterwards.
const STREAM: u32 = 1;
const AFTERWARDS: u32 = 101;

#[derive(Clone, Copy, Debug)]
enum Expected {
    /// A connection error of one of these codes, or of the general one. Ending the connection without a word is one too
    /// (section 5.4.1).
    Connection(&'static [u32]),
    /// A stream error, which may be taken as one of the connection (section 5.4.2).
    Stream(&'static [u32]),
    /// The request is malformed (section 8.1.1): a stream error, or 400 before it.
    Malformed,
    /// Nothing is wrong: the next request is answered.
    Served,
}

/// A frame: its type, flags, stream and payload.
type Sent = (u8, u8, u32, Vec<u8>);

fn headers(fields: Vec<u8>) -> Vec<Sent> {
    vec![(HEADERS, END_STREAM | END_HEADERS, STREAM, fields)]
}

/// A request whose content is yet to come.
fn open() -> Sent {
    (HEADERS, END_HEADERS, STREAM, request("/large.bin"))
}

fn get() -> Sent {
    (HEADERS, END_STREAM | END_HEADERS, STREAM, request("/large.bin"))
}

fn setting(name: u16, value: u32) -> Vec<Sent> {
    let payload = [&name.to_be_bytes()[..], &value.to_be_bytes()].concat();
    vec![(SETTINGS, 0, 0, payload)]
}

/// A request with these fields in the place of, or behind, those that it should have.
fn fields(all: &[(&str, &str)]) -> Vec<Sent> {
    headers(all.iter().flat_map(|(name, value)| field(name, value)).collect())
}

/// A good request's fields, and these.
fn with(more: &[(&str, &str)]) -> Vec<Sent> {
    fields(&[&GOOD[..], more].concat())
}

const GOOD: [(&str, &str); 4] = [
    (":method", "GET"),
    (":scheme", "https"),
    (":authority", "localhost"),
    (":path", "/file.txt"),
];

fn without(name: &str) -> Vec<Sent> {
    let left: Vec<_> = GOOD.into_iter().filter(|(other, _)| *other != name).collect();
    fields(&left)
}

/// Frames and their headers: sections 4 to 6.
fn frames() -> Vec<(&'static str, Vec<Sent>, Expected)> {
    use Expected::{Connection, Served, Stream};
    const PROTOCOL: Expected = Connection(&[PROTOCOL_ERROR]);
    const SIZE: Expected = Connection(&[FRAME_SIZE_ERROR]);
    let increment = |by: u32| by.to_be_bytes().to_vec();
    vec![
        (
            "4.1: unknown types are ignored",
            vec![(0x16, 0xff, 0, vec![1; 8])],
            Served,
        ),
        (
            "4.1: the reserved bit is ignored",
            vec![(PING, 0, 1 << 31, vec![1; 8])],
            Served,
        ),
        (
            "4.1: unknown flags are ignored",
            vec![(PING, 0xfe, 0, vec![1; 8])],
            Served,
        ),
        ("4.2: HEADERS that are too long", headers(vec![0; 16_385]), SIZE),
        (
            "4.2: DATA that is too long",
            vec![open(), (DATA, 0, STREAM, vec![0; 16_385])],
            Stream(&[FRAME_SIZE_ERROR]),
        ),
        (
            "4.3: a field block that cannot be decoded",
            headers(vec![0x80]),
            Connection(&[COMPRESSION_ERROR]),
        ),
        (
            "4.3: an index beyond the tables",
            headers(vec![0xff, 0x7f]),
            Connection(&[COMPRESSION_ERROR]),
        ),
        (
            "4.3: another frame within a field block",
            vec![
                (HEADERS, END_STREAM, STREAM, request("/file.txt")),
                (PING, 0, 0, vec![0; 8]),
            ],
            PROTOCOL,
        ),
        (
            "5.1: DATA on an idle stream",
            vec![(DATA, 0, STREAM, vec![0])],
            PROTOCOL,
        ),
        (
            "5.1: RST_STREAM on an idle stream",
            vec![(RST_STREAM, 0, STREAM, vec![0; 4])],
            PROTOCOL,
        ),
        (
            "5.1: WINDOW_UPDATE on an idle stream",
            vec![(WINDOW_UPDATE, 0, STREAM, increment(1))],
            PROTOCOL,
        ),
        (
            "5.1: DATA after the end",
            vec![get(), (DATA, 0, STREAM, vec![0])],
            Stream(&[STREAM_CLOSED]),
        ),
        (
            "5.1: HEADERS after the end",
            vec![get(), get()],
            Stream(&[STREAM_CLOSED, PROTOCOL_ERROR]),
        ),
        (
            "5.1: PRIORITY on an idle stream",
            vec![(PRIORITY, 0, STREAM, vec![0, 0, 0, 3, 7])],
            Served,
        ),
        (
            "5.1.1: an even stream",
            vec![(HEADERS, END_STREAM | END_HEADERS, 2, request("/"))],
            PROTOCOL,
        ),
        (
            "5.1.1: a stream less than one before",
            vec![(HEADERS, END_STREAM | END_HEADERS, 5, request("/large.bin")), get()],
            Connection(&[PROTOCOL_ERROR, STREAM_CLOSED]),
        ),
        ("6.1: DATA on no stream", vec![(DATA, 0, 0, vec![0])], PROTOCOL),
        (
            "6.1: more padding than DATA",
            vec![open(), (DATA, PADDED, STREAM, vec![9, 0])],
            PROTOCOL,
        ),
        (
            "6.2: HEADERS on no stream",
            vec![(HEADERS, END_STREAM | END_HEADERS, 0, request("/"))],
            PROTOCOL,
        ),
        (
            "6.2: more padding than HEADERS",
            vec![(HEADERS, END_STREAM | END_HEADERS | PADDED, STREAM, vec![9, 0x82])],
            PROTOCOL,
        ),
        (
            "6.3: PRIORITY on no stream",
            vec![(PRIORITY, 0, 0, vec![0; 5])],
            PROTOCOL,
        ),
        (
            "6.3: PRIORITY of another length",
            vec![(PRIORITY, 0, STREAM, vec![0; 4])],
            Stream(&[FRAME_SIZE_ERROR]),
        ),
        (
            "6.4: RST_STREAM on no stream",
            vec![(RST_STREAM, 0, 0, vec![0; 4])],
            PROTOCOL,
        ),
        (
            "6.4: RST_STREAM of another length",
            vec![open(), (RST_STREAM, 0, STREAM, vec![0; 3])],
            SIZE,
        ),
        (
            "6.5: SETTINGS on a stream",
            vec![(SETTINGS, 0, STREAM, Vec::new())],
            PROTOCOL,
        ),
        (
            "6.5: SETTINGS of another length",
            vec![(SETTINGS, 0, 0, vec![0; 5])],
            SIZE,
        ),
        (
            "6.5: an acknowledgement with settings",
            vec![(SETTINGS, ACK, 0, vec![0; 6])],
            SIZE,
        ),
        ("6.5.2: ENABLE_PUSH of 2", setting(2, 2), PROTOCOL),
        (
            "6.5.2: a window that is too large",
            setting(INITIAL_WINDOW_SIZE, 1 << 31),
            Connection(&[FLOW_CONTROL_ERROR]),
        ),
        ("6.5.2: MAX_FRAME_SIZE too small", setting(5, 16_383), PROTOCOL),
        ("6.5.2: MAX_FRAME_SIZE too large", setting(5, 1 << 24), PROTOCOL),
        ("6.5.2: unknown settings are ignored", setting(0xfff0, 1), Served),
        (
            "6.6: PUSH_PROMISE of a client",
            vec![open(), (PUSH_PROMISE, END_HEADERS, STREAM, vec![0, 0, 0, 2])],
            PROTOCOL,
        ),
        ("6.7: PING on a stream", vec![(PING, 0, STREAM, vec![0; 8])], PROTOCOL),
        ("6.7: PING of another length", vec![(PING, 0, 0, vec![0; 7])], SIZE),
        (
            "6.8: GOAWAY on a stream",
            vec![(GOAWAY, 0, STREAM, vec![0; 8])],
            PROTOCOL,
        ),
        (
            "6.9: no increment of the connection",
            vec![(WINDOW_UPDATE, 0, 0, increment(0))],
            PROTOCOL,
        ),
        (
            "6.9: no increment of a stream",
            vec![get(), (WINDOW_UPDATE, 0, STREAM, increment(0))],
            Stream(&[PROTOCOL_ERROR]),
        ),
        (
            "6.9: WINDOW_UPDATE of another length",
            vec![(WINDOW_UPDATE, 0, 0, vec![0, 0, 1])],
            SIZE,
        ),
        (
            "6.9.1: a window of the connection beyond 2^31-1",
            vec![(WINDOW_UPDATE, 0, 0, increment(u32::MAX >> 1))],
            Connection(&[FLOW_CONTROL_ERROR]),
        ),
        (
            "6.9.1: a window of a stream beyond 2^31-1",
            vec![
                get(),
                (WINDOW_UPDATE, 0, STREAM, increment(u32::MAX >> 1)),
                (WINDOW_UPDATE, 0, STREAM, increment(1)),
            ],
            Stream(&[FLOW_CONTROL_ERROR]),
        ),
        (
            "6.10: CONTINUATION of nothing",
            vec![(CONTINUATION, END_HEADERS, STREAM, request("/"))],
            PROTOCOL,
        ),
        (
            "6.10: CONTINUATION behind the end",
            vec![get(), (CONTINUATION, END_HEADERS, STREAM, request("/"))],
            PROTOCOL,
        ),
        (
            "6.10: CONTINUATION on another stream",
            vec![
                (HEADERS, END_STREAM, STREAM, request("/")),
                (CONTINUATION, END_HEADERS, 3, request("/")),
            ],
            PROTOCOL,
        ),
    ]
}

/// Fields of a request: section 8.
fn requests() -> Vec<(&'static str, Vec<Sent>, Expected)> {
    use Expected::{Malformed, Served};
    vec![
        ("8.2: a good one", with(&[("x-a", "b"), ("te", "trailers")]), Served),
        ("8.2: an upper-case name", with(&[("X-A", "b")]), Malformed),
        ("8.2.1: a name with a space", with(&[("x a", "b")]), Malformed),
        ("8.2.1: a name with a colon", with(&[("x:a", "b")]), Malformed),
        ("8.2.1: a value with a line feed", with(&[("x-a", "b\nc")]), Malformed),
        ("8.2.1: a value with NUL", with(&[("x-a", "b\0c")]), Malformed),
        ("8.2.2: Connection", with(&[("connection", "keep-alive")]), Malformed),
        (
            "8.2.2: Transfer-Encoding",
            with(&[("transfer-encoding", "chunked")]),
            Malformed,
        ),
        ("8.2.2: Upgrade", with(&[("upgrade", "x")]), Malformed),
        ("8.2.2: Keep-Alive", with(&[("keep-alive", "timeout=5")]), Malformed),
        (
            "8.2.2: Proxy-Connection",
            with(&[("proxy-connection", "keep-alive")]),
            Malformed,
        ),
        ("8.2.2: TE other than trailers", with(&[("te", "gzip")]), Malformed),
        ("8.3: a pseudo-field that is unknown", with(&[(":x", "y")]), Malformed),
        (
            "8.3: a pseudo-field of responses",
            with(&[(":status", "200")]),
            Malformed,
        ),
        (
            "8.3: a pseudo-field behind fields",
            fields(&[GOOD[0], GOOD[1], GOOD[2], ("x-a", "b"), GOOD[3]]),
            Malformed,
        ),
        ("8.3: a pseudo-field twice", with(&[(":path", "/other.txt")]), Malformed),
        ("8.3.1: no method", without(":method"), Malformed),
        ("8.3.1: no scheme", without(":scheme"), Malformed),
        ("8.3.1: no path", without(":path"), Malformed),
        (
            "8.3.1: an empty path",
            fields(&[GOOD[0], GOOD[1], GOOD[2], (":path", "")]),
            Malformed,
        ),
        (
            "8.3.1: Host that is not the authority",
            with(&[("host", "elsewhere.example")]),
            Malformed,
        ),
        (
            "8.1.1: content that is longer than it says",
            vec![
                (
                    HEADERS,
                    END_HEADERS,
                    STREAM,
                    [request("/file.txt"), field("content-length", "1")].concat(),
                ),
                (DATA, END_STREAM, STREAM, vec![0; 4]),
            ],
            Malformed,
        ),
    ]
}

/// What became of a case; the error says what came instead.
fn outcome(connection: &mut Frames, expected: Expected) -> Result<(), String> {
    loop {
        let frame = match (connection.read(), expected) {
            (Ok(frame), _) => frame,
            (Err(error), _) if [io::ErrorKind::WouldBlock, io::ErrorKind::TimedOut].contains(&error.kind()) => {
                return Err("nothing comes, and the connection stays".into());
            }
            (Err(_), Expected::Connection(_)) => return Ok(()),
            (Err(error), _) => return Err(format!("the connection ended: {error}")),
        };
        let code = |at: usize| {
            let bytes = frame.payload.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
            bytes.map_or(u32::MAX, u32::from_be_bytes)
        };
        let status = frame.payload.first().copied().unwrap_or_default();
        match (frame.kind, expected) {
            (GOAWAY, Expected::Connection(codes) | Expected::Stream(codes)) if codes.contains(&code(4)) => {
                return Ok(());
            }
            // The library (h2) takes the general code for the connection in some cases that have one of their own: frames of a
            // wrong length, field blocks that cannot be decoded, frames behind the end of a stream, windows in SETTINGS.
            (GOAWAY, Expected::Connection(_) | Expected::Stream(_) | Expected::Malformed)
                if code(4) == PROTOCOL_ERROR =>
            {
                return Ok(());
            }
            (GOAWAY, _) => return Err(format!("GOAWAY {}", code(4))),
            (RST_STREAM, Expected::Stream(codes)) if codes.contains(&code(0)) => return Ok(()),
            (RST_STREAM, Expected::Malformed) if code(0) == PROTOCOL_ERROR => return Ok(()),
            (RST_STREAM, _) => return Err(format!("RST_STREAM {}", code(0))),
            (HEADERS, Expected::Malformed) if status == BAD_REQUEST => return Ok(()),
            (HEADERS, Expected::Malformed) => return Err(format!("an answer {status:#x}")),
            (HEADERS, Expected::Served) if frame.stream == AFTERWARDS && status == OK => return Ok(()),
            _ => {}
        }
    }
}

#[test]
fn what_must_not_be_is_an_error_as_the_standard_says() {
    let certificate = Certificate::new();
    let tree = Tree::new().file("file.txt", "content").sparse("large.bin", 1 << 30);
    let server = Launch::new(&tree)
        .arguments(["--tls-cert"])
        .arguments([certificate.at("cert.pem")])
        .arguments(["--tls-key"])
        .arguments([certificate.at("key.pem")])
        .start();
    let mut wrong = Vec::new();
    for (what, sent, expected) in frames().into_iter().chain(requests()) {
        // So that no stream ends while it is tested: its content has no room.
        let mut connection = Frames::open(server.address(), &[(INITIAL_WINDOW_SIZE, 0)]);
        for (kind, flags, stream, payload) in sent {
            // The server may have ended the connection before the last of them.
            let _ = connection.send(kind, flags, stream, &payload);
        }
        if let Expected::Served = expected {
            let _ = connection.get(AFTERWARDS, "/file.txt");
        }
        if let Err(instead) = outcome(&mut connection, expected) {
            wrong.push(format!("{what}: {expected:?}, and {instead}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    // A PING is answered with what it said (section 6.7).
    let mut connection = Frames::open(server.address(), &[]);
    connection.send(PING, 0, 0, b"12345678").expect("it listens");
    let answer = connection.until("its answer", |frame| frame.kind == PING);
    assert_eq!((answer.flags, answer.payload.as_slice()), (ACK, &b"12345678"[..]));
}
