//! HTTP/1.1 as bytes, for both ends: nothing here knows hyper, so nothing here hides what hyper did.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpStream, UnixStream};

use super::within;

/// A stream of either family.
pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
    /// The reading half alone.
    From(OwnedReadHalf),
    /// The writing half alone.
    To(OwnedWriteHalf),
}

/// A socket with what was read from it and not yet used.
pub(crate) struct Wire {
    socket: Socket,
    ahead: Vec<u8>,
    /// Every byte that was used, in order.
    pub(crate) used: Vec<u8>,
}

/// The start line and the header lines, in order and as they were spelled.
#[derive(Debug, Clone, Default)]
pub(crate) struct Head {
    pub(crate) line: String,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
}

/// How the end of a body is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    None,
    Length(usize),
    Chunked,
    UntilClose,
}

/// A body that was read.
#[derive(Debug, Clone, Default)]
pub(crate) struct Body {
    pub(crate) bytes: Vec<u8>,
    pub(crate) trailers: Vec<(String, Vec<u8>)>,
    /// The end came as the framing promised.
    pub(crate) complete: bool,
}

impl Head {
    fn parse(bytes: &[u8]) -> Self {
        let mut lines = bytes.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        let line = String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
        Self { line, headers: lines.filter(|line| !line.is_empty()).map(field).collect() }
    }

    /// All values of a header, each as text.
    pub(crate) fn values(&self, name: &str) -> Vec<String> {
        let named = self.headers.iter().filter(|(given, _)| given.eq_ignore_ascii_case(name));
        named.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).collect()
    }

    /// The one value of a header; two are a failure.
    pub(crate) fn value(&self, name: &str) -> Option<String> {
        let mut values = self.values(name);
        assert!(values.len() < 2, "{name} came more than once: {values:?}");
        values.pop()
    }

    /// A request's target.
    pub(crate) fn target(&self) -> &str {
        self.line.split(' ').nth(1).unwrap_or_default()
    }

    /// The header names, lower-case, in order.
    pub(crate) fn names(&self) -> Vec<String> {
        self.headers.iter().map(|(name, _)| name.to_ascii_lowercase()).collect()
    }

    /// The second word of the start line of an answer.
    pub(crate) fn status(&self) -> u16 {
        let status = self.line.split(' ').nth(1).and_then(|code| code.parse().ok());
        status.unwrap_or_else(|| panic!("not a status line: {:?}", self.line))
    }

    fn declared(&self) -> Option<Framing> {
        if self.values("transfer-encoding").iter().any(|value| value.eq_ignore_ascii_case("chunked")) {
            return Some(Framing::Chunked);
        }
        let length = self.values("content-length").first()?.parse().expect("Content-Length is a number");
        Some(Framing::Length(length))
    }

    /// The framing of a request's body.
    pub(crate) fn request_framing(&self) -> Framing {
        self.declared().unwrap_or(Framing::None)
    }

    /// The framing of an answer's body, for a request with that method.
    pub(crate) fn answer_framing(&self, method: &str) -> Framing {
        let status = self.status();
        if method == "HEAD" || status < 200 || status == 204 || status == 304 {
            return Framing::None;
        }
        self.declared().unwrap_or(Framing::UntilClose)
    }
}

fn field(line: &[u8]) -> (String, Vec<u8>) {
    let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
    let (name, value) = line.split_at(colon);
    let value = value.strip_prefix(b":").unwrap_or(value);
    (String::from_utf8_lossy(name).into_owned(), value.trim_ascii().to_vec())
}

impl From<TcpStream> for Wire {
    fn from(stream: TcpStream) -> Self {
        // The doubles write in small pieces that must not wait for each other.
        let _ = stream.set_nodelay(true);
        Self { socket: Socket::Tcp(stream), ahead: Vec::new(), used: Vec::new() }
    }
}

impl From<UnixStream> for Wire {
    fn from(stream: UnixStream) -> Self {
        Self { socket: Socket::Unix(stream), ahead: Vec::new(), used: Vec::new() }
    }
}

impl Wire {
    /// Writes all bytes; false when the other side is gone.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        let bytes = bytes.as_ref();
        match &mut self.socket {
            Socket::Tcp(stream) => stream.write_all(bytes).await.is_ok(),
            Socket::Unix(stream) => stream.write_all(bytes).await.is_ok(),
            Socket::To(stream) => stream.write_all(bytes).await.is_ok(),
            Socket::From(_) => panic!("the reading half writes nothing"),
        }
    }

    /// The reading and the writing half, for two tasks.
    pub(crate) fn split(self) -> (Self, Self) {
        let Socket::Tcp(stream) = self.socket else { panic!("a whole TCP stream") };
        let (from, to) = stream.into_split();
        let half = |socket, ahead| Self { socket, ahead, used: Vec::new() };
        (half(Socket::From(from), self.ahead), half(Socket::To(to), Vec::new()))
    }

    /// The stream, and what was read of it and not used, for whoever speaks another protocol on it.
    pub(crate) fn into_stream(self) -> (TcpStream, Vec<u8>) {
        let Socket::Tcp(stream) = self.socket else { panic!("a whole TCP stream") };
        (stream, self.ahead)
    }

    /// What was read and not yet used.
    pub(crate) fn ahead(&self) -> &[u8] {
        &self.ahead
    }

    /// Waits for something to read; false at the end.
    pub(crate) async fn peek(&mut self) -> bool {
        !self.ahead.is_empty() || self.fill().await
    }

    /// Closes with a RST instead of a FIN.
    pub(crate) fn reset(self) {
        match self.socket {
            Socket::Tcp(stream) => stream.set_zero_linger().expect("the socket takes the option"),
            Socket::Unix(_) => panic!("a unix socket has no RST"),
            Socket::From(_) | Socket::To(_) => panic!("a half can't be reset"),
        }
    }

    /// Reads some more; false at the end, however it came.
    async fn fill(&mut self) -> bool {
        let read = match &mut self.socket {
            Socket::Tcp(stream) => stream.read_buf(&mut self.ahead).await,
            Socket::Unix(stream) => stream.read_buf(&mut self.ahead).await,
            Socket::From(stream) => stream.read_buf(&mut self.ahead).await,
            Socket::To(_) => panic!("the writing half reads nothing"),
        };
        read.is_ok_and(|count| count > 0)
    }

    /// Whether the other side ends it with a reset.
    pub(crate) async fn is_reset(&mut self) -> bool {
        let Socket::Tcp(stream) = &mut self.socket else { panic!("a whole TCP stream") };
        stream
            .read_to_end(&mut self.ahead)
            .await
            .is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset)
    }

    fn take(&mut self, count: usize) -> Vec<u8> {
        let rest = self.ahead.split_off(count);
        let taken = std::mem::replace(&mut self.ahead, rest);
        self.used.extend_from_slice(&taken);
        taken
    }

    /// Bytes up to and with the end mark.
    async fn take_through(&mut self, end: &[u8]) -> Option<Vec<u8>> {
        let mut from = 0;
        loop {
            if let Some(at) = self.ahead[from..].windows(end.len()).position(|window| window == end) {
                return Some(self.take(from + at + end.len()));
            }
            from = self.ahead.len().saturating_sub(end.len());
            if !self.fill().await {
                return None;
            }
        }
    }

    /// The next head, or `None` when the other side closed instead.
    pub(crate) async fn read_head(&mut self) -> Option<Head> {
        Some(Head::parse(&self.take_through(b"\r\n\r\n").await?))
    }

    /// Exactly so many bytes, or fewer when the other side closed.
    pub(crate) async fn read_exact(&mut self, count: usize) -> Vec<u8> {
        while self.ahead.len() < count && self.fill().await {}
        self.take(count.min(self.ahead.len()))
    }

    /// Everything until the other side closes.
    pub(crate) async fn read_to_end(&mut self) -> Vec<u8> {
        while self.fill().await {}
        self.take(self.ahead.len())
    }

    /// Whether the other side has closed; bytes that come before are kept.
    pub(crate) async fn closed(&mut self) {
        while self.fill().await {}
    }

    /// The next chunk of a chunked body: `Ok(None)` after the last one, `Err` when it broke off.
    pub(crate) async fn read_chunk(&mut self) -> Result<Option<Vec<u8>>, ()> {
        let size = self.take_through(b"\r\n").await.ok_or(())?;
        let size = String::from_utf8_lossy(&size);
        let size = size.trim().split(';').next().and_then(|size| usize::from_str_radix(size, 16).ok());
        let size = size.expect("a chunk begins with its size");
        if size == 0 {
            return Ok(None);
        }
        let mut chunk = self.read_exact(size + 2).await;
        if chunk.len() < size + 2 {
            return Err(());
        }
        chunk.truncate(size);
        Ok(Some(chunk))
    }

    /// A whole body.
    pub(crate) async fn read_body(&mut self, framing: Framing) -> Body {
        match framing {
            Framing::None => Body { complete: true, ..Body::default() },
            Framing::Length(length) => {
                let bytes = self.read_exact(length).await;
                Body { complete: bytes.len() == length, bytes, trailers: Vec::new() }
            }
            Framing::UntilClose => Body { bytes: self.read_to_end().await, complete: true, trailers: Vec::new() },
            Framing::Chunked => self.read_chunked().await,
        }
    }

    async fn read_chunked(&mut self) -> Body {
        let mut body = Body::default();
        loop {
            match self.read_chunk().await {
                Ok(Some(chunk)) => body.bytes.extend(chunk),
                Ok(None) => break,
                Err(()) => return body,
            }
        }
        while let Some(line) = self.take_through(b"\r\n").await {
            if line == b"\r\n" {
                body.complete = true;
                break;
            }
            body.trailers.push(field(&line));
        }
        body
    }

    /// The next head, or a failure.
    pub(crate) async fn expect_head(&mut self, what: &str) -> Head {
        within(what, self.read_head()).await.unwrap_or_else(|| panic!("the connection closed instead of {what}"))
    }
}
