//! [`Guarded`]: the stall limit and fair turns for connections that take real bytes (TLS, HTTP/2).
use crate::{
    connection::Options,
    delivery::Delivery,
    ledger::{Fault, Ledger},
    stall::Stall,
    turn,
};
use hyper::rt::{Read, ReadBufCursor, Write};
use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

/// Wraps a connection that takes real bytes, such as TLS, and gives what makes its bodies.
pub fn guard<I: Read + Write + Unpin>(io: I, options: Options) -> (Guarded<I>, Delivery) {
    let ledger = Arc::new(Ledger::default());
    let delivery = Delivery::copies_with(ledger.clone(), options.chunk_size);
    (
        Guarded {
            io,
            ledger,
            stall: Stall::new(options.stall),
        },
        delivery,
    )
}

/// See [`guard`].
#[derive(Debug)]
pub struct Guarded<I> {
    io: I,
    ledger: Arc<Ledger>,
    stall: Stall,
}

impl<I: Read + Write + Unpin> Guarded<I> {
    fn poll_guarded(
        &mut self,
        context: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut I>, &mut Context<'_>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        ready!(turn::poll_begin(context));
        match write(Pin::new(&mut self.io), context) {
            Poll::Ready(written) => {
                self.stall.progressed();
                turn::charge(context, *written.as_ref().unwrap_or(&0) as u64);
                Poll::Ready(written)
            }
            Poll::Pending => {
                ready!(self.stall.poll_blocked(context));
                Poll::Ready(Err(self.ledger.fail(Fault::Stalled).into()))
            }
        }
    }
}

// === impl Guarded ===

impl<I: Read + Write + Unpin> Read for Guarded<I> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, target: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_read(context, target)
    }
}

impl<I: Read + Write + Unpin> Write for Guarded<I> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut()
            .poll_guarded(context, |io, context| io.poll_write(context, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut()
            .poll_guarded(context, |io, context| io.poll_write_vectored(context, buffers))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = this.poll_guarded(context, |io, context| io.poll_flush(context).map_ok(|()| 0));
        flushed.map_ok(|_| ())
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(context)
    }
}
