//! A client's connection as hyper's server sees it: heads whole and well-formed, interim responses written between hyper's
//! own bytes, an ending that lets the last response be read. A client that is too slow is given up here.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::ServerLimits;
use super::deadlines::{Awaited, ReadDeadlines};
use super::linger::{Linger, poll_throw};
use super::write_timeout::WriteTimeout;
use crate::http1::Stream;
use crate::http1::buffers::{ReadBuffer, WriteBuffer};
use crate::http1::conn_state::ServerConn;
use crate::http1::guard::{Malformed, RequestGuard};

/// What hyper gets in place of a head that was refused: a request that its exchange knows by its number.
const STAND_IN: &[u8] = b"GET / HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n";
/// Most bytes that are held while a response is awaited; a client that sends more is cut off.
const EARLY_BYTES_MAX: usize = 64 * 1024;

/// A stream between a client and hyper.
///
/// Reading: bytes go straight into hyper's buffer and are checked there; the beginning of a head is taken back and held
/// until the rest has come. hyper never sees what the [`RequestGuard`] refuses.
///
/// Writing: interim responses are written when hyper has nothing of an earlier response left. It flushes at each turn, and
/// only when its own buffer is empty; what it writes first after that begins behind all that came before.
pub(super) struct ServerIo<S: Stream> {
    stream: S,
    conn: ServerConn,
    guard: RequestGuard,
    held: ReadBuffer,
    /// What is held was not checked: it follows a request that was unanswered.
    is_queued: bool,
    deadlines: ReadDeadlines,
    write_timeout: WriteTimeout,
    ending: ReadEnd,
    interim: WriteBuffer,
    linger: Option<Linger>,
}

/// How reading has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ReadEnd {
    None,
    /// A stand-in was handed on; what else comes is thrown away.
    Refused,
    /// The body broke, or did not come in time: hyper gets an error of this kind.
    Broken(io::ErrorKind),
    /// No head came in time, and nothing of one.
    Silent,
}

// === impl ServerIo ===

impl<S: Stream> ServerIo<S> {
    /// Wraps a new connection.
    pub(super) fn new(stream: S, conn: ServerConn, limits: &ServerLimits) -> Self {
        Self {
            stream,
            conn,
            guard: RequestGuard::new(limits.header_bytes, limits.headers),
            held: ReadBuffer::default(),
            is_queued: false,
            deadlines: ReadDeadlines::new(limits),
            write_timeout: WriteTimeout::new(limits.send_timeout),
            ending: ReadEnd::None,
            interim: WriteBuffer::default(),
            linger: None,
        }
    }

    /// Reads on; whether there is something for hyper, or the stream's end.
    fn poll_more(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<bool>> {
        let is_waiting = self.guard.awaits_upgrade() || self.is_pipelining();
        if is_waiting && self.held.bytes().len() >= EARLY_BYTES_MAX {
            // Behind so much it could not be seen that the client goes away.
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        let Self { stream, conn, guard, held, .. } = self;
        let is_direct = held.is_empty() && !is_waiting;
        let scan = |bytes: &[u8]| guard.scan(bytes, conn.last_ended());
        let (count, scan) = ready!(held.poll_read(cx, stream, buf, is_direct, scan))?;
        if count == 0 {
            return Poll::Ready(Ok(true));
        }
        self.deadlines.came(count);
        self.judge(scan.malformed);
        Poll::Ready(Ok(scan.pass > 0))
    }

    fn rescan(&mut self) {
        let scan = self.guard.scan(self.held.bytes(), self.conn.last_ended());
        self.held.approve(scan.pass);
        self.judge(scan.malformed);
    }

    /// Acts on a verdict.
    fn judge(&mut self, malformed: Option<Malformed>) {
        self.is_queued = malformed.is_none() && self.is_pipelining() && self.held.unapproved().next().is_some();
        // A response comes in this very task, so none can fall between the check and this store.
        self.conn.set_awaited(self.is_queued || self.guard.awaits_upgrade());
        let Some(malformed) = malformed else { return };
        if self.guard.is_in_head() {
            self.conn.refuse(self.guard.heads() + 1, malformed);
            self.held.replace_unapproved(STAND_IN);
            self.ending = ReadEnd::Refused;
        } else {
            self.held.replace_unapproved(b"");
            self.ending = ReadEnd::Broken(io::ErrorKind::InvalidData);
        }
    }

    fn awaits(&self) -> Awaited {
        if self.guard.is_in_body() {
            Awaited::Body
        } else if !self.guard.is_in_head() || self.is_pipelining() {
            Awaited::Nothing
        } else if self.guard.heads() == 0 || self.has_part_of_a_head() {
            // The first head is awaited whatever comes; before a later one a client may be silent for longer.
            Awaited::Head(self.guard.heads())
        } else {
            Awaited::Request(self.guard.heads())
        }
    }

    /// Ends the reading from a client that is late.
    fn give_up(&mut self) {
        if self.guard.is_in_body() {
            self.ending = ReadEnd::Broken(io::ErrorKind::TimedOut);
        } else if self.has_part_of_a_head() {
            self.judge(Some(Malformed::Late));
        } else {
            self.ending = ReadEnd::Silent;
        }
    }

    /// Whether the client may be pipelining: a request is unanswered, and what follows it waits.
    fn is_pipelining(&self) -> bool {
        self.guard.is_in_head() && self.guard.heads() > self.conn.last_ended()
    }

    /// Whether more than empty lines is held.
    fn has_part_of_a_head(&self) -> bool {
        self.held.unapproved().any(|byte| !matches!(byte, b'\r' | b'\n'))
    }

    /// Reads and throws away. Pending until the end: hyper takes an end for the client's going away.
    fn poll_swallow(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while ready!(poll_throw(cx, &mut self.stream))? > 0 {}
        Poll::Ready(Ok(()))
    }

    /// Writes what goes before hyper's next bytes.
    fn poll_interim(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.conn.is_drained() && self.conn.has_interim() {
            self.interim.push(&self.conn.take_interim());
        }
        let Self { interim, stream, write_timeout, .. } = self;
        interim.poll_out(|bytes| {
            let written = Pin::new(&mut *stream).poll_write(cx, bytes);
            write_timeout.timed(cx, written)
        })
    }
}

impl<S: Stream> AsyncRead for ServerIo<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if this.held.has_approved() {
                return Poll::Ready(this.held.hand_on(buf));
            }
            match this.ending {
                ReadEnd::None => {}
                ReadEnd::Refused => return this.poll_swallow(cx),
                ReadEnd::Broken(kind) => return Poll::Ready(Err(kind.into())),
                ReadEnd::Silent => return Poll::Ready(Ok(())),
            }
            if this.guard.awaits_upgrade()
                && let Some(is_raw) = this.conn.upgrade(this.guard.heads())
            {
                this.guard.upgraded(is_raw);
                this.rescan();
                continue;
            }
            if this.is_queued && !this.is_pipelining() {
                this.rescan();
                continue;
            }
            match this.poll_more(cx, buf) {
                Poll::Ready(Ok(false)) => {}
                Poll::Ready(done) => return Poll::Ready(done.map(drop)),
                Poll::Pending if this.deadlines.is_over(this.awaits(), cx) => this.give_up(),
                Poll::Pending => {
                    // A response can end before hyper has ever flushed here; then only this task can be woken.
                    if this.is_queued || this.guard.awaits_upgrade() {
                        this.conn.wake_by(cx.waker());
                    }
                    return Poll::Pending;
                }
            }
        }
    }
}

impl<S: Stream> AsyncWrite for ServerIo<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        ready!(this.poll_interim(cx))?;
        this.conn.set_drained(false);
        let written = Pin::new(&mut this.stream).poll_write_vectored(cx, bufs);
        this.write_timeout.timed(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Registered first, so that what comes after the check wakes this task.
        let this = &mut *self;
        this.conn.wake_by(cx.waker());
        this.conn.set_drained(true);
        ready!(this.poll_interim(cx))?;
        Pin::new(&mut this.stream).poll_flush(cx)
    }

    /// Ends the writing side, then reads on for a while. A tunnel's half is ended and no more: the other half lives.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.linger.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
            if this.guard.is_raw() {
                return Poll::Ready(Ok(()));
            }
        }
        this.linger.get_or_insert_with(Linger::new).poll(cx, &mut this.stream).map(Ok)
    }
}

impl<S: Stream> Drop for ServerIo<S> {
    fn drop(&mut self) {
        if self.conn.is_cut() {
            self.stream.reset();
        }
    }
}

#[cfg(test)]
mod tests;
