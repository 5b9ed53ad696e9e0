//! Bytes that stand between a socket and hyper, for the wires at both ends: some may not go in yet, some must go out first.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

use super::framing::Scan;
use super::trailing::Trailing;

/// Capacity that is kept. More is rare, and a connection may live for days.
const KEPT_BYTES: usize = 8192;
/// Bytes of one read that can't go straight into hyper's buffer.
const READ_BYTES: usize = 8192;

/// Bytes read and not handed on; the first `cleared` of them may be.
#[derive(Debug, Default)]
pub struct Held {
    bytes: Vec<u8>,
    cleared: usize,
}

/// Bytes of ours that go out before anything more of hyper's: interim answers, the end of a body that has trailers.
#[derive(Debug, Default)]
pub struct Ahead {
    bytes: Vec<u8>,
}

// === impl Held ===

impl Held {
    /// All that is held.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What is held and may not be handed on.
    pub fn rest(&self) -> &[u8] {
        self.bytes.get(self.cleared..).unwrap_or_default()
    }

    /// Nothing is held.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Whether something may be handed on.
    pub fn is_cleared(&self) -> bool {
        self.cleared > 0
    }

    /// Reads behind what is held, not cleared; how much it was, 0 at the end.
    pub fn poll_fill<S: AsyncRead + Unpin>(&mut self, cx: &mut Context<'_>, stream: &mut S) -> Poll<io::Result<usize>> {
        let mut bytes = [MaybeUninit::uninit(); READ_BYTES];
        let mut new = ReadBuf::uninit(&mut bytes);
        ready!(Pin::new(stream).poll_read(cx, &mut new))?;
        self.push(new.filled());
        Poll::Ready(Ok(new.filled().len()))
    }

    /// Holds more, not cleared.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The whole was looked at: so much of it may be handed on.
    pub fn clear<B>(&mut self, scan: &Scan<B>) {
        self.cleared = scan.pass;
    }

    /// Throws away what may not be handed on, and clears this in its place.
    pub fn replace_rest(&mut self, bytes: &[u8]) {
        self.bytes.truncate(self.cleared);
        self.bytes.extend_from_slice(bytes);
        self.cleared = self.bytes.len();
    }

    /// Hands on what is cleared, as far as there is room.
    pub fn hand_on(&mut self, buf: &mut ReadBuf<'_>) {
        let here = self.cleared.min(buf.remaining());
        buf.put_slice(self.bytes.get(..here).unwrap_or_default());
        self.bytes.drain(..here);
        self.cleared -= here;
        if self.bytes.is_empty() && self.bytes.capacity() > KEPT_BYTES {
            self.bytes = Vec::new();
        }
    }
}

// === impl Ahead ===

impl Ahead {
    /// More to go out, behind what is there.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Takes what hyper writes while trailers wait for the end of their body, and says how much it was. `None` = it is to
    /// be written. hyper has little left then, for all of the body has gone to it.
    pub fn gather(&mut self, trailing: &Trailing, bufs: &[IoSlice<'_>]) -> Option<usize> {
        if !trailing.is_there() {
            return None;
        }
        let before = self.bytes.len();
        for buf in bufs {
            self.bytes.extend_from_slice(buf);
        }
        Some(self.bytes.len() - before)
    }

    /// hyper has nothing left to write: the end of the body is there.
    pub fn finish(&mut self, trailing: &Trailing) {
        if trailing.is_there() {
            trailing.finish(&mut self.bytes);
        }
    }

    /// Writes all of it.
    pub fn poll_out(&mut self, mut write: impl FnMut(&[u8]) -> Poll<io::Result<usize>>) -> Poll<io::Result<()>> {
        while !self.bytes.is_empty() {
            let count = ready!(write(&self.bytes))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.bytes.drain(..count);
        }
        if self.bytes.capacity() > KEPT_BYTES {
            self.bytes = Vec::new();
        }
        Poll::Ready(Ok(()))
    }
}
