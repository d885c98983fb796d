//! [`Connection`]: a socket under hyper that sends spans with `sendfile`.
//!
//! A write goes this way: the ledger looks at all its buffers ([`Ledger::inspect`]) and says what is due, real bytes or
//! span bytes; span bytes that are not in the page cache are brought in first; the turn and the socket are waited for;
//! one system call; the ledger and the turn are told. What the write did not take, hyper shows again.
use crate::{
    delivery::Delivery,
    file::{File, Task, WINDOW},
    ledger::{Due, Fault, Ledger, Place, Run},
    release::{Release, Taken},
    socket,
    stall::Stall,
    turn,
};
use bytes::{Buf, Bytes};
use hyper::rt::{Read, ReadBufCursor, Write};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fd::AsFd,
    fs::sendfile,
    io::Errno,
    net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, sendmsg, sockopt::set_socket_linger},
};
use std::{
    io::{self, IoSlice},
    mem::MaybeUninit,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncWrite, Interest},
    net::{TcpStream, UnixStream},
};

/// Limits of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Ends the connection when the client takes no byte of what waits for it for so long.
    pub stall: Option<Duration>,
    /// How many bytes of a file are read at a time where they are copied.
    pub chunk_size: usize,
    pub sendfile: Sendfile,
}

/// To whom the kernel copies file bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sendfile {
    /// To nobody: all bytes are read.
    Off,
    /// To clients on other machines.
    #[default]
    Remote,
    /// Also to clients of the same kernel. It hands them the page cache itself, without a copy in between: a file that is
    /// changed in place after the client's socket took it, and before the client reads it, changes what the client reads.
    Always,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            stall: None,
            chunk_size: Delivery::CHUNK_SIZE,
            sendfile: Sendfile::default(),
        }
    }
}

/// Makes a connection that understands spans where [`Options::sendfile`] says so, for HTTP/1.1 without TLS, and what makes its bodies.
///
/// For TCP set TCP_NODELAY first: what belongs together is kept together here, and what is left should not wait.
pub fn accept<S: Socket>(socket: S, options: Options) -> (Connection<S>, Delivery) {
    let ledger = Arc::new(Ledger::default());
    let spans = match options.sendfile {
        Sendfile::Off => false,
        Sendfile::Remote => socket::is_from_device(&socket),
        Sendfile::Always => true,
    };
    let delivery = if spans {
        Delivery::spans_with(ledger.clone(), options.chunk_size)
    } else {
        Delivery::reads_with(ledger.clone(), options.chunk_size)
    };
    let stall = Stall::new(options.stall);
    (
        Connection {
            socket,
            ledger,
            stall,
            cached_to: 0,
            waiting: None,
            unsendable_to: 0,
            copied: Bytes::new(),
            release: Release::default(),
            released_to: 0,
        },
        delivery,
    )
}

/// A stream socket of tokio: [`TcpStream`] or [`UnixStream`].
pub trait Socket: AsFd + AsyncWrite + Send + Unpin + sealed::Readiness {}

impl Socket for TcpStream {}
impl Socket for UnixStream {}

/// See [`accept`].
#[derive(Debug)]
pub struct Connection<S: Socket = TcpStream> {
    socket: S,
    ledger: Arc<Ledger>,
    stall: Stall,
    /// Span bytes before this position were found in the page cache.
    cached_to: u64,
    waiting: Option<Waiting>,
    /// `sendfile` does not know the file that the span bytes before this position are from: they are read and sent.
    unsendable_to: u64,
    /// Such bytes, from the position that is due on.
    copied: Bytes,
    release: Release,
    /// The end of a body whose last position is before this one may leave.
    released_to: u64,
}

/// As much of a body's end waits for the release. What is before it leaves at once, several segments, so that clients
/// have reason to acknowledge without delay (RFC 9293, section 3.8.6.3: at least every second segment).
const HELD: usize = 4 * 1024;

/// Reading that the next span bytes wait for.
#[derive(Debug)]
enum Waiting {
    /// They will be cached up to this position.
    ReadAhead(u64, Task<()>),
    Read(Task<Bytes>),
}

impl<S: Socket> Connection<S> {
    fn poll_write_due(&mut self, context: &mut Context<'_>, buffers: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let written = match self.ledger.inspect(buffers).map_err(|fault| self.end(fault))? {
            Due::Nothing => return Poll::Ready(Ok(0)),
            Due::Real { buffers: count, then } => {
                // The head leaves with the first span bytes, unless those have to be waited for.
                let more = then > 0 && self.is_next_cached();
                ready!(self.poll_send(context, &buffers[..count], more))?
            }
            Due::Span(length) => {
                let written = ready!(self.poll_send_span(context, length))?;
                self.ledger.credit(written as u64);
                written
            }
        };
        self.stall.progressed();
        turn::charge(context, written as u64);
        Poll::Ready(Ok(written))
    }

    /// Waits for the turn and the socket, then makes one attempt at `wanted` bytes.
    fn poll_attempt(
        &mut self,
        context: &mut Context<'_>,
        wanted: usize,
        mut attempt: impl FnMut(&S) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(turn::poll_begin(context));
            match self.socket.poll_write_ready(context) {
                Poll::Ready(ready) => ready?,
                Poll::Pending => {
                    ready!(self.stall.poll_blocked(context));
                    return Poll::Ready(Err(self.end(Fault::Stalled)));
                }
            }
            let mut written = None;
            let result = self.socket.try_io(Interest::WRITABLE, || {
                let count = attempt(&self.socket)?;
                written = Some(count);
                // Telling tokio that the socket is full saves the attempt that would find that out. A short sendfile
                // alone does not say it: the file may have ended, and then nothing would ever wake this task.
                if count < wanted && is_full(&self.socket) {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                Ok(())
            });
            match (written, result) {
                (Some(count), _) => return Poll::Ready(Ok(count)),
                (None, Err(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
                (None, result) => return Poll::Ready(result.map(|()| 0)),
            }
        }
    }

    fn poll_send(&mut self, context: &mut Context<'_>, buffers: &[IoSlice<'_>], more: bool) -> Poll<io::Result<usize>> {
        let flags = if more {
            SendFlags::NOSIGNAL | SendFlags::MORE
        } else {
            SendFlags::NOSIGNAL
        };
        let wanted = buffers.iter().map(|buffer| buffer.len()).sum();
        let sent = self.poll_attempt(context, wanted, |socket| {
            Ok(sendmsg(socket, buffers, &mut SendAncillaryBuffer::default(), flags)?)
        });
        if let Poll::Ready(Ok(count)) = sent {
            self.release.copies_sent(count as u64);
        }
        sent
    }

    fn poll_send_span(&mut self, context: &mut Context<'_>, shown: u64) -> Poll<io::Result<usize>> {
        loop {
            // Before the page cache is asked: the answer would be old when the next turn comes.
            ready!(turn::poll_begin(context));
            let limit = shown.min(turn::BYTES);
            let Some(run) = self.ledger.run(limit) else {
                return Poll::Ready(Err(self.end(Fault::Misplaced)));
            };
            ready!(self.poll_available(context, &run))?;
            if run.position < self.unsendable_to {
                return self.poll_send_copied(context, &run);
            }
            let length = run.length as usize;
            let sent = self.poll_attempt(context, length, |socket| {
                let mut offset = run.offset;
                Ok(sendfile(socket, run.file.as_fd(), Some(&mut offset), length)?)
            });
            match ready!(sent) {
                Ok(0) => return Poll::Ready(Err(self.end(Fault::Shrunk))),
                Ok(written) => {
                    self.release.kernel_sent();
                    return Poll::Ready(match run.file.unchanged() {
                        Ok(()) => Ok(written),
                        Err(_) => Err(self.end(Fault::Changed)),
                    });
                }
                Err(error) => match Errno::from_io_error(&error) {
                    Some(Errno::INTR) => {}
                    Some(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                        self.unsendable_to = run.position + run.length;
                    }
                    Some(Errno::IO | Errno::NOMEM | Errno::OVERFLOW) => {
                        return Poll::Ready(Err(self.end(Fault::Unreadable(error.kind()))));
                    }
                    _ => return Poll::Ready(Err(error)),
                },
            }
        }
    }

    /// Sends bytes of `run` that were read; the last of a body's end only after the release.
    fn poll_send_copied(&mut self, context: &mut Context<'_>, run: &Run) -> Poll<io::Result<usize>> {
        let mut length = self.copied.len().min(run.length as usize);
        if let Place::End(lent) = &run.place
            && self.released_to < run.position + run.length
        {
            if length > HELD {
                length -= HELD;
            } else {
                ready!(self.poll_release(context))?;
                if lent.iter().chain([&run.file]).any(|file| file.unchanged().is_err()) {
                    return Poll::Ready(Err(self.end(Fault::Changed)));
                }
                self.released_to = run.position + run.length;
            }
        }
        let bytes = self.copied.slice(..length);
        let written = ready!(self.poll_send(context, &[IoSlice::new(&bytes)], false))?;
        self.copied.advance(written);
        Poll::Ready(Ok(written))
    }

    /// Waits until the client has acknowledged all that `sendfile` sent.
    fn poll_release(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.release.poll(context, &self.socket)? {
            Taken::All => return Poll::Ready(Ok(())),
            Taken::Some => self.stall.progressed(),
            Taken::Nothing => {}
        }
        ready!(self.stall.poll_blocked(context));
        Poll::Ready(Err(self.end(Fault::Stalled)))
    }

    /// Waits until the bytes of `run` can be sent without waiting for the disk; where `sendfile` cannot, until some of
    /// them lie in `copied`.
    fn poll_available(&mut self, context: &mut Context<'_>, run: &Run) -> Poll<io::Result<()>> {
        if matches!(run.place, Place::End(_)) {
            self.unsendable_to = self.unsendable_to.max(run.position + run.length);
        }
        loop {
            ready!(self.poll_waiting(context, &*run.file)).map_err(|fault| self.end(fault))?;
            if run.position >= self.unsendable_to {
                if self.is_cached(run) {
                    return Poll::Ready(Ok(()));
                }
                self.read_ahead(run);
            } else if self.copied.is_empty() {
                let length = (self.unsendable_to - run.position)
                    .min(run.length)
                    .min(Delivery::CHUNK_SIZE as u64) as usize;
                let task = Task::new(run.file.clone().read(run.offset, length));
                self.waiting = Some(Waiting::Read(task));
            } else {
                return Poll::Ready(Ok(()));
            }
        }
    }

    fn poll_waiting(&mut self, context: &mut Context<'_>, file: &dyn File) -> Poll<Result<(), Fault>> {
        let done = match &mut self.waiting {
            None => Ok(()),
            Some(Waiting::ReadAhead(to, task)) => ready!(task.poll(context)).map(|()| self.cached_to = *to),
            Some(Waiting::Read(task)) => ready!(task.poll(context)).map(|bytes| self.copied = bytes),
        };
        let read = matches!(self.waiting.take(), Some(Waiting::Read(_)));
        Poll::Ready(match done {
            Err(error) => Err(Fault::of_reading(file, &error)),
            Ok(()) if read && self.copied.is_empty() => Err(Fault::Shrunk),
            Ok(()) => Ok(()),
        })
    }

    /// Whether the span bytes that are due next can leave at once; reading them ahead begins when not.
    fn is_next_cached(&mut self) -> bool {
        let Some(run) = self.ledger.run(turn::BYTES) else {
            return false;
        };
        if matches!(run.place, Place::End(_)) {
            return false;
        }
        if self.waiting.is_none() && !self.is_cached(&run) {
            self.read_ahead(&run);
        }
        self.waiting.is_none()
    }

    fn is_cached(&mut self, run: &Run) -> bool {
        let end = run.position + run.length;
        let known = self.cached_to.clamp(run.position, end) - run.position;
        if known < run.length && run.file.is_cached(run.offset + known, run.length - known) {
            self.cached_to = end;
        }
        self.cached_to >= end
    }

    fn read_ahead(&mut self, run: &Run) {
        let length = run.until.saturating_sub(run.offset).min(WINDOW).max(run.length);
        let task = Task::new(run.file.clone().load(run.offset, length as usize));
        self.waiting = Some(Waiting::ReadAhead(run.position + length, task));
    }

    /// Ends the connection with a reset, so that no client takes what it has for the whole.
    fn end(&self, fault: Fault) -> io::Error {
        let fault = self.ledger.fail(fault);
        // Without the reset the client sees an early end, which a Content-Length shows as well.
        let _ = set_socket_linger(&self.socket, Some(Duration::ZERO));
        fault.into()
    }
}

/// Whether the socket takes nothing for now. The kernel then reports when it does again.
fn is_full(socket: impl AsFd) -> bool {
    let mut sockets = [PollFd::new(&socket, PollFlags::OUT)];
    poll(&mut sockets, Some(&Timespec::default())) == Ok(0)
}

// === impl Connection ===

impl<S: Socket> Read for Connection<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut target: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.ledger.drive(context.waker()).map_err(|fault| this.end(fault))?;
        loop {
            ready!(this.socket.poll_read_ready(context))?;
            // A request is a few hundred bytes: copying them once more costs less than unsafe code would.
            let mut space = [MaybeUninit::<u8>::uninit(); 8192];
            let wanted = space.len().min(target.remaining());
            let mut received = None;
            let attempt = this.socket.try_io(Interest::READABLE, || {
                let ((bytes, _), count) = recv(&this.socket, &mut space[..wanted], RecvFlags::empty())?;
                target.put_slice(bytes);
                received = Some(());
                // A short read emptied the socket: saying so now saves the system call that would find that out.
                if 0 < count && count < wanted {
                    Err(io::ErrorKind::WouldBlock.into())
                } else {
                    Ok(())
                }
            });
            match attempt {
                _ if received.is_some() => return Poll::Ready(Ok(())),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => {
                    this.ledger.close();
                    return Poll::Ready(result);
                }
            }
        }
    }
}

impl<S: Socket> Write for Connection<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(this.poll_write_due(context, buffers));
        if written.is_err() {
            this.ledger.close();
        }
        Poll::Ready(written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Nothing is kept here. A fault that no write met shows before the response counts as written.
    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.ledger.fault().map_or(Ok(()), |fault| Err(self.end(fault))))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut *this).poll_flush(context))?;
        Pin::new(&mut this.socket).poll_shutdown(context)
    }
}

impl<S: Socket> Drop for Connection<S> {
    fn drop(&mut self) {
        if let Some(fault) = self.ledger.fault() {
            self.end(fault);
        }
        self.ledger.close();
    }
}

mod sealed {
    use std::{
        io,
        task::{Context, Poll},
    };
    use tokio::{
        io::Interest,
        net::{TcpStream, UnixStream},
    };

    /// What tokio's stream sockets have in common and no trait of tokio names.
    pub trait Readiness {
        fn poll_read_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>>;
        fn poll_write_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>>;
        fn try_io<R>(&self, interest: Interest, attempt: impl FnOnce() -> io::Result<R>) -> io::Result<R>;
    }

    macro_rules! readiness {
        ($socket:ty) => {
            impl Readiness for $socket {
                fn poll_read_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
                    self.poll_read_ready(context)
                }
                fn poll_write_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
                    self.poll_write_ready(context)
                }
                fn try_io<R>(&self, interest: Interest, attempt: impl FnOnce() -> io::Result<R>) -> io::Result<R> {
                    self.try_io(interest, attempt)
                }
            }
        };
    }

    readiness!(TcpStream);
    readiness!(UnixStream);
}
