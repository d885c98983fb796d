//! A socket that tells its connection's [`Activity`] what it sees, and closes without destroying the last response.

use super::activity::Activity;
use bytes::{Buf, Bytes};
use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};
use std::{
    future::poll_fn,
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

/// A stream under hyper.
pub struct Watched<I> {
    inner: I,
    activity: Arc<Activity>,
    closing: Closing,
    incoming: Incoming,
    /// Bytes that came in and are still to be read.
    ahead: Bytes,
    /// Whether bytes are offered that the client has not taken, as the activity knows.
    offered: bool,
}

/// What bytes that come in mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Incoming {
    /// With nothing under way, the head of the next request.
    Head,
    /// Frames of any kind: those of HTTP/2.
    Frames,
}

/// What is left to do when hyper is done with the connection.
enum Closing {
    /// Close the writing half.
    Shutdown,
    /// Read so many more bytes and throw them away.
    Linger(usize),
}

/// Bytes that a client may still send after the last response: what a socket's buffers hold, and some.
const LINGER_BYTES: usize = 1 << 20;

/// As much is read at once of what ends a connection's rest: most heads.
const AT_REST: usize = 4 * 1024;

impl<I> Watched<I> {
    /// A connection that carries one exchange after the other: HTTP/1.1.
    pub fn new(inner: I, activity: Arc<Activity>) -> Self {
        Self::of(inner, activity, Incoming::Head)
    }

    /// A connection that carries several at a time: HTTP/2.
    pub fn multiplexed(inner: I, activity: Arc<Activity>) -> Self {
        Self::of(inner, activity, Incoming::Frames)
    }

    fn of(inner: I, activity: Arc<Activity>, incoming: Incoming) -> Self {
        Self {
            inner,
            activity,
            closing: Closing::Shutdown,
            incoming,
            ahead: Bytes::new(),
            offered: false,
        }
    }

    /// Bytes that were read and not used: they are read again, first.
    pub fn put_back(&mut self, bytes: Bytes) {
        self.ahead = bytes;
    }
}

impl<I: Read + Unpin> Watched<I> {
    /// Ends when there is something to read: bytes, an end, or an error, which whoever reads next is told again.
    pub async fn arrival(&mut self) {
        if self.ahead.has_remaining() {
            return;
        }
        poll_fn(|context| {
            let mut space = [0; AT_REST];
            let mut buf = ReadBuf::new(&mut space);
            let read = ready!(Pin::new(&mut *self).poll_read(context, buf.unfilled()));
            if read.is_ok() {
                self.ahead = Bytes::copy_from_slice(buf.filled());
            }
            Poll::Ready(())
        })
        .await;
    }
}

impl<I> Watched<I> {
    fn note<T>(&mut self, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match &written {
            Poll::Ready(Ok(_)) if self.offered => {
                self.offered = false;
                self.activity.sent();
            }
            Poll::Ready(_) => {}
            Poll::Pending => {
                self.offered = true;
                self.activity.blocked();
            }
        }
        written
    }
}

impl<I: Read + Unpin> Read for Watched<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ahead.has_remaining() {
            let count = self.ahead.len().min(buf.remaining());
            buf.put_slice(&self.ahead.split_to(count));
            return Poll::Ready(Ok(()));
        }
        let read = Pin::new(&mut self.inner).poll_read(context, buf);
        if let (Poll::Ready(Ok(())), Incoming::Head) = (&read, self.incoming) {
            self.activity.received();
        }
        read
    }
}

impl<I: Read + Write + Unpin> Write for Watched<I> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.note(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(context, slices);
        self.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // TLS keeps some of what was written: a client that still takes it is not idle.
        let flushed = Pin::new(&mut self.inner).poll_flush(context);
        self.note(flushed)
    }

    /// Closes the writing half, then reads what the client is still sending (RFC 9112, section 9.6).
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            match self.closing {
                Closing::Shutdown => {
                    ready!(Pin::new(&mut self.inner).poll_shutdown(context))?;
                    if !self.activity.close() {
                        return Poll::Ready(Ok(()));
                    }
                    self.closing = Closing::Linger(LINGER_BYTES);
                }
                Closing::Linger(left) => {
                    let mut scratch = [0; 4096];
                    let mut buf = ReadBuf::new(&mut scratch);
                    ready!(Pin::new(&mut self.inner).poll_read(context, buf.unfilled()))?;
                    match buf.filled().len() {
                        0 => return Poll::Ready(Ok(())),
                        read if read >= left => return Poll::Ready(Ok(())),
                        read => self.closing = Closing::Linger(left - read),
                    }
                }
            }
        }
    }
}
