//! Connections that are not served: what they are told.

use super::listener::Security;
use rustix::io::Errno;
use std::{
    io,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::timeout,
};

/// What a client is answered that has too many connections, whatever it asks (RFC 6585, section 4).
const TOO_MANY: &[u8] = b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nConnection: close\r\n\
    Cache-Control: no-store\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 22\r\n\r\n429 Too Many Requests\n";

/// How long a connection is kept for its client to read that.
const LINGER: Duration = Duration::from_secs(1);

/// Connections that are kept so at once: further ones are closed without a word.
const LINGERING: usize = 64;
static NOW: AtomicUsize = AtomicUsize::new(0);

/// Bytes of a request that are read and thrown away.
const DISCARDED: usize = 16 * 1024;

/// Ends a connection of a client that has too many. Without TLS it is told so; a handshake would cost more than what it is
/// refused.
pub async fn turn_away(mut stream: impl AsyncRead + AsyncWrite + Unpin, security: Security) {
    if security == Security::Tls {
        return;
    }
    let lingering = Lingering::begin();
    if lingering.is_some() {
        // Its end is as good as an answer that is read: nobody waits for either.
        let _ = timeout(LINGER, tell(&mut stream)).await;
    }
}

async fn tell(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<()> {
    stream.write_all(TOO_MANY).await?;
    stream.shutdown().await?;
    // Closing before the request is read would destroy the answer (RFC 9112, section 9.6).
    let (mut scratch, mut read) = ([0; 4096], 0);
    while read < DISCARDED {
        match stream.read(&mut scratch).await? {
            0 => return Ok(()),
            count => read += count,
        }
    }
    Err(Errno::TOOBIG.into())
}

/// One of the connections that are kept for their answer to be read.
struct Lingering;

impl Lingering {
    fn begin() -> Option<Self> {
        let lingering = Self;
        (NOW.fetch_add(1, Relaxed) < LINGERING).then_some(lingering)
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        NOW.fetch_sub(1, Relaxed);
    }
}
