//! The strictest reading of a stream of requests: what the RFC's grammar says and nothing beyond it.
//!
//! It shares nothing with vestibule's own: two readers that agree by being one prove nothing.

/// A request as the strictest reader sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) body: Vec<u8>,
}

/// What comes after the last whole request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Rest {
    /// Nothing.
    Nothing,
    /// The beginning of a request.
    Open,
    /// Something that is no request.
    Bad(&'static str),
}

struct Framing {
    length: Option<usize>,
    is_chunked: bool,
}

/// Every whole request up to the first bytes that are none.
pub(super) fn read(mut bytes: &[u8]) -> (Vec<Request>, Rest) {
    let mut requests = Vec::new();
    loop {
        // RFC 9112 2.2: empty lines before a request are passed over.
        while let Some(rest) = bytes.strip_prefix(b"\r\n") {
            bytes = rest;
        }
        if bytes.is_empty() {
            return (requests, Rest::Nothing);
        }
        match request(bytes) {
            Ok(Some((request, length))) => {
                requests.push(request);
                bytes = &bytes[length..];
            }
            Ok(None) => return (requests, Rest::Open),
            Err(why) => return (requests, Rest::Bad(why)),
        }
    }
}

fn request(bytes: &[u8]) -> Result<Option<(Request, usize)>, &'static str> {
    let Some(head) = find(bytes, b"\r\n\r\n") else { return Ok(None) };
    let mut lines = lines(&bytes[..head]);
    let (method, target, is_11) = request_line(lines.next().unwrap_or_default())?;
    let framing = fields(lines, is_11)?;
    let body = &bytes[head + 4..];
    let found = match framing {
        Framing { length: Some(_), is_chunked: true } => return Err("two framings"),
        Framing { is_chunked: true, .. } => chunks(body)?,
        Framing { length, .. } => {
            let length = length.unwrap_or(0);
            body.get(..length).map(|body| (body.to_vec(), length))
        }
    };
    Ok(found.map(|(body, length)| (Request { method, target, body }, head + 4 + length)))
}

fn request_line(line: &[u8]) -> Result<(String, String, bool), &'static str> {
    let mut words = line.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return Err("three words");
    };
    if !is_token(method) || target.is_empty() || !target.iter().all(u8::is_ascii_graphic) {
        return Err("a method and a target");
    }
    let is_11 = match version {
        b"HTTP/1.1" => true,
        b"HTTP/1.0" => false,
        _ => return Err("a version"),
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok((text(method), text(target), is_11))
}

fn fields<'a>(lines: impl Iterator<Item = &'a [u8]>, is_11: bool) -> Result<Framing, &'static str> {
    let mut framing = Framing { length: None, is_chunked: false };
    let mut hosts = 0;
    for line in lines {
        let (name, value) = field(line)?;
        match name.as_str() {
            "host" => hosts += 1,
            "content-length" => {
                let text = std::str::from_utf8(value).map_err(|_| "a length")?;
                let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
                let length = text.parse().ok().filter(|_| is_number).ok_or("a length")?;
                if framing.length.replace(length).is_some() {
                    return Err("two lengths");
                }
            }
            "transfer-encoding" => {
                if framing.is_chunked || !is_11 || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err("a coding");
                }
                framing.is_chunked = true;
            }
            _ => {}
        }
    }
    if hosts > 1 || (is_11 && hosts == 0) { Err("one host") } else { Ok(framing) }
}

fn field(line: &[u8]) -> Result<(String, &[u8]), &'static str> {
    let colon = line.iter().position(|byte| *byte == b':').ok_or("a colon")?;
    let (name, value) = line.split_at(colon);
    let value = &value[1..];
    if !is_token(name) || !value.iter().all(|byte| *byte == b'\t' || *byte >= b' ' && *byte != 0x7f) {
        return Err("a name and a value");
    }
    let start = value.iter().position(|byte| !b" \t".contains(byte)).unwrap_or(value.len());
    let end = value.iter().rposition(|byte| !b" \t".contains(byte)).map_or(start, |at| at + 1);
    Ok((String::from_utf8_lossy(name).to_ascii_lowercase(), &value[start..end]))
}

/// A body in chunks, and how many bytes it took on the wire.
fn chunks(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, &'static str> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let Some(end) = find(&bytes[at..], b"\r\n") else { return Ok(None) };
        let line = &bytes[at..at + end];
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let extension = &line[digits..];
        let is_extension = extension.is_empty() || extension.starts_with(b";");
        if digits == 0 || !is_extension || extension.iter().any(|byte| *byte != b'\t' && byte.is_ascii_control()) {
            return Err("a chunk's size");
        }
        let size = std::str::from_utf8(&line[..digits]).ok().and_then(|text| usize::from_str_radix(text, 16).ok());
        let size = size.ok_or("a chunk's size")?;
        at += end + 2;
        if size == 0 {
            break;
        }
        let Some(data) = size.checked_add(2).and_then(|size| bytes.get(at..)?.get(..size)) else { return Ok(None) };
        body.extend(data.strip_suffix(b"\r\n").ok_or("a chunk's end")?);
        at += data.len();
    }
    loop {
        let Some(end) = find(&bytes[at..], b"\r\n") else { return Ok(None) };
        let line = &bytes[at..at + end];
        at += end + 2;
        if line.is_empty() {
            return Ok(Some((body, at)));
        }
        field(line)?;
    }
}

/// The lines of a head; a CR or LF within one is its own and makes it bad.
fn lines(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(head);
    std::iter::from_fn(move || {
        let bytes = rest?;
        let end = find(bytes, b"\r\n");
        rest = end.map(|end| &bytes[end + 2..]);
        Some(end.map_or(bytes, |end| &bytes[..end]))
    })
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
}

#[test]
fn the_strictest_reading_stops_at_the_first_doubt() {
    let good = "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi";
    for (behind, rest) in [
        ("", Rest::Nothing),
        ("\r\n", Rest::Nothing),
        ("GET /2 HTTP/1.1\r\nHost: a\r\n", Rest::Open),
        ("GET /2 HTTP/1.1\r\n\r\n", Rest::Bad("one host")),
        ("GET /2 HTTP/1.1\r\nHost: a\r\nX: a\nb\r\n\r\n", Rest::Bad("a name and a value")),
        ("GET /2 HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\n", Rest::Bad("a length")),
        ("GET /2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", Rest::Bad("a coding")),
        (
            "GET /2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5 \r\nhello\r\n",
            Rest::Bad("a chunk's size"),
        ),
        ("GET /2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello!\r\n", Rest::Bad("a chunk's end")),
    ] {
        let (requests, end) = read(format!("{good}{behind}").as_bytes());
        assert_eq!((requests.len(), &requests[0].body[..], end), (1, &b"hi"[..], rest), "{behind:?}");
    }
    let (requests, end) =
        read(b"\r\nPUT /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\nhi\r\n0\r\nX: 1\r\n\r\nX");
    assert_eq!((requests[0].body.as_slice(), end), (&b"hi"[..], Rest::Open));
}
