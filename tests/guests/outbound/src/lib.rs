//! Does what the segments of the path say, and answers with what came of it:
//!
//! - `/http/TIMES?METHOD URL BYTES`: requests the URL so often, with a body of so many bytes, and tells status and body
//! - `/environment`: all variables and arguments
//! - `/files/OPERATION/NAME`: in the directory that it knows as `/data`: `read`, or one of the ways to change something
//! - `/directories`: the paths that it knows directories by
wit_bindgen::generate!({
    inline: "
        package wasmserve:guests;
        world outbound {
            include wasmserve:policy/policy@0.1.0;
            import wasi:http/outgoing-handler@0.2.12;
            import wasi:filesystem/types@0.2.12;
            import wasi:filesystem/preopens@0.2.12;
            import wasi:cli/environment@0.2.12;
        }
    ",
    path: ["../../../wit", "wit/cli", "wit/filesystem"],
    world: "wasmserve:guests/outbound",
    generate_all,
});

use exports::wasmserve::policy::guest::{Decision, Guest, Response, Sharing};
use wasi::{
    cli::environment,
    filesystem::{
        preopens,
        types::{DescriptorFlags, ErrorCode as FileError, OpenFlags, PathFlags},
    },
    http::{
        outgoing_handler,
        types::{ErrorCode, Fields, Method, OutgoingBody, OutgoingRequest, Scheme},
    },
    io::streams::StreamError,
};
use wasmserve::policy::request;

struct Outbound;

export!(Outbound);

impl Guest for Outbound {
    fn configure() -> Result<(), String> {
        Ok(())
    }

    fn decide() -> Result<Decision, String> {
        let path = request::path();
        let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let answer = match segments[..] {
            ["http", times] => {
                let query = request::query().unwrap_or_default().replace("%20", " ");
                let times: usize = times.parse().map_err(|_| "that is no number")?;
                let answers: Vec<String> = (0..times).map(|_| exchange(&query)).collect::<Result<_, _>>()?;
                answers.join("\n")
            }
            ["environment"] => format!(
                "{:?} {:?}",
                environment::get_environment(),
                environment::get_arguments()
            ),
            ["directories"] => preopens::get_directories()
                .into_iter()
                .map(|(_, name)| name + "\n")
                .collect(),
            ["files", operation, name] => files(operation, name)?,
            _ => return Err(format!("there is no operation {path:?}")),
        };
        Ok(Decision::Respond(Response {
            status: 200,
            headers: Vec::new(),
            body: answer.into_bytes(),
            sharing: Sharing::Derived,
        }))
    }
}

fn exchange(words: &str) -> Result<String, String> {
    let [method, url, bytes] = words.split(' ').collect::<Vec<_>>()[..] else {
        return Err(format!("{words:?} is not METHOD URL BYTES"));
    };
    let (scheme, rest) = url.split_once("://").ok_or("the URL has no scheme")?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let request = OutgoingRequest::new(Fields::new());
    let method = match method {
        "GET" => Method::Get,
        "POST" => Method::Post,
        "CONNECT" => Method::Connect,
        other => Method::Other(other.into()),
    };
    let scheme = if scheme == "https" { Scheme::Https } else { Scheme::Http };
    request.set_method(&method).map_err(|()| "the method")?;
    request.set_scheme(Some(&scheme)).map_err(|()| "the scheme")?;
    request.set_authority(Some(authority)).map_err(|()| "the authority")?;
    request.set_path_with_query(Some(path)).map_err(|()| "the path")?;
    let body = request.body().map_err(|()| "the body")?;
    let bytes: usize = bytes.parse().map_err(|_| "that is no number of bytes")?;
    Ok(match send(request, body, bytes) {
        Ok((status, body)) => format!("{status} {body}"),
        Err(error) => error,
    })
}

fn send(request: OutgoingRequest, body: OutgoingBody, bytes: usize) -> Result<(u16, String), String> {
    let told = |error: ErrorCode| format!("{error:?}");
    let future = outgoing_handler::handle(request, None).map_err(told)?;
    write(body, bytes);
    future.subscribe().block();
    let response = match future.get() {
        Some(Ok(response)) => response.map_err(told)?,
        _ => return Err("there is no response".into()),
    };
    let status = response.status();
    let body = response.consume().map_err(|()| "the body is taken")?;
    let stream = body.stream().map_err(|()| "the stream is taken")?;
    let mut received = Vec::new();
    loop {
        match stream.blocking_read(64 << 10) {
            Ok(bytes) => received.extend(bytes),
            Err(StreamError::Closed) => break,
            Err(StreamError::LastOperationFailed(error)) => {
                return Err(error.to_debug_string());
            }
        }
    }
    let body = match received.len() {
        0..=200 => String::from_utf8_lossy(&received).into_owned(),
        length => format!("{length} bytes"),
    };
    Ok((status, body))
}

/// As far as it goes: who refuses the request may not take its body.
fn write(body: OutgoingBody, bytes: usize) {
    if let Ok(stream) = body.write() {
        let chunk = [b'x'; 4096];
        let mut left = bytes;
        while left > 0 {
            let length = left.min(chunk.len());
            if stream.blocking_write_and_flush(&chunk[..length]).is_err() {
                break;
            }
            left -= length;
        }
    }
    let _ = OutgoingBody::finish(body, None);
}

fn files(operation: &str, name: &str) -> Result<String, String> {
    let directories = preopens::get_directories();
    let (data, _) = directories
        .iter()
        .find(|(_, path)| path == "/data")
        .ok_or("there is no /data")?;
    let (read, write) = (DescriptorFlags::READ, DescriptorFlags::WRITE);
    let open = |open: OpenFlags, flags: DescriptorFlags| data.open_at(PathFlags::SYMLINK_FOLLOW, name, open, flags);
    let none = OpenFlags::empty();
    Ok(match operation {
        "read" => match open(none, read).and_then(|file| file.read(1000, 0)) {
            Ok((bytes, _)) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) => format!("{error:?}"),
        },
        "create" => shown(open(OpenFlags::CREATE, read)),
        "create-to-write" => shown(open(OpenFlags::CREATE, read | write)),
        "truncate" => shown(open(OpenFlags::TRUNCATE, read)),
        "open-to-write" => shown(open(none, write)),
        "open-to-mutate" => {
            let opened = data.open_at(
                PathFlags::empty(),
                ".",
                OpenFlags::DIRECTORY,
                read | DescriptorFlags::MUTATE_DIRECTORY,
            );
            shown(opened.and_then(|directory| directory.create_directory_at("made")))
        }
        "write" => shown(open(none, read).and_then(|file| file.write(b"changed", 0))),
        "shorten" => shown(open(none, read).and_then(|file| file.set_size(0))),
        "make-directory" => shown(data.create_directory_at("made")),
        "remove-directory" => shown(data.remove_directory_at(name)),
        "rename" => shown(data.rename_at(name, data, "renamed")),
        "link" => shown(data.link_at(PathFlags::empty(), name, data, "linked")),
        "symlink" => shown(data.symlink_at(name, "symlinked")),
        "unlink" => shown(data.unlink_file_at(name)),
        "escape" => shown(data.open_at(PathFlags::SYMLINK_FOLLOW, &format!("../{name}"), none, read)),
        _ => return Err(format!("there is no operation {operation:?}")),
    })
}

fn shown<T>(result: Result<T, FileError>) -> String {
    match result {
        Ok(_) => "done".into(),
        Err(error) => format!("{error:?}"),
    }
}
