//! The end of a connection: reading goes on for a while after the last response, so that the client reads it instead of
//! meeting a reset (RFC 9112 9.6).

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Sleep, sleep};

/// How long, and for how many bytes.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES_MAX: usize = 256 * 1024;
const READ_BYTES: usize = 8192;

/// An end under way.
pub(super) struct Linger {
    until: Pin<Box<Sleep>>,
    thrown: usize,
}

// === impl Linger ===

impl Linger {
    pub(super) fn new() -> Self {
        Self { until: Box::pin(sleep(LINGER)), thrown: 0 }
    }

    /// Ready when there is nothing more to wait for.
    pub(super) fn poll<S: AsyncRead + Unpin>(&mut self, cx: &mut Context<'_>, stream: &mut S) -> Poll<()> {
        loop {
            match poll_throw(cx, stream) {
                Poll::Ready(Ok(count @ 1..)) if self.thrown < LINGER_BYTES_MAX => self.thrown += count,
                // The client's end, its reset, or too many bytes: all the same now.
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return self.until.as_mut().poll(cx),
            }
        }
    }
}

/// Reads once and throws away; returns how much it was, 0 at the end.
pub(super) fn poll_throw<S: AsyncRead + Unpin>(cx: &mut Context<'_>, stream: &mut S) -> Poll<io::Result<usize>> {
    let mut bytes = [MaybeUninit::uninit(); READ_BYTES]; // zeroing would cost more than the rest of an ending
    let mut thrown = ReadBuf::uninit(&mut bytes);
    ready!(Pin::new(stream).poll_read(cx, &mut thrown))?;
    Poll::Ready(Ok(thrown.filled().len()))
}
