//! A connection to LiteLLM as hyper's client sees it: answers well written, each for a request, and an early answer
//! readable although LiteLLM takes no more of the request.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{RESPONSE_FIELDS_MAX, RESPONSE_HEAD_BYTES_MAX};
use crate::http::framing::{AnswerGuard, Asked, BadAnswer};
use crate::http::hold::{Ahead, Held};
use crate::http::trailing::Trailing;

/// What the one who sends requests and the connection's stream tell each other.
#[derive(Debug, Default)]
pub(super) struct Link {
    /// What the next request asks; 0 = nothing.
    asked: AtomicU8,
    /// More came than an answer: nobody may use the connection again.
    is_spoilt: AtomicBool,
    trailing: Arc<Trailing>,
}

/// A stream between hyper and LiteLLM.
///
/// An answer is awaited from the first byte of its request on: what lies there before it, left by an earlier answer or
/// sent unasked, breaks the connection and not the request.
pub(super) struct Wire<S> {
    stream: S,
    link: Arc<Link>,
    guard: AnswerGuard,
    held: Held,
    bad: Option<Ended>,
    ahead: Ahead,
    /// LiteLLM takes nothing more. Its answer may be there all the same, so writing goes on into nothing until the reading
    /// side tells.
    is_deaf: bool,
}

/// Why nothing more is handed on.
#[derive(Debug, Clone, Copy, thiserror::Error)]
enum Ended {
    #[error("LiteLLM sent {0}")]
    Bad(BadAnswer),
    /// Not an end like that of an idle connection: LiteLLM has read the request, which must not be sent again.
    #[error("LiteLLM's answer ended within its head")]
    Half,
}

// === impl Link ===

impl Link {
    /// The next request that is written asks this.
    pub(super) fn ask(&self, asked: Asked) {
        let asked = match asked {
            Asked::Plain => 1,
            Asked::Head => 2,
            Asked::Upgrade => 3,
        };
        self.asked.store(asked, Ordering::Release);
    }

    fn take(&self) -> Option<Asked> {
        match self.asked.swap(0, Ordering::AcqRel) {
            0 => None,
            2 => Some(Asked::Head),
            3 => Some(Asked::Upgrade),
            _ => Some(Asked::Plain),
        }
    }

    /// Where a request leaves its trailers.
    pub(super) fn trailing(&self) -> Arc<Trailing> {
        self.trailing.clone()
    }

    pub(super) fn is_spoilt(&self) -> bool {
        self.is_spoilt.load(Ordering::Acquire)
    }
}

// === impl Wire ===

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// Wraps a fresh connection.
    pub(super) fn new(stream: S, link: Arc<Link>) -> Self {
        let guard = AnswerGuard::new(RESPONSE_HEAD_BYTES_MAX, RESPONSE_FIELDS_MAX);
        Self { stream, link, guard, held: Held::default(), bad: None, ahead: Ahead::default(), is_deaf: false }
    }

    /// Reads into hyper's buffer and takes back what it may not have yet. Whether there is something for hyper.
    fn poll_direct(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<bool>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf)).map_err(|error| self.cause(error))?;
        let new = buf.filled().get(before..).unwrap_or_default();
        if new.is_empty() {
            return Poll::Ready(self.at_the_end().map(|()| true));
        }
        let scan = self.guard.scan(new);
        self.held.push(new.get(scan.pass..).unwrap_or_default());
        buf.set_filled(before + scan.pass);
        self.judge(scan.bad);
        Poll::Ready(Ok(scan.pass > 0))
    }

    /// Reads behind what is held.
    fn poll_behind(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let filled = ready!(self.held.poll_fill(cx, &mut self.stream));
        if filled.map_err(|error| self.cause(error))? == 0 {
            return Poll::Ready(self.at_the_end().map(|()| true));
        }
        let scan = self.guard.scan(self.held.bytes());
        self.held.clear(&scan);
        self.judge(scan.bad);
        Poll::Ready(Ok(false))
    }

    fn judge(&mut self, bad: Option<BadAnswer>) {
        if let Some(bad) = bad {
            self.link.is_spoilt.store(true, Ordering::Release);
            self.bad = Some(Ended::Bad(bad));
            self.held.replace_rest(b"");
        }
    }

    fn at_the_end(&self) -> io::Result<()> {
        if self.has_half() {
            Err(Ended::Half.into())
        } else if self.is_deaf && !self.guard.is_idle() {
            // The system tells of a reset once, and a write has heard it. An answer up to the end has not ended so.
            Err(io::ErrorKind::ConnectionReset.into())
        } else {
            Ok(())
        }
    }

    fn cause(&self, error: io::Error) -> io::Error {
        if self.has_half() { Ended::Half.into() } else { error }
    }

    /// Part of an answer has come, and the rest of its head has not.
    fn has_half(&self) -> bool {
        self.guard.is_in_later_head() || !self.held.is_empty()
    }

    /// Writes the gathered end of a body.
    fn poll_ahead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let is_raw = self.guard.is_raw();
        let Self { ahead, stream, is_deaf, .. } = self;
        ahead.poll_out(|bytes| heard(is_deaf, is_raw, Pin::new(&mut *stream).poll_write(cx, bytes), bytes.len()))
    }

    fn begin(&mut self) {
        if self.guard.is_idle()
            && let Some(asked) = self.link.take()
        {
            self.guard.expect(asked);
        }
    }
}

/// The outcome of a write of so much: that LiteLLM takes nothing more is for the reading side to tell. A tunnel has no
/// answer to wait for: there it is the end.
fn heard(is_deaf: &mut bool, is_tunnel: bool, written: Poll<io::Result<usize>>, all: usize) -> Poll<io::Result<usize>> {
    use io::ErrorKind::{BrokenPipe, ConnectionReset};
    match written {
        Poll::Ready(Err(error)) if !is_tunnel && matches!(error.kind(), BrokenPipe | ConnectionReset) => {
            *is_deaf = true;
            Poll::Ready(Ok(all))
        }
        other @ (Poll::Ready(_) | Poll::Pending) => other,
    }
}

impl From<Ended> for io::Error {
    fn from(ended: Ended) -> Self {
        Self::new(io::ErrorKind::InvalidData, ended)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Wire<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if this.held.is_cleared() {
                this.held.hand_on(buf);
                return Poll::Ready(Ok(()));
            }
            if let Some(ended) = this.bad {
                return Poll::Ready(Err(ended.into()));
            }
            let is_something = if this.held.is_empty() { this.poll_direct(cx, buf) } else { this.poll_behind(cx) };
            if ready!(is_something)? {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        this.begin();
        let all = bufs.iter().map(|buf| buf.len()).sum();
        if this.is_deaf {
            return Poll::Ready(Ok(all));
        }
        if let Some(gathered) = this.ahead.gather(&this.link.trailing, bufs) {
            return Poll::Ready(Ok(gathered));
        }
        ready!(this.poll_ahead(cx))?;
        let written = Pin::new(&mut this.stream).poll_write_vectored(cx, bufs);
        heard(&mut this.is_deaf, this.guard.is_raw(), written, all)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.is_deaf {
            return Poll::Ready(Ok(()));
        }
        this.ahead.finish(&this.link.trailing);
        ready!(this.poll_ahead(cx))?;
        Pin::new(&mut this.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    #[tokio::test]
    async fn a_reset_that_a_write_has_heard_is_no_tidy_end_of_an_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut far, _) = listener.accept().await.unwrap();
        let link = Arc::new(Link::default());
        let mut wire = Wire::new(near, link.clone());
        link.ask(Asked::Plain);
        wire.write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\n").await.unwrap();
        assert!(far.read(&mut [0; 1024]).await.unwrap() > 0);
        far.write_all(b"HTTP/1.1 200 OK\r\n\r\npart").await.unwrap();
        wire.read_exact(&mut [0; 23]).await.unwrap();
        socket2::SockRef::from(&far).set_linger(Some(std::time::Duration::ZERO)).unwrap();
        drop(far);
        // The client's upload goes on until a write hears of it; then hyper reads.
        while !wire.is_deaf {
            wire.write_all(b"x").await.unwrap();
        }
        assert_eq!(wire.read(&mut [0; 64]).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }
}
