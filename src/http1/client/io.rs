//! A connection to the upstream as hyper's client sees it: responses well-formed, each for a request, and an early response
//! readable although the upstream takes no more of the request.

use std::io::ErrorKind::{BrokenPipe, ConnectionReset};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{RESPONSE_FIELDS_MAX, RESPONSE_HEAD_BYTES_MAX};
use crate::http1::buffers::ReadBuffer;
use crate::http1::guard::{MalformedResponse, RequestKind, ResponseGuard};

/// What the sender of requests and the connection's stream share.
#[derive(Debug, Default)]
pub(super) struct ClientConn {
    /// The kind of the request that is sent next.
    next: Mutex<Option<RequestKind>>,
    /// More came than a response: the connection may not be used again.
    is_spoilt: AtomicBool,
}

/// A stream between hyper and the upstream.
///
/// A response is awaited from the first byte of its request on: what lies there before it, left by an earlier response or
/// sent unasked, breaks the connection and not the request.
pub(super) struct ClientIo<S> {
    stream: S,
    state: Arc<ClientConn>,
    guard: ResponseGuard,
    held: ReadBuffer,
    fault: Option<ReadFault>,
    /// The upstream takes nothing more. Its response may be there all the same, so writes are dropped and the reading side
    /// finds out.
    is_deaf: bool,
}

/// Why nothing more is handed on.
#[derive(Debug, Clone, Copy, thiserror::Error)]
enum ReadFault {
    #[error("the upstream sent {0}")]
    Malformed(MalformedResponse),
    /// Not an end like that of an idle connection: the upstream has read the request, which must not be sent again.
    #[error("the upstream's answer ended within its head")]
    Half,
}

// === impl ClientConn ===

impl ClientConn {
    /// The next request that is written is of this kind.
    pub(super) fn expect(&self, kind: RequestKind) {
        *self.next() = Some(kind);
    }

    fn next(&self) -> MutexGuard<'_, Option<RequestKind>> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_spoilt(&self) -> bool {
        self.is_spoilt.load(Ordering::Acquire)
    }
}

// === impl ClientIo ===

impl<S: AsyncRead + AsyncWrite + Unpin> ClientIo<S> {
    /// Wraps a new connection.
    pub(super) fn new(stream: S, state: Arc<ClientConn>) -> Self {
        let guard = ResponseGuard::new(RESPONSE_HEAD_BYTES_MAX, RESPONSE_FIELDS_MAX);
        Self { stream, state, guard, held: ReadBuffer::default(), fault: None, is_deaf: false }
    }

    /// Reads on; whether there is something for hyper, or the stream's end.
    fn poll_more(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<bool>> {
        let Self { stream, guard, held, .. } = self;
        let is_direct = held.is_empty();
        let read = ready!(held.poll_read(cx, stream, buf, is_direct, |bytes| guard.scan(bytes)));
        let (count, scan) = read.map_err(|error| self.cause(error))?;
        if count == 0 {
            return Poll::Ready(self.at_the_end().map(|()| true));
        }
        self.judge(scan.malformed);
        Poll::Ready(Ok(scan.pass > 0))
    }

    fn judge(&mut self, malformed: Option<MalformedResponse>) {
        if let Some(malformed) = malformed {
            self.state.is_spoilt.store(true, Ordering::Release);
            self.fault = Some(ReadFault::Malformed(malformed));
            self.held.replace_unapproved(b"");
        }
    }

    fn at_the_end(&self) -> io::Result<()> {
        if self.has_half() {
            Err(ReadFault::Half.into())
        } else if self.is_deaf && !self.guard.is_idle() {
            // The system tells of a reset once, and a write has heard it. A response until close has not ended so.
            Err(ConnectionReset.into())
        } else {
            Ok(())
        }
    }

    fn cause(&self, error: io::Error) -> io::Error {
        if self.has_half() { ReadFault::Half.into() } else { error }
    }

    /// Part of a response has come, and the rest of its head has not.
    fn has_half(&self) -> bool {
        self.guard.is_in_later_head() || !self.held.is_empty()
    }

    fn begin(&mut self) {
        if self.guard.is_idle()
            && let Some(kind) = self.state.next().take()
        {
            self.guard.expect(kind);
        }
    }
}

impl From<ReadFault> for io::Error {
    fn from(fault: ReadFault) -> Self {
        Self::new(io::ErrorKind::InvalidData, fault)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for ClientIo<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if this.held.has_approved() {
                return Poll::Ready(this.held.hand_on(buf));
            }
            if let Some(fault) = this.fault {
                return Poll::Ready(Err(fault.into()));
            }
            if ready!(this.poll_more(cx, buf))? {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for ClientIo<S> {
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
        if !this.is_deaf {
            match ready!(Pin::new(&mut this.stream).poll_write_vectored(cx, bufs)) {
                // A tunnel has no response to wait for: there it is the end.
                Err(error) if !this.guard.is_raw() && matches!(error.kind(), BrokenPipe | ConnectionReset) => {
                    this.is_deaf = true;
                }
                written => return Poll::Ready(written),
            }
        }
        Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_deaf { Poll::Ready(Ok(())) } else { Pin::new(&mut self.stream).poll_flush(cx) }
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
        let state = Arc::new(ClientConn::default());
        let mut io = ClientIo::new(near, state.clone());
        state.expect(RequestKind::Plain);
        io.write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\n").await.unwrap();
        assert!(far.read(&mut [0; 1024]).await.unwrap() > 0);
        far.write_all(b"HTTP/1.1 200 OK\r\n\r\npart").await.unwrap();
        io.read_exact(&mut [0; 23]).await.unwrap();
        socket2::SockRef::from(&far).set_linger(Some(std::time::Duration::ZERO)).unwrap();
        drop(far);
        // The client's upload goes on until a write hears of it; then hyper reads.
        while !io.is_deaf {
            io.write_all(b"x").await.unwrap();
        }
        assert_eq!(io.read(&mut [0; 64]).await.unwrap_err().kind(), ConnectionReset);
    }
}
