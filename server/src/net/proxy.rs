//! The PROXY protocol, versions 1 and 2: a proxy's first bytes say whose connection it hands on.
//!
//! <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>. The order of events: [`read`] takes exactly the header's
//! bytes off the connection, and nothing of what follows; [`parse`] says what they are. Whose word is taken is the
//! listener's business.

use rustix::net::{RecvFlags, recv};
use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::AsFd,
};
use tokio::io::Interest;

/// The longest line of version 1 with its end (section 2.1).
const LONGEST_LINE: usize = 107;

/// How version 2 begins (section 2.2).
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// Its fixed part: the signature, version and command, family, length of the rest.
const FIXED: usize = 16;

/// The longest header: addresses take 36 or 216 bytes, and what some proxies add to them hundreds.
const LONGEST: usize = FIXED + 2048;

/// Whom a connection is handed on for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// The proxy itself, which looks whether the server is there (`LOCAL`).
    Proxy,
    /// The proxy does not say (`UNKNOWN`), or it is a Unix socket's.
    Unknown,
    Known(IpAddr),
}

/// How far the bytes so far go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// All of them belong to the header, and more will come.
    More,
    /// The header is so long.
    Whole(Client, usize),
}

/// What is no header of this protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("there is no PROXY header")]
    NoHeader,
    #[error("the line of the PROXY header is malformed")]
    Line,
    #[error("the PROXY header has an unknown version or command")]
    Command,
    #[error("the PROXY header has no room for its addresses")]
    Addresses,
    #[error("the PROXY header is longer than {LONGEST} bytes")]
    TooLong,
}

/// Says what a header's first bytes are.
///
/// # Errors
/// When no bytes that may follow make a header of them.
pub fn parse(bytes: &[u8]) -> Result<Progress, Malformed> {
    const LINE: &[u8] = b"PROXY ";
    let begins = |with: &[u8]| bytes.iter().zip(with).all(|(a, b)| a == b);
    if begins(SIGNATURE) {
        if bytes.len() < FIXED {
            return Ok(Progress::More);
        }
        parse_binary(bytes)
    } else if begins(LINE) {
        parse_line(bytes)
    } else {
        Err(Malformed::NoHeader)
    }
}

fn parse_line(bytes: &[u8]) -> Result<Progress, Malformed> {
    let Some(end) = bytes.iter().take(LONGEST_LINE).position(|byte| *byte == b'\n') else {
        return match bytes.len() {
            0..LONGEST_LINE => Ok(Progress::More),
            _ => Err(Malformed::Line),
        };
    };
    let line = bytes[..end].strip_suffix(b"\r").ok_or(Malformed::Line)?;
    let line = std::str::from_utf8(line).map_err(|_| Malformed::Line)?;
    let mut words = line.split(' ').skip(1);
    let client = match words.next() {
        // What follows is to be ignored.
        Some("UNKNOWN") => Client::Unknown,
        Some("TCP4") => addresses::<Ipv4Addr>(words)?,
        Some("TCP6") => addresses::<Ipv6Addr>(words)?,
        _ => return Err(Malformed::Line),
    };
    Ok(Progress::Whole(client, end + 1))
}

/// The source of `SOURCE DESTINATION PORT PORT`.
fn addresses<'a, A: std::str::FromStr + Into<IpAddr>>(
    mut words: impl Iterator<Item = &'a str>,
) -> Result<Client, Malformed> {
    let mut address = || {
        words
            .next()
            .and_then(|word| word.parse::<A>().ok())
            .ok_or(Malformed::Line)
    };
    let (source, _) = (address()?, address()?);
    let mut port = || {
        let digits = words
            .next()
            .filter(|word| word.bytes().all(|byte| byte.is_ascii_digit()));
        digits.and_then(|word| word.parse::<u16>().ok()).ok_or(Malformed::Line)
    };
    let _ = (port()?, port()?);
    match words.next() {
        None => Ok(Client::Known(source.into().to_canonical())),
        Some(_) => Err(Malformed::Line),
    }
}

fn parse_binary(bytes: &[u8]) -> Result<Progress, Malformed> {
    let length = FIXED + usize::from(u16::from_be_bytes([bytes[14], bytes[15]]));
    if length > LONGEST {
        return Err(Malformed::TooLong);
    }
    let (version, command) = (bytes[12] >> 4, bytes[12] & 0xF);
    if version != 2 || command > 1 {
        return Err(Malformed::Command);
    }
    let Some(rest) = bytes.get(FIXED..length) else {
        return Ok(Progress::More);
    };
    // The high half says which addresses, the low one which transport.
    let client = match (command, bytes[13] >> 4) {
        (0, _) => Client::Proxy,
        (_, 1) => known::<4>(rest, 12)?,
        (_, 2) => known::<16>(rest, 36)?,
        _ => Client::Unknown,
    };
    Ok(Progress::Whole(client, length))
}

/// The address that `rest` begins with, when there is room for all addresses and ports of its kind.
fn known<const N: usize>(rest: &[u8], room: usize) -> Result<Client, Malformed>
where
    IpAddr: From<[u8; N]>,
{
    let source = rest.get(..room).and_then(|addresses| addresses.first_chunk::<N>());
    let source = source.ok_or(Malformed::Addresses)?;
    Ok(Client::Known(IpAddr::from(*source).to_canonical()))
}

/// A socket of tokio that waits until it can be read from.
pub trait Peek: AsFd + Sync {
    /// Runs `read` until it does not fail with `WouldBlock`.
    fn when_readable<T: Send>(
        &self,
        read: impl FnMut() -> io::Result<T> + Send,
    ) -> impl Future<Output = io::Result<T>> + Send;
}

impl Peek for tokio::net::TcpStream {
    async fn when_readable<T: Send>(&self, read: impl FnMut() -> io::Result<T> + Send) -> io::Result<T> {
        self.async_io(Interest::READABLE, read).await
    }
}

impl Peek for tokio::net::UnixStream {
    async fn when_readable<T: Send>(&self, read: impl FnMut() -> io::Result<T> + Send) -> io::Result<T> {
        self.async_io(Interest::READABLE, read).await
    }
}

/// Takes the header off a connection. How long that may take is the caller's business.
///
/// # Errors
/// When the connection ends, or does not begin with a header.
pub async fn read(socket: &impl Peek) -> io::Result<Client> {
    let mut bytes = [0; LONGEST];
    let mut taken = 0;
    loop {
        // Looked at first: all that is not the whole header yet is part of it, and is taken; what follows it stays.
        let seen = receive(socket, &mut bytes[taken..], RecvFlags::PEEK).await?;
        let progress = parse(&bytes[..taken + seen]).map_err(invalid)?;
        let ours = match progress {
            Progress::Whole(_, length) => length - taken,
            Progress::More => seen,
        };
        taken += receive(socket, &mut bytes[taken..taken + ours], RecvFlags::empty()).await?;
        if let Progress::Whole(client, length) = progress
            && taken == length
        {
            return Ok(client);
        }
    }
}

async fn receive(socket: &impl Peek, room: &mut [u8], flags: RecvFlags) -> io::Result<usize> {
    let received = socket.when_readable(|| Ok(recv(socket, &mut *room, flags)?.0)).await?;
    match received {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        count => Ok(count),
    }
}

fn invalid(malformed: Malformed) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::UnixStream,
    };

    fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).expect("short").to_be_bytes();
        [&SIGNATURE[..], &[0x20 | command, family], &length, rest].concat()
    }

    fn v4(rest: &[u8]) -> Vec<u8> {
        binary(1, 0x11, &[&[192, 0, 2, 7, 127, 0, 0, 1, 1, 2, 3, 4], rest].concat())
    }

    fn known(text: &str) -> Client {
        Client::Known(text.parse().expect("an address"))
    }

    fn headers() -> Vec<(Vec<u8>, Client)> {
        let v6: [u8; 16] = "2001:db8::7".parse::<Ipv6Addr>().expect("an address").octets();
        let mapped: [u8; 16] = "::ffff:192.0.2.7".parse::<Ipv6Addr>().expect("an address").octets();
        let tail = [0; 20];
        vec![
            (
                b"PROXY TCP4 192.0.2.7 127.0.0.1 1 65535\r\n".to_vec(),
                known("192.0.2.7"),
            ),
            (b"PROXY TCP6 2001:db8::7 ::1 1 2\r\n".to_vec(), known("2001:db8::7")),
            (b"PROXY TCP6 ::ffff:192.0.2.7 ::1 1 2\r\n".to_vec(), known("192.0.2.7")),
            (b"PROXY UNKNOWN\r\n".to_vec(), Client::Unknown),
            (b"PROXY UNKNOWN what ever follows\r\n".to_vec(), Client::Unknown),
            (v4(b""), known("192.0.2.7")),
            (v4(b"\x03\0\x04abcd"), known("192.0.2.7")),
            (binary(1, 0x21, &[&v6[..], &tail].concat()), known("2001:db8::7")),
            (binary(1, 0x21, &[&mapped[..], &tail].concat()), known("192.0.2.7")),
            (binary(1, 0x31, &[0; 216]), Client::Unknown),
            (binary(1, 0, b""), Client::Unknown),
            (binary(0, 0, b""), Client::Proxy),
            (binary(0, 0x11, &[9; 12]), Client::Proxy),
        ]
    }

    #[test]
    fn every_header_is_read_whatever_follows_and_however_much_has_come() {
        for (header, client) in headers() {
            for length in 0..header.len() {
                assert_eq!(
                    parse(&header[..length]),
                    Ok(Progress::More),
                    "{length} bytes of {header:?}"
                );
            }
            for follows in [&b""[..], b"GET / HTTP/1.1\r\n", b"\n", b"\r\n\r\n\0"] {
                let bytes = [&header[..], follows].concat();
                assert_eq!(parse(&bytes), Ok(Progress::Whole(client, header.len())), "{header:?}");
            }
        }
    }

    #[test]
    fn what_is_malformed_is_told_as_early_as_it_is_seen() {
        let long = [b"PROXY UNKNOWN ".to_vec(), vec![b'x'; 100]].concat();
        for (bytes, expected) in [
            (&b"GET / HTTP/1.1\r\n"[..], Malformed::NoHeader),
            (b"\x16\x03\x01", Malformed::NoHeader),
            (b"PROXX", Malformed::NoHeader),
            (b"\r\n\r\n\0\r\nQUIX", Malformed::NoHeader),
            (b"PROXY TCP4 192.0.2.7 127.0.0.1 1 2\n", Malformed::Line),
            (b"PROXY TCP4 192.0.2.7 127.0.0.1 1\r\n", Malformed::Line),
            (b"PROXY TCP4 192.0.2.7 127.0.0.1 1 2 3\r\n", Malformed::Line),
            (b"PROXY TCP4 192.0.2.7 127.0.0.1 1 65536\r\n", Malformed::Line),
            (b"PROXY TCP4 192.0.2.7 127.0.0.1 +1 2\r\n", Malformed::Line),
            (b"PROXY TCP4 ::1 ::1 1 2\r\n", Malformed::Line),
            (b"PROXY TCP4 192.0.2.07 127.0.0.1 1 2\r\n", Malformed::Line),
            (b"PROXY  TCP4 192.0.2.7 127.0.0.1 1 2\r\n", Malformed::Line),
            (b"PROXY UDP4 192.0.2.7 127.0.0.1 1 2\r\n", Malformed::Line),
            (b"PROXY \r\n", Malformed::Line),
            (b"PROXY TCP4 \xff\r\n", Malformed::Line),
            (&long, Malformed::Line),
            (&binary(2, 0x11, &[0; 12]), Malformed::Command),
            (&[&SIGNATURE[..], &[0x11, 0x11, 0, 12]].concat(), Malformed::Command),
            (&binary(1, 0x11, &[0; 11]), Malformed::Addresses),
            (&binary(1, 0x21, &[0; 35]), Malformed::Addresses),
            (
                &[&SIGNATURE[..], &[0x21, 0x11, 0xff, 0xff]].concat(),
                Malformed::TooLong,
            ),
        ] {
            assert_eq!(parse(bytes), Err(expected), "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    /// Whatever comes, in whatever pieces: the same is read, and what follows is left.
    #[tokio::test]
    async fn a_connection_gives_its_header_and_keeps_the_rest() {
        for (header, client) in headers() {
            for piece in [1, 7, 4096] {
                let (ours, mut theirs) = UnixStream::pair().expect("a pair");
                let bytes = [&header[..], b"GET /"].concat();
                let sending = tokio::spawn(async move {
                    for piece in bytes.chunks(piece) {
                        theirs.write_all(piece).await.expect("it is read");
                        tokio::task::yield_now().await;
                    }
                    theirs.shutdown().await.expect("it is open");
                });
                assert_eq!(read(&ours).await.expect("a header"), client, "{header:?}");
                sending.await.expect("no panic");
                let (mut rest, mut ours) = (Vec::new(), ours);
                ours.read_to_end(&mut rest).await.expect("it is open");
                assert_eq!(rest, b"GET /", "{header:?}");
            }
        }
        for bytes in [&b"PROXY TCP4 192.0"[..], b"GET / HTTP/1.1\r\n\r\n", b""] {
            let (ours, mut theirs) = UnixStream::pair().expect("a pair");
            theirs.write_all(bytes).await.expect("there is room");
            drop(theirs);
            assert!(read(&ours).await.is_err());
        }
    }

    /// Headers with some bytes changed, at random: never a panic, never a header longer than what came, and the same said
    /// of all that begins alike.
    #[test]
    fn damaged_headers_are_told_the_same_from_every_prefix_on() {
        let mut state = 0x2545_F491_4F6C_DD1D_u64;
        let mut random = |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state % below as u64).expect("small")
        };
        let headers = headers();
        for _ in 0..20_000 {
            let mut bytes = headers[random(headers.len())].0.clone();
            for _ in 0..=random(3) {
                let place = random(bytes.len());
                bytes[place] = u8::try_from(random(256)).expect("a byte");
            }
            let whole = parse(&bytes);
            if let Ok(Progress::Whole(_, length)) = whole {
                assert!(length <= bytes.len());
                assert_eq!(parse(&bytes[..length]), whole);
            }
            for length in 0..bytes.len() {
                match parse(&bytes[..length]) {
                    Ok(Progress::More) => {}
                    decided => {
                        assert_eq!(decided, whole, "{length} of {bytes:?}");
                        break;
                    }
                }
            }
        }
    }
}
