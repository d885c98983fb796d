//! An HTTP/1.1 client that hides nothing: it sends the bytes it is given and shows the bytes that came.
use crate::PATIENCE;
use rustix::net::{self, AddressFamily, SocketType};
use std::{
    fmt,
    io::{self, Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream},
    time::Duration,
};

/// Header fields of a request: names and values.
pub type Fields<'a> = &'a [(&'a str, &'a str)];

/// One connection.
pub struct Connection {
    stream: TcpStream,
    /// Received and not yet taken.
    buffer: Vec<u8>,
}

/// A response as it came.
#[derive(Clone)]
pub struct Response {
    pub status: u16,
    /// In the order and spelling received.
    pub headers: Vec<(String, String)>,
    /// Without chunk framing.
    pub body: Vec<u8>,
    /// The head as it came, blank line included.
    pub head: Vec<u8>,
}

impl Connection {
    pub fn open(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).expect("the server listens"))
    }

    /// The same, where the server may refuse.
    ///
    /// # Errors
    /// When the connection is not made.
    pub fn try_open(address: SocketAddr) -> io::Result<Self> {
        Ok(Self::over(TcpStream::connect(address)?))
    }

    /// From an address of its own: on loopback, all of 127.0.0.0/8 are this machine's.
    pub fn open_from(source: Ipv4Addr, address: SocketAddr) -> Self {
        let socket = net::socket(AddressFamily::INET, SocketType::STREAM, None).expect("sockets can be made");
        net::bind(&socket, &SocketAddr::from((source, 0))).expect("the address is this machine's");
        net::connect(&socket, &address).expect("the server listens");
        Self::over(socket.into())
    }

    fn over(stream: TcpStream) -> Self {
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("a timeout that is not zero is valid");
        stream
            .set_write_timeout(Some(PATIENCE))
            .expect("a timeout that is not zero is valid");
        stream.set_nodelay(true).expect("TCP sockets have the option");
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    /// The socket alone, for one that is only to be there.
    pub fn into_stream(self) -> TcpStream {
        self.stream
    }

    /// Sends these very bytes.
    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).expect("the server reads");
    }

    /// Sends these very bytes, which the server may refuse to read.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// Says that nothing more will be sent, and goes on reading.
    pub fn finish_sending(&mut self) {
        // The server may have closed already: then there is nothing to say.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Sends a request without a body and reads its response.
    #[track_caller]
    pub fn request(&mut self, method: &str, target: &str, headers: Fields<'_>) -> Response {
        self.send(request_head(method, target, headers));
        self.response_to(method)
    }

    /// Reads the final response to a request by this method; panics when there is none or its framing is wrong.
    #[track_caller]
    pub fn response_to(&mut self, method: &str) -> Response {
        match self.try_response_to(method) {
            Ok(response) => response,
            Err(error) => panic!("no complete response: {error}"),
        }
    }

    /// Reads the final response to a request by this method.
    ///
    /// # Errors
    /// UnexpectedEof when the connection ended before the response did, InvalidData when the response is not HTTP.
    pub fn try_response_to(&mut self, method: &str) -> io::Result<Response> {
        loop {
            let mut response = self.try_head()?;
            if (100..200).contains(&response.status) {
                continue;
            }
            // RFC 9112, section 6.3.
            response.body = if method == "HEAD" || matches!(response.status, 204 | 304) {
                Vec::new()
            } else if response.header("transfer-encoding").is_some() {
                self.chunks()?
            } else if let Some(length) = response.header("content-length") {
                let length = length.parse().map_err(|_| invalid("Content-Length is no number"))?;
                self.take(length)?
            } else {
                let mut rest = std::mem::take(&mut self.buffer);
                self.stream.read_to_end(&mut rest)?;
                rest
            };
            return Ok(response);
        }
    }

    /// Reads one head, interim ones included, and leaves what follows it unread.
    pub fn try_head(&mut self) -> io::Result<Response> {
        let end = loop {
            if let Some(at) = self.buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                break at + 4;
            }
            self.receive()?;
        };
        let head: Vec<u8> = self.buffer.drain(..end).collect();
        parse(head)
    }

    /// Takes exactly this many bytes of what comes.
    pub fn take(&mut self, length: usize) -> io::Result<Vec<u8>> {
        let mut taken = std::mem::take(&mut self.buffer);
        if taken.len() > length {
            self.buffer = taken.split_off(length);
        }
        let have = taken.len();
        taken.resize(length, 0);
        self.stream.read_exact(&mut taken[have..])?;
        Ok(taken)
    }

    /// Everything that comes until the server ends the connection. A reset ends it as well.
    pub fn rest(&mut self) -> Vec<u8> {
        loop {
            match self.receive() {
                Ok(()) => {}
                Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    panic!("the server keeps the connection open")
                }
                Err(_) => return std::mem::take(&mut self.buffer),
            }
        }
    }

    /// Counts what comes until the server ends the connection, without keeping it.
    pub fn count_rest(&mut self) -> u64 {
        let mut chunk = vec![0; 256 << 10];
        let mut count = std::mem::take(&mut self.buffer).len() as u64;
        // A reset ends it as well: the count tells whether anything is missing.
        while let Ok(read @ 1..) = self.stream.read(&mut chunk) {
            count += read as u64;
        }
        count
    }

    /// Whether nothing comes for a while although the connection is open.
    pub fn is_silent_for(&mut self, while_: Duration) -> bool {
        self.stream
            .set_read_timeout(Some(while_))
            .expect("a timeout that is not zero is valid");
        let result = self.receive();
        self.stream
            .set_read_timeout(Some(PATIENCE))
            .expect("a timeout that is not zero is valid");
        matches!(result, Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut))
    }

    /// Whether the server has ended the connection, or does so in time, without sending anything more.
    pub fn is_ended(&mut self) -> bool {
        self.buffer.is_empty()
            && self
                .receive()
                .is_err_and(|e| !matches!(e.kind(), io::ErrorKind::WouldBlock))
    }

    fn receive(&mut self) -> io::Result<()> {
        let mut chunk = [0; 64 << 10];
        match self.stream.read(&mut chunk)? {
            0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the connection ended")),
            n => {
                self.buffer.extend_from_slice(&chunk[..n]);
                Ok(())
            }
        }
    }

    fn line(&mut self) -> io::Result<String> {
        let end = loop {
            if let Some(at) = self.buffer.windows(2).position(|w| w == b"\r\n") {
                break at;
            }
            self.receive()?;
        };
        let line: Vec<u8> = self.buffer.drain(..end + 2).take(end).collect();
        String::from_utf8(line).map_err(|_| invalid("a line is not UTF-8"))
    }

    /// A chunked body (RFC 9112, section 7.1), trailers dropped.
    fn chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.line()?;
            let size = line.split(';').next().unwrap_or_default();
            let size = usize::from_str_radix(size, 16).map_err(|_| invalid("a chunk size is no number"))?;
            if size == 0 {
                while !self.line()?.is_empty() {}
                return Ok(body);
            }
            body.extend(self.take(size)?);
            if self.take(2)? != b"\r\n" {
                return Err(invalid("a chunk is longer than its size"));
            }
        }
    }
}

/// What these very bytes lead to, until the server ends the connection.
pub fn exchange(mut stream: impl Read + Write, bytes: &[u8]) -> String {
    // A server that refuses early may close before everything is sent.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// A request without a body, with a Host field unless one is among the headers.
pub fn request_head(method: &str, target: &str, headers: Fields<'_>) -> Vec<u8> {
    let mut head = format!("{method} {target} HTTP/1.1\r\n");
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        head.push_str("Host: localhost\r\n");
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    head.into_bytes()
}

/// Strict: what a lenient reading would forgive is a fault of the server.
fn parse(head: Vec<u8>) -> io::Result<Response> {
    let text = std::str::from_utf8(&head).map_err(|_| invalid("the head is not UTF-8"))?;
    let mut lines = text.trim_end_matches("\r\n").split("\r\n");
    let status_line = lines.next().unwrap_or_default();
    let rest = status_line
        .strip_prefix("HTTP/1.1 ")
        .ok_or_else(|| invalid("the status line is not HTTP/1.1's"))?;
    let status = rest
        .get(..3)
        .and_then(|s| s.parse().ok())
        .ok_or_else(|| invalid("the status is no number"))?;
    let mut headers = Vec::new();
    for line in lines {
        let (name, value) = line
            .split_once(':')
            .ok_or_else(|| invalid("a header line has no colon"))?;
        let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        if name.is_empty() || !name.chars().all(token) || value.contains(['\r', '\n', '\0']) {
            return Err(invalid("a header field is malformed"));
        }
        headers.push((name.to_owned(), value.trim_matches([' ', '\t']).to_owned()));
    }
    Ok(Response {
        status,
        headers,
        body: Vec::new(),
        head,
    })
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

// === impl Response ===

impl Response {
    /// The value of a field that is there at most once.
    #[track_caller]
    pub fn header(&self, name: &str) -> Option<&str> {
        let values = self.header_values(name);
        assert!(values.len() <= 1, "{name} is there {} times:\n{self:?}", values.len());
        values.first().copied()
    }

    /// Every value of a field, in order.
    pub fn header_values(&self, name: &str) -> Vec<&str> {
        self.headers
            .iter()
            .filter(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.as_str())
            .collect()
    }

    /// The members of a list-valued field over all its lines, in lower case.
    pub fn members(&self, name: &str) -> Vec<String> {
        let values = self.header_values(name);
        values
            .iter()
            .flat_map(|v| v.split(','))
            .map(|m| m.trim().to_ascii_lowercase())
            .collect()
    }

    /// The body as text.
    #[track_caller]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is text")
    }

    /// Where Location leads from a path, as a browser reads it (RFC 3986, section 5.2). Panics where it could be read as
    /// another host's.
    #[track_caller]
    pub fn leads_to(&self, from: &str) -> String {
        let location = self.header("location").expect("a redirect has a Location");
        let elsewhere = location.starts_with("//") || location.starts_with("/\\");
        assert!(!elsewhere, "leads to another host: {location}");
        let first_segment = location.split('/').next().unwrap_or_default();
        assert!(!first_segment.contains(':'), "would be read as a scheme: {location}");
        if location.starts_with('/') {
            return location.to_owned();
        }
        let folder = &from[..=from.rfind('/').expect("a path has a slash")];
        format!("{folder}{}", location.strip_prefix("./").unwrap_or(location))
    }

    /// The fields without those that differ from one answer to the next.
    pub fn stable_headers(&self) -> Vec<(String, String)> {
        let mut headers: Vec<_> = self
            .headers
            .iter()
            .map(|(n, v)| (n.to_ascii_lowercase(), v.clone()))
            .filter(|(n, _)| n != "date")
            .collect();
        headers.sort();
        headers
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.body[..self.body.len().min(400)];
        let head = String::from_utf8_lossy(&self.head);
        write!(
            f,
            "{head}{} ({} bytes of body)",
            String::from_utf8_lossy(shown),
            self.body.len()
        )
    }
}
