//! A body that ends with an error when it becomes too large or takes too long.
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::{Instant, Sleep, sleep_until};
use wasmtime_wasi_http::Error;

pub(super) struct Bounded<B> {
    /// `None`: it has ended.
    body: Option<B>,
    left: u64,
    /// The error when there is more.
    too_large: Option<Error>,
    deadline: Instant,
    /// The longest pause.
    between: Option<Duration>,
    due: Pin<Box<Sleep>>,
}

impl<B> Bounded<B> {
    pub fn new(body: B, most: u64, deadline: Instant, between: Option<Duration>, too_large: Error) -> Self {
        let mut bounded = Self {
            body: Some(body),
            left: most,
            too_large: Some(too_large),
            deadline,
            between,
            due: Box::pin(sleep_until(deadline)),
        };
        bounded.wait_anew();
        bounded
    }

    fn wait_anew(&mut self) {
        if let Some(between) = self.between {
            let due = Instant::now() + between;
            self.due.as_mut().reset(due.min(self.deadline));
        }
    }

    fn end(&mut self, error: Error) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        self.body = None;
        Poll::Ready(Some(Err(error)))
    }
}

impl<B: Body<Data = Bytes, Error = Error> + Unpin> Body for Bounded<B> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        match Pin::new(body).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                let length = frame.data_ref().map_or(0, Bytes::len) as u64;
                match self.left.checked_sub(length) {
                    Some(left) => self.left = left,
                    None => {
                        let error = self.too_large.take().unwrap_or(Error::HttpProtocolError);
                        return self.end(error);
                    }
                }
                self.wait_anew();
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(ended) => Poll::Ready(ended),
            Poll::Pending => match self.due.as_mut().poll(context) {
                Poll::Ready(()) => self.end(Error::ConnectionReadTimeout),
                Poll::Pending => Poll::Pending,
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(SizeHint::default, Body::size_hint)
    }
}
