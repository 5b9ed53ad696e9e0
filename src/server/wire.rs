//! A downstream connection as hyper's server sees it: heads whole and well written, interim answers written beside
//! hyper's own, an ending that lets the last answer be read. Whoever is too slow, with a head, a body, or in taking an
//! answer, is given up here.

mod linger;
mod pace;
mod patience;
mod sending;

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::config::Limits;
use crate::http::conversation::Conversation;
use crate::http::framing::{Bad, Guard};
use crate::http::hold::{Ahead, Held};
use crate::http::liveness::Downstream;
use linger::{Linger, poll_throw};
use patience::{Awaited, Patience};
use sending::Sending;

/// What hyper gets in place of a head that was refused: a request that the service knows by its number.
const STAND_IN: &[u8] = b"GET / HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n";
/// Most bytes that are held while an answer is awaited; who sends more is cut off.
const EARLY_BYTES_MAX: usize = 64 * 1024;

/// A stream between a client and hyper.
///
/// Reading: bytes go straight into hyper's buffer and are looked at there; the beginning of a head is taken back and held
/// until the rest has come. What the [`Guard`] refuses is never seen by hyper.
///
/// Writing: interim answers are written when hyper has nothing of an earlier answer left. It flushes at each turn, and asks
/// to flush here only when its own buffer is empty; what it writes first after that begins behind all that came before.
pub struct Wire<S: Downstream> {
    stream: S,
    talk: Conversation,
    guard: Guard,
    held: Held,
    /// What is held has not been looked at: it follows a request that was unanswered.
    is_queued: bool,
    patience: Patience,
    sending: Sending,
    ending: Ending,
    ahead: Ahead,
    linger: Option<Linger>,
}

/// What follows a read.
enum Turn {
    /// hyper has got something, or the stream's end.
    HandOver,
    /// Nothing for hyper yet.
    Again,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// Not yet.
    None,
    /// A stand-in has been handed on; what else comes is thrown away.
    Refused,
    /// The body broke, or did not come in time: hyper gets an error of this kind.
    Broken(io::ErrorKind),
    /// No head came in time, and nothing of one.
    Silent,
}

// === impl Wire ===

impl<S: AsyncRead + AsyncWrite + Downstream + Unpin> Wire<S> {
    /// Wraps a fresh connection.
    pub fn new(stream: S, talk: Conversation, limits: &Limits) -> Self {
        Self {
            stream,
            talk,
            guard: Guard::new(limits.header_bytes, limits.headers),
            held: Held::default(),
            is_queued: false,
            patience: Patience::new(limits),
            sending: Sending::new(limits.send_timeout),
            ending: Ending::None,
            ahead: Ahead::default(),
            linger: None,
        }
    }

    /// Reads into hyper's buffer and takes back what it may not have yet.
    fn poll_direct(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<Turn>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let new = buf.filled().get(before..).unwrap_or_default();
        if new.is_empty() {
            return Poll::Ready(Ok(Turn::HandOver));
        }
        self.patience.came(new.len());
        let scan = self.guard.scan(new, self.talk.answered());
        self.held.push(new.get(scan.pass..).unwrap_or_default());
        buf.set_filled(before + scan.pass);
        self.judge(scan.bad);
        Poll::Ready(Ok(if scan.pass > 0 { Turn::HandOver } else { Turn::Again }))
    }

    /// Reads behind what is held.
    fn poll_behind(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Turn>> {
        if (self.guard.awaits_upgrade() || self.is_ahead()) && self.held.bytes().len() >= EARLY_BYTES_MAX {
            // Behind so much we would not see that the client goes away.
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        let count = ready!(self.held.poll_fill(cx, &mut self.stream))?;
        if count == 0 {
            return Poll::Ready(Ok(Turn::HandOver));
        }
        self.patience.came(count);
        self.rescan();
        Poll::Ready(Ok(Turn::Again))
    }

    fn rescan(&mut self) {
        let scan = self.guard.scan(self.held.bytes(), self.talk.answered());
        self.held.clear(&scan);
        self.judge(scan.bad);
    }

    /// Takes in a verdict.
    fn judge(&mut self, bad: Option<Bad>) {
        self.is_queued = bad.is_none() && self.is_ahead() && !self.held.rest().is_empty();
        // An answer comes in this very task, so none can fall between the look and this word.
        self.talk.await_answer(self.is_queued || self.guard.awaits_upgrade());
        let Some(bad) = bad else { return };
        if self.guard.is_in_head() {
            self.talk.refuse(self.guard.heads() + 1, bad);
            self.held.replace_rest(STAND_IN);
            self.ending = Ending::Refused;
        } else {
            self.held.replace_rest(b"");
            self.ending = Ending::Broken(io::ErrorKind::InvalidData);
        }
    }

    /// What is awaited of the client.
    fn awaits(&self) -> Awaited {
        if self.guard.is_in_body() {
            Awaited::Body
        } else if !self.guard.is_in_head() || self.is_ahead() {
            Awaited::Nothing
        } else if self.guard.heads() == 0 || self.has_part_of_a_head() {
            // The first head is awaited whatever comes; before a later one a client may be silent for longer.
            Awaited::Head(self.guard.heads())
        } else {
            Awaited::Request(self.guard.heads())
        }
    }

    /// What becomes of a client that is late.
    fn give_up(&mut self) {
        if self.guard.is_in_body() {
            self.ending = Ending::Broken(io::ErrorKind::TimedOut);
        } else if self.has_part_of_a_head() {
            self.judge(Some(Bad::Late));
        } else {
            self.ending = Ending::Silent;
        }
    }

    /// Whether the client is, or may be, ahead of us: a request is unanswered, and what follows it waits.
    fn is_ahead(&self) -> bool {
        self.guard.is_in_head() && self.guard.heads() > self.talk.answered()
    }

    /// Whether more than empty lines is held.
    fn has_part_of_a_head(&self) -> bool {
        self.held.rest().iter().any(|byte| !matches!(byte, b'\r' | b'\n'))
    }

    /// Reads and throws away. Pending until the end: hyper takes an end for the client's going away.
    fn poll_swallow(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while ready!(poll_throw(cx, &mut self.stream))? > 0 {}
        Poll::Ready(Ok(()))
    }

    /// Writes what goes before hyper's next bytes.
    fn poll_ahead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.talk.is_drained() && self.talk.has_interim() {
            self.ahead.push(&self.talk.take_interim());
        }
        let Self { ahead, stream, sending, .. } = self;
        ahead.poll_out(|bytes| {
            let written = Pin::new(&mut *stream).poll_write(cx, bytes);
            sending.timed(cx, written)
        })
    }
}

impl<S: AsyncRead + AsyncWrite + Downstream + Unpin> AsyncRead for Wire<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if this.held.is_cleared() {
                this.held.hand_on(buf);
                return Poll::Ready(Ok(()));
            }
            match this.ending {
                Ending::None => {}
                Ending::Refused => return this.poll_swallow(cx),
                Ending::Broken(kind) => return Poll::Ready(Err(kind.into())),
                Ending::Silent => return Poll::Ready(Ok(())),
            }
            if this.guard.awaits_upgrade()
                && let Some(is_raw) = this.talk.upgrade(this.guard.heads())
            {
                this.guard.upgraded(is_raw);
                this.rescan();
                continue;
            }
            let is_ahead = this.is_ahead();
            if this.is_queued && !is_ahead {
                this.rescan();
                continue;
            }
            let is_held = !this.held.is_empty() || is_ahead || this.guard.awaits_upgrade();
            let progress = if is_held { this.poll_behind(cx) } else { this.poll_direct(cx, buf) };
            match progress {
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Ready(Ok(Turn::HandOver)) => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(Turn::Again)) => {}
                Poll::Pending if this.patience.is_over(this.awaits(), cx) => this.give_up(),
                Poll::Pending => {
                    // An answer can end before hyper has ever flushed here; then it knows of nobody to wake but us.
                    if this.is_queued || this.guard.awaits_upgrade() {
                        this.talk.wake_by(cx.waker());
                    }
                    return Poll::Pending;
                }
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Downstream + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if let Some(gathered) = this.ahead.gather(this.talk.trailing(), bufs) {
            return Poll::Ready(Ok(gathered));
        }
        ready!(this.poll_ahead(cx))?;
        this.talk.drained(false);
        let written = Pin::new(&mut this.stream).poll_write_vectored(cx, bufs);
        this.sending.timed(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Registered first: what is said after the look wakes this task.
        let this = &mut *self;
        this.talk.wake_by(cx.waker());
        this.ahead.finish(this.talk.trailing());
        this.talk.drained(true);
        ready!(this.poll_ahead(cx))?;
        Pin::new(&mut this.stream).poll_flush(cx)
    }

    /// Ends our side, then reads on for a while. A tunnel's half is ended and no more: the other half lives.
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

impl<S: Downstream> Drop for Wire<S> {
    fn drop(&mut self) {
        if self.talk.is_cut() {
            self.stream.reset();
        }
    }
}

#[cfg(test)]
mod tests;
