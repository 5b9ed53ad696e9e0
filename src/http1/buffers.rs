//! Bytes between a socket and hyper, at both ends: some may not go in yet, some must go out first.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

use super::guard::Scan;

/// Capacity that is kept. More is rare, and a connection may live for days.
const KEPT_BYTES: usize = 8192;
/// Bytes of one read that can't go straight into hyper's buffer.
const READ_BYTES: usize = 8192;

/// Bytes that were read and not handed to hyper; the first `approved` of them may be.
#[derive(Debug, Default)]
pub(super) struct ReadBuffer {
    bytes: Vec<u8>,
    approved: usize,
}

/// Bytes that go out before any more of hyper's: interim responses.
#[derive(Debug, Default)]
pub(super) struct WriteBuffer {
    bytes: Vec<u8>,
}

/// The end of a connection whose offsets do not fit its bytes: a bug.
fn out_of_step() -> io::Error {
    debug_assert!(false, "an offset beyond its bytes");
    io::ErrorKind::InvalidData.into()
}

// === impl ReadBuffer ===

impl ReadBuffer {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What is held and may not be handed on yet.
    pub(super) fn unapproved(&self) -> impl Iterator<Item = u8> {
        self.bytes.iter().skip(self.approved).copied()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Whether some of it may be handed on.
    pub(super) fn has_approved(&self) -> bool {
        self.approved > 0
    }

    /// Reads, has the bytes checked, and gives hyper those that it may have: straight into its buffer where nothing is held, else
    /// behind what is held. Returns how many bytes came, 0 at the end of the stream, and the verdict.
    pub(super) fn poll_read<M>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut (impl AsyncRead + Unpin),
        buf: &mut ReadBuf<'_>,
        is_direct: bool,
        scan: impl FnOnce(&[u8]) -> Scan<M>,
    ) -> Poll<io::Result<(usize, Scan<M>)>> {
        debug_assert!(!is_direct || self.is_empty(), "bytes would overtake those that are held");
        if is_direct {
            let before = buf.filled().len();
            ready!(Pin::new(stream).poll_read(cx, buf))?;
            let new = buf.filled().get(before..).ok_or_else(out_of_step)?;
            let (count, scan) = (new.len(), scan(new));
            self.bytes.extend_from_slice(new.get(scan.pass..).ok_or_else(out_of_step)?);
            buf.set_filled(before + scan.pass);
            return Poll::Ready(Ok((count, scan)));
        }
        let mut bytes = [MaybeUninit::uninit(); READ_BYTES];
        let mut new = ReadBuf::uninit(&mut bytes);
        ready!(Pin::new(stream).poll_read(cx, &mut new))?;
        if new.filled().is_empty() {
            return Poll::Ready(Ok((0, Scan { pass: 0, malformed: None })));
        }
        self.bytes.extend_from_slice(new.filled());
        let scan = scan(&self.bytes);
        self.approve(scan.pass);
        self.hand_on(buf)?;
        Poll::Ready(Ok((new.filled().len(), scan)))
    }

    /// All that is held was checked: so much of it may be handed on.
    pub(super) fn approve(&mut self, pass: usize) {
        debug_assert!(pass <= self.bytes.len(), "an offset beyond its bytes");
        self.approved = pass;
    }

    /// Throws away what may not be handed on, and approves these bytes in its place.
    pub(super) fn replace_unapproved(&mut self, bytes: &[u8]) {
        self.bytes.truncate(self.approved);
        self.bytes.extend_from_slice(bytes);
        self.approved = self.bytes.len();
    }

    /// Hands on what is approved, as far as there is room.
    pub(super) fn hand_on(&mut self, buf: &mut ReadBuf<'_>) -> io::Result<()> {
        let here = self.approved.min(buf.remaining());
        buf.put_slice(self.bytes.get(..here).ok_or_else(out_of_step)?);
        self.bytes.drain(..here);
        self.approved -= here;
        if self.bytes.is_empty() && self.bytes.capacity() > KEPT_BYTES {
            self.bytes = Vec::new();
        }
        Ok(())
    }
}

// === impl WriteBuffer ===

impl WriteBuffer {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Writes all of it.
    pub(super) fn poll_out(&mut self, mut write: impl FnMut(&[u8]) -> Poll<io::Result<usize>>) -> Poll<io::Result<()>> {
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
