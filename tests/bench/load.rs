//! Clients: as fast as they can (wrk), at a fixed rate, downloading, or just there.
use rustix::{
    net::{RecvFlags, recv},
    process::{Resource, Rlimit, getrlimit, setrlimit},
};
use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};
use support::{PATIENCE, tool};

/// What a load came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Load {
    pub requests: f64,
    pub bytes: f64,
    pub seconds: f64,
}

/// Latencies in microseconds, sorted.
#[derive(Debug, Default)]
pub struct Latencies(Vec<u64>);

/// Raises the limit of open descriptors, which every server inherits, as far as the machine permits.
pub fn allow_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    if setrlimit(Resource::Nofile, raised).is_err() {
        eprintln!("the limit of open descriptors stays as it is");
    }
}

/// How many descriptors a process may have.
pub fn descriptors() -> usize {
    let limit = getrlimit(Resource::Nofile).current;
    limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

/// The most connections that can be open at once, of so many: a client and a server need a descriptor each, and some.
pub fn possible(connections: usize) -> usize {
    const SPARE: usize = 600;
    let limit = descriptors();
    let room = limit.saturating_sub(SPARE);
    if room < connections {
        eprintln!("a limit of {limit} descriptors leaves room for {room} connections instead of {connections}");
    }
    connections.min(room)
}

/// As fast as one thread of wrk can, over kept connections. `next`: Lua expressions for the next request's path, and
/// after a comma its fields, instead of always the same.
pub fn closed(
    address: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
    connections: usize,
    seconds: u64,
    next: Option<&str>,
) -> Result<Load, String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let url = format!("http://{address}{path}");
    let (connections, duration) = (connections.to_string(), format!("{seconds}s"));
    let mut arguments = vec!["-t1", "-c", &connections, "-d", &duration, "--timeout", "20s"];
    let fields: Vec<String> = headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    for field in &fields {
        arguments.extend(["-H", field]);
    }
    if let Some(next) = next {
        let script = format!("math.randomseed(7)\nrequest = function() return wrk.format(nil, {next}) end\n");
        std::fs::write(folder.path().join("next.lua"), script).map_err(|error| error.to_string())?;
        arguments.extend(["-s", "next.lua"]);
    }
    arguments.push(&url);
    let ran = tool::run(folder.path(), "wrk", arguments).success();
    let report = String::from_utf8_lossy(&ran.stdout).into_owned();
    if report.contains("Non-2xx") || report.contains("Socket errors") {
        return Err(format!("{url}: {report}"));
    }
    read_report(&report).ok_or_else(|| format!("wrk's report is not understood: {report}"))
}

/// The line `  123456 requests in 3.00s, 145.00MB read`.
fn read_report(report: &str) -> Option<Load> {
    let line = report.lines().find(|line| line.contains(" requests in "))?;
    let (requests, rest) = line.trim().split_once(" requests in ")?;
    let (time, read) = rest.split_once(", ")?;
    let seconds = match time.strip_suffix('m') {
        Some(minutes) => minutes.parse::<f64>().ok()? * 60.0,
        None => time.strip_suffix('s')?.parse().ok()?,
    };
    Some(Load {
        requests: requests.parse().ok()?,
        bytes: size(read.strip_suffix(" read")?)?,
        seconds,
    })
}

/// wrk's sizes: `12.34GB`, in powers of 1024.
fn size(text: &str) -> Option<f64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match &text[digits.len()..] {
        "B" => 1_u64,
        "KB" => 1 << 10,
        "MB" => 1 << 20,
        "GB" => 1 << 30,
        "TB" => 1 << 40,
        _ => return None,
    };
    Some(digits.parse::<f64>().ok()? * factor as f64)
}

/// `rate` requests a second in all, each at its time whatever became of those before it, over kept connections. A latency
/// counts from the time at which its request was due, so that a stall is felt by every request that fell into it.
pub fn at_rate(
    address: SocketAddr,
    path: &str,
    rate: u64,
    connections: u64,
    duration: Duration,
) -> io::Result<Latencies> {
    let begin = Instant::now() + Duration::from_millis(50);
    let all = thread::scope(|scope| {
        let clients: Vec<_> = (0..connections)
            .map(|client| {
                scope.spawn(move || {
                    let mut connection = Client::open(address)?;
                    let mut latencies = Vec::new();
                    let mut number = client;
                    loop {
                        let due = begin + Duration::from_nanos(number * 1_000_000_000 / rate);
                        if due >= begin + duration {
                            return Ok(latencies);
                        }
                        thread::sleep(due.saturating_duration_since(Instant::now()));
                        connection.get(path)?;
                        latencies.push(u64::try_from(due.elapsed().as_micros()).unwrap_or(u64::MAX));
                        number += connections;
                    }
                })
            })
            .collect();
        clients
            .into_iter()
            .map(|client| client.join().expect("a client does not panic"))
            .collect::<io::Result<Vec<Vec<u64>>>>()
    })?;
    let mut latencies = all.concat();
    latencies.sort_unstable();
    Ok(Latencies(latencies))
}

impl Latencies {
    /// The latency that a share of the requests did not exceed, in microseconds.
    pub fn quantile(&self, share: f64) -> f64 {
        let last = self.0.len().saturating_sub(1);
        let at = (last as f64 * share).round() as usize;
        self.0.get(at).copied().unwrap_or_default() as f64
    }
}

/// `clients` download a file once each, all at once. The time is that of the last.
pub fn downloads(address: SocketAddr, path: &str, clients: usize) -> io::Result<Load> {
    let begin = Instant::now();
    let bytes = thread::scope(|scope| {
        let clients: Vec<_> = (0..clients)
            .map(|_| scope.spawn(|| Client::open(address)?.get(path)))
            .collect();
        clients
            .into_iter()
            .map(|client| client.join().expect("a client does not panic"))
            .sum::<io::Result<u64>>()
    })?;
    Ok(Load {
        requests: clients as f64,
        bytes: bytes as f64,
        seconds: begin.elapsed().as_secs_f64(),
    })
}

/// Downloads again and again with so many clients until `stop`, while `during` runs.
pub fn beside<T>(address: SocketAddr, path: &str, clients: usize, during: impl FnOnce() -> T) -> T {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..clients {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    if Client::open(address)
                        .and_then(|mut client| client.get_until(path, &stop))
                        .is_err()
                    {
                        thread::sleep(Duration::from_millis(10));
                    }
                }
            });
        }
        thread::sleep(Duration::from_millis(300));
        let outcome = during();
        stop.store(true, Ordering::Relaxed);
        outcome
    })
}

/// Opens connections that have had one answer each and then are just there.
pub fn idle(address: SocketAddr, path: &str, connections: usize) -> io::Result<Vec<TcpStream>> {
    (0..connections)
        .map(|_| {
            let mut client = Client::open(address)?;
            client.get(path)?;
            Ok(client.stream)
        })
        .collect()
}

/// The body of one answer.
pub fn body(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> io::Result<Vec<u8>> {
    let mut client = Client::open(address)?;
    let length = client.ask(path, headers)?;
    let mut body = std::mem::take(&mut client.buffered);
    body.resize(usize::try_from(length).unwrap_or(usize::MAX).min(body.len()), 0);
    let rest = length - body.len() as u64;
    client.stream.take(rest).read_to_end(&mut body)?;
    Ok(body)
}

/// Waits until a server accepts connections.
pub fn listens(address: SocketAddr) -> bool {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if TcpStream::connect(address).is_ok() {
            return true;
        }
        thread::sleep(Duration::from_millis(1));
    }
    false
}

/// A port of loopback that was free just now.
pub fn free_port() -> io::Result<SocketAddr> {
    std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()
}

/// A kept connection whose bodies are thrown away.
struct Client {
    stream: TcpStream,
    /// What came behind the last head.
    buffered: Vec<u8>,
}

impl Client {
    fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self {
            stream,
            buffered: Vec::new(),
        })
    }

    /// The bytes of the body.
    fn get(&mut self, path: &str) -> io::Result<u64> {
        self.get_until(path, &AtomicBool::new(false))
    }

    fn get_until(&mut self, path: &str, stop: &AtomicBool) -> io::Result<u64> {
        let length = self.ask(path, &[])?;
        let mut left = length - (self.buffered.len() as u64).min(length);
        self.buffered.clear();
        // Thrown away in the kernel: a client that copied would be the slower half of the measurement.
        let mut space = vec![0; 1 << 20];
        while left > 0 && !stop.load(Ordering::Relaxed) {
            let wanted = space.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let (_, count) = recv(&self.stream, &mut space[..wanted], RecvFlags::TRUNC)?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            left -= count as u64;
        }
        Ok(length - left)
    }

    /// Sends a request, reads the head of its answer, and gives the length of the body.
    fn ask(&mut self, path: &str, headers: &[(&str, &str)]) -> io::Result<u64> {
        let mut request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n");
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        self.stream.write_all(request.as_bytes())?;
        let mut bytes = Vec::with_capacity(4096);
        let mut space = [0; 4096];
        let end = loop {
            if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            let count = self.stream.read(&mut space)?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            bytes.extend_from_slice(&space[..count]);
        };
        self.buffered = bytes.split_off(end);
        let head = String::from_utf8_lossy(&bytes).to_ascii_lowercase();
        if !head.starts_with("http/1.1 200") {
            return Err(io::Error::other(format!("{path}: {head}")));
        }
        head.lines()
            .find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok())
            .ok_or_else(|| io::Error::other(format!("{path}: no Content-Length: {head}")))
    }
}

/// Compiles the floor: an epoll loop that answers a constant.
pub fn compile(source: &Path, binary: &Path) -> Result<(), String> {
    tool::run(
        Path::new("."),
        "cc",
        ["-O2".as_ref(), "-o".as_ref(), binary.as_os_str(), source.as_os_str()],
    )
    .success();
    Ok(())
}
