//! How long a message is, read as strictly as the RFC allows: what is not whole has no length.

/// What the start line says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Request,
    Answer,
}

/// The bytes of the first message, when all of it is there.
pub(crate) fn length(bytes: &[u8], kind: Kind) -> Option<usize> {
    let head = head_length(bytes)?;
    let fields = fields(&bytes[..head]);
    let value = |name: &str| fields.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str());
    let status = if kind == Kind::Answer { status(bytes) } else { None };
    if status.is_some_and(|status| status < 200 || status == 204 || status == 304) {
        return Some(head);
    }
    let body = &bytes[head..];
    let body = match (value("transfer-encoding"), value("content-length")) {
        (Some("chunked"), None) => chunked_length(body)?,
        (None, Some(length)) => length.parse().ok().filter(|length| *length <= body.len())?,
        (None, None) if kind == Kind::Request => 0,
        (None, None) => body.len(),
        _ => return None,
    };
    Some(head + body)
}

/// The bytes of a head with its empty line.
pub(crate) fn head_length(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4)
}

/// The field lines of a head: lower-case names, and values.
pub(crate) fn fields(head: &[u8]) -> Vec<(String, String)> {
    let head = String::from_utf8_lossy(head);
    let lines = head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
    lines.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect()
}

/// An answer's status.
pub(crate) fn status(bytes: &[u8]) -> Option<u16> {
    let rest = bytes.strip_prefix(b"HTTP/1.1 ").or_else(|| bytes.strip_prefix(b"HTTP/1.0 "))?;
    std::str::from_utf8(rest.get(..3)?).ok()?.parse().ok()
}

fn chunked_length(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let line = line(&bytes[at..])?;
        let size = usize::from_str_radix(std::str::from_utf8(line).ok()?, 16).ok()?;
        at += line.len() + 2;
        if size == 0 {
            break;
        }
        if bytes.get(at + size..at + size + 2)? != b"\r\n" {
            return None;
        }
        at += size + 2;
    }
    loop {
        let line = line(&bytes[at..])?;
        at += line.len() + 2;
        if line.is_empty() {
            return Some(at);
        }
    }
}

fn line(bytes: &[u8]) -> Option<&[u8]> {
    bytes.windows(2).position(|window| window == b"\r\n").map(|end| &bytes[..end])
}

#[test]
fn a_message_without_its_end_has_no_length() {
    for (bytes, kind, expected) in [
        ("GET / HTTP/1.1\r\n\r\nGET", Kind::Request, Some(18)),
        ("POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\nabc", Kind::Request, Some(40)),
        ("POST / HTTP/1.1\r\ncontent-length: 4\r\n\r\nabc", Kind::Request, None),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n", Kind::Answer, Some(58)),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n", Kind::Answer, None),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n", Kind::Answer, None),
        ("HTTP/1.1 103 Early Hints\r\n\r\nHTTP", Kind::Answer, Some(28)),
    ] {
        assert_eq!(length(bytes.as_bytes(), kind), expected, "{bytes:?}");
    }
}
