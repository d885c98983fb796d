//! What `decide` can do wrong: one function each.
use crate::{
    exports::wasmserve::policy::guest::{
        Changes, Decision, Header, HeaderChange, HeaderOperation, Missing, Outcomes, Place, Response, Sharing,
    },
    unchanged,
    wasmserve::policy::request,
};
use std::hint::black_box;

type Decided = Result<Decision, String>;

// === what the sandbox stops ===

pub fn trap() -> Decided {
    unreachable()
}

pub fn endless_loop() -> Decided {
    forever()
}

pub fn memory_growth() -> Decided {
    grow()
}

pub fn stack_overflow() -> Decided {
    fn deeper(depth: u64) -> u64 {
        let frame = black_box([depth; 64]);
        if depth == u64::MAX {
            0
        } else {
            deeper(depth + 1) + black_box(frame)[7]
        }
    }
    proceed(Changes {
        pace: Some(deeper(0)),
        ..unchanged()
    })
}

pub fn error() -> Decided {
    Err("the guest cannot decide".into())
}

pub fn error_naming_secrets() -> Decided {
    Err("hunter2\r\nSet-Cookie: stolen=1\r\n\u{1b}[31mforged line".into())
}

pub fn network_invalid() -> Decided {
    request::client_within("10.0.0.0/99");
    proceed(unchanged())
}

pub fn fact_not_read() -> Decided {
    request::fact("tls.subject");
    proceed(unchanged())
}

pub fn answers_oversized() -> Decided {
    for _ in 0..10_000 {
        black_box(request::header("x-large"));
    }
    proceed(unchanged())
}

pub fn host_calls() -> Decided {
    loop {
        black_box(request::method());
    }
}

/// A body of 1 GiB, written out.
pub fn body_huge() -> Decided {
    respond(200, &[], &vec![b'x'; 1 << 30])
}

pub fn unreachable() -> ! {
    std::process::abort()
}

pub fn forever() -> ! {
    let mut turns = 0_u64;
    loop {
        turns = black_box(turns.wrapping_add(1));
    }
}

pub fn grow() -> ! {
    let mut held = Vec::new();
    loop {
        held.push(black_box(vec![1_u8; 1 << 20]));
    }
}

// === responses that are none ===

fn respond(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Decided {
    let header = |&(name, value): &(&str, &str)| Header {
        name: name.into(),
        value: value.into(),
    };
    Ok(Decision::Respond(Response {
        status,
        headers: headers.iter().map(header).collect(),
        body: body.to_vec(),
        sharing: Sharing::Derived,
    }))
}

pub fn status_too_low() -> Decided {
    respond(199, &[], b"")
}

pub fn status_too_high() -> Decided {
    respond(600, &[], b"")
}

pub fn partial_content_status() -> Decided {
    respond(206, &[], b"part")
}

pub fn not_modified_status() -> Decided {
    respond(304, &[], b"")
}

pub fn range_status() -> Decided {
    respond(416, &[], b"")
}

pub fn header_name_malformed() -> Decided {
    respond(200, &[("X Test", "1")], b"leaked")
}

pub fn header_line_break() -> Decided {
    respond(200, &[("X-Test", "1\r\nSet-Cookie: stolen=1")], b"leaked")
}

pub fn header_nul() -> Decided {
    respond(200, &[("X-Test", "1\0")], b"leaked")
}

pub fn connection_header() -> Decided {
    respond(200, &[("Connection", "upgrade")], b"leaked")
}

pub fn content_length_header() -> Decided {
    respond(200, &[("Content-Length", "1")], b"leaked")
}

pub fn transfer_encoding_header() -> Decided {
    respond(200, &[("Transfer-Encoding", "chunked")], b"leaked")
}

pub fn date_header() -> Decided {
    respond(200, &[("Date", "Thu, 01 Jan 1970 00:00:00 GMT")], b"leaked")
}

pub fn proxy_header() -> Decided {
    respond(200, &[("Proxy-Authenticate", "Basic")], b"leaked")
}

pub fn body_oversized() -> Decided {
    respond(200, &[], &vec![b'x'; (256 << 10) + 1])
}

pub fn body_with_no_content() -> Decided {
    respond(204, &[], b"leaked")
}

// === changes that are none ===

fn proceed(changes: Changes) -> Decided {
    Ok(Decision::Proceed(changes))
}

fn change(operation: HeaderOperation, name: &str, value: &str) -> Decided {
    let change = HeaderChange {
        operation,
        name: name.into(),
        value: value.into(),
        when: Outcomes::empty(),
        types: Vec::new(),
    };
    proceed(Changes {
        headers: vec![change],
        ..unchanged()
    })
}

pub fn header_line_break_in_change() -> Decided {
    change(HeaderOperation::Set, "X-Test", "1\nSet-Cookie: stolen=1")
}

pub fn etag_on_proceed() -> Decided {
    change(HeaderOperation::Set, "ETag", "\"mine\"")
}

pub fn content_encoding_on_proceed() -> Decided {
    change(HeaderOperation::Remove, "Content-Encoding", "")
}

pub fn vary_set() -> Decided {
    change(HeaderOperation::Set, "Vary", "*")
}

pub fn vary_removed() -> Decided {
    change(HeaderOperation::Remove, "vary", "")
}

fn map(path: &str) -> Decided {
    proceed(Changes {
        paths: vec![path.into()],
        ..unchanged()
    })
}

pub fn path_leaving() -> Decided {
    map("/../secret.txt")
}

pub fn path_relative() -> Decided {
    map("file.txt")
}

pub fn path_with_dot() -> Decided {
    map("/./file.txt")
}

pub fn path_with_empty_segment() -> Decided {
    map("//file.txt")
}

pub fn path_with_nul() -> Decided {
    map("/file.txt\0.html")
}

pub fn path_with_backslash() -> Decided {
    map("/..\\secret.txt")
}

fn missing(path: &str, status: u16) -> Decided {
    proceed(Changes {
        missing: Some(Missing {
            paths: vec![path.into()],
            status,
        }),
        ..unchanged()
    })
}

pub fn missing_path_leaving() -> Decided {
    missing("/../secret.txt", 404)
}

pub fn missing_status_odd() -> Decided {
    missing("/file.txt", 302)
}

fn place(root: &str, directory: &str) -> Decided {
    proceed(Changes {
        place: Some(Place {
            root: root.into(),
            directory: directory.into(),
        }),
        ..unchanged()
    })
}

pub fn unknown_root() -> Decided {
    place("elsewhere", "/")
}

/// In the root that is there unless the operator names others.
pub fn directory_leaving() -> Decided {
    place("default", "/..")
}

pub fn fact_not_established() -> Decided {
    proceed(Changes {
        facts: vec![("user".into(), "root".into())],
        ..unchanged()
    })
}

pub fn sharing_not_granted() -> Decided {
    proceed(Changes {
        sharing: Sharing::Allowed,
        ..unchanged()
    })
}

pub fn pace_zero() -> Decided {
    proceed(Changes {
        pace: Some(0),
        ..unchanged()
    })
}
