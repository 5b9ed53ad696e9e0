//! A downstream connection as hyper's server sees it: heads whole and well written, interim answers written beside
//! hyper's own, an ending that lets the last answer be read. Whoever is too slow, with a head, a body, or in taking an
//! answer, is given up here.

mod pace;

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use crate::config::Limits;
use crate::http::clock::Clock;
use crate::http::conversation::Conversation;
use crate::http::framing::{Bad, Guard};
use pace::Pace;

/// What hyper gets in place of a head that was refused: a request that the service knows by its number.
const STAND_IN: &[u8] = b"GET / HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n";
/// Bytes of one read that can't go straight into hyper's buffer.
const READ_BYTES: usize = 8192;
/// Most bytes that are held while an answer is awaited.
const EARLY_BYTES_MAX: usize = 64 * 1024;
/// How long, and for how many bytes, an ended connection is still read, so that the client reads our last answer
/// instead of meeting a reset (RFC 9112 9.6).
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES_MAX: usize = 256 * 1024;

/// A stream between a client and hyper.
///
/// Reading: bytes go straight into hyper's buffer and are looked at there; the beginning of a head is taken back and held
/// until the rest has come. What the [`Guard`] refuses is never seen by hyper.
///
/// Writing: interim answers are written when hyper has nothing of an earlier answer left: it flushes at each turn, and
/// asks to flush here only when its own buffer is empty.
pub struct Wire<S> {
    stream: S,
    talk: Conversation,
    guard: Guard,
    /// Bytes read and not handed on; the first `cleared` of them may be.
    held: Vec<u8>,
    cleared: usize,
    /// What is held has not been looked at: it follows a request that was unanswered.
    is_queued: bool,
    header_timeout: Duration,
    send_timeout: Duration,
    /// Runs while the first head, the rest of a later one, or more of a body is awaited.
    reading: Clock,
    pace: Pace,
    /// Runs while the client takes nothing of what is there for it.
    sending: Clock,
    ending: Ending,
    interim: Vec<u8>,
    linger: Option<(Pin<Box<Sleep>>, usize)>,
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

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// Wraps a fresh connection.
    pub fn new(stream: S, talk: Conversation, limits: &Limits) -> Self {
        let mut reading = Clock::default();
        reading.run(Instant::now() + limits.header_timeout);
        Self {
            stream,
            talk,
            guard: Guard::new(limits.header_bytes, limits.headers),
            held: Vec::new(),
            cleared: 0,
            is_queued: false,
            header_timeout: limits.header_timeout,
            send_timeout: limits.send_timeout,
            reading,
            pace: Pace::new(limits.body_timeout, limits.body_rate),
            sending: Clock::default(),
            ending: Ending::None,
            interim: Vec::new(),
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
        self.came(new.len());
        let scan = self.guard.scan(new, self.talk.answered());
        self.held.extend_from_slice(new.get(scan.pass..).unwrap_or_default());
        buf.set_filled(before + scan.pass);
        self.judge(scan.bad);
        Poll::Ready(Ok(if scan.pass > 0 { Turn::HandOver } else { Turn::Again }))
    }

    /// Reads behind what is held.
    fn poll_behind(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Turn>> {
        if (self.guard.awaits_upgrade() || self.is_ahead()) && self.held.len() >= EARLY_BYTES_MAX {
            return Poll::Pending; // the answer that is awaited wakes this task
        }
        let mut bytes = [MaybeUninit::uninit(); READ_BYTES];
        let mut new = ReadBuf::uninit(&mut bytes);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut new))?;
        if new.filled().is_empty() {
            return Poll::Ready(Ok(Turn::HandOver));
        }
        self.came(new.filled().len());
        self.held.extend_from_slice(new.filled());
        self.rescan();
        Poll::Ready(Ok(Turn::Again))
    }

    fn rescan(&mut self) {
        let scan = self.guard.scan(&self.held, self.talk.answered());
        self.cleared = scan.pass;
        self.judge(scan.bad);
    }

    /// Takes in a verdict, and has the clock run while a head is unfinished.
    fn judge(&mut self, bad: Option<Bad>) {
        self.is_queued = bad.is_none() && self.is_ahead() && self.held.len() > self.cleared;
        // An answer comes in this very task, so none can fall between the look and this word.
        self.talk.await_answer(self.is_queued || self.guard.awaits_upgrade());
        let Some(bad) = bad else {
            // The first head is awaited whatever comes; before a later one a client may be silent for longer.
            let is_awaited = self.guard.heads() == 0 || self.has_part_of_a_head();
            if self.guard.is_in_head() && !self.is_ahead() && is_awaited {
                self.reading.run(Instant::now() + self.header_timeout);
            } else {
                self.reading.clear();
            }
            return;
        };
        self.reading.clear();
        self.held.truncate(self.cleared);
        if self.guard.is_in_head() {
            self.talk.refuse(self.guard.heads() + 1, bad);
            self.held.extend_from_slice(STAND_IN);
            self.cleared = self.held.len();
            self.ending = Ending::Refused;
        } else {
            self.ending = Ending::Broken(io::ErrorKind::InvalidData);
        }
    }

    /// Bytes came.
    fn came(&mut self, count: usize) {
        if self.guard.is_in_body() {
            self.pace.came(count);
            self.reading.clear();
        }
    }

    /// Nothing comes: whether it has been so for too long.
    fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        if self.guard.is_in_body() {
            self.reading.run(self.pace.wait());
        } else {
            self.pace.refill();
        }
        self.reading.is_over(cx)
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
        self.held.get(self.cleared..).unwrap_or_default().iter().any(|byte| !matches!(byte, b'\r' | b'\n'))
    }

    fn hand_on(&mut self, buf: &mut ReadBuf<'_>) {
        let here = self.cleared.min(buf.remaining());
        buf.put_slice(self.held.get(..here).unwrap_or_default());
        self.held.drain(..here);
        self.cleared -= here;
        if self.held.is_empty() && self.held.capacity() > READ_BYTES {
            self.held = Vec::new(); // a large head is rare, a connection may live for days
        }
    }

    /// Reads and throws away. Pending until the end: hyper takes an end for the client's going away.
    fn poll_swallow(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut bytes = [0; READ_BYTES];
        loop {
            let mut thrown = ReadBuf::new(&mut bytes);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut thrown))?;
            if thrown.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }

    fn poll_interim(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.talk.has_interim() {
            self.interim.append(&mut self.talk.take_interim());
        }
        while !self.interim.is_empty() {
            let written = Pin::new(&mut self.stream).poll_write(cx, &self.interim);
            let written = ready!(self.timed(cx, written))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.interim.drain(..written);
        }
        Poll::Ready(Ok(()))
    }

    /// The outcome of a write, which may be awaited only so long.
    fn timed(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.sending.clear();
        } else if self.send_timeout > Duration::ZERO {
            self.sending.run(Instant::now() + self.send_timeout);
            if self.sending.is_over(cx) {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        }
        written
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Wire<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if this.cleared > 0 {
                this.hand_on(buf);
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
                Poll::Pending if this.is_late(cx) => this.give_up(),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_interim(cx))?;
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.timed(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_interim(cx))?;
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.timed(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Registered first: what is said after the look wakes this task.
        self.talk.wake_by(cx.waker());
        ready!(self.poll_interim(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Ends our side, then reads on for a while. A tunnel's half is ended and no more: the other half lives.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.linger.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
            if this.guard.is_raw() {
                return Poll::Ready(Ok(()));
            }
            this.linger = Some((Box::pin(sleep(LINGER)), 0));
        }
        let mut bytes = [0; READ_BYTES];
        loop {
            let Some((until, thrown)) = this.linger.as_mut() else { return Poll::Ready(Ok(())) };
            let mut read = ReadBuf::new(&mut bytes);
            match Pin::new(&mut this.stream).poll_read(cx, &mut read) {
                Poll::Ready(Ok(())) if !read.filled().is_empty() && *thrown < LINGER_BYTES_MAX => {
                    *thrown += read.filled().len();
                }
                // The client's end, its reset, or more than we care to read: all the same now.
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => return until.as_mut().poll(cx).map(Ok),
            }
        }
    }
}
