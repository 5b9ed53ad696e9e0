//! The bytes of one connection: what the guard hands on, and what `http::head::check` lets through of it.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::Authority;
use http::{Method, Request, Uri, Version};
use vestibule::http::head::{BadHead, HeadFields, check};
use vestibule::http::names::exactly_one;
use vestibule::http::query;
use vestibule::http1::testing::{Malformed, RequestGuard};

/// Small limits, so that short inputs reach them.
pub const HEAD_BYTES_MAX: usize = 512;
/// Most fields.
pub const FIELDS_MAX: usize = 8;
const TARGET_BYTES_MAX: usize = 96;
const EMPTY_LINES_MAX: usize = 2;
const METHOD_BYTES_MAX: usize = 32;

/// What became of the bytes.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    pass: usize,
    malformed: Option<Malformed>,
    heads: u64,
    is_in_head: bool,
}

/// How a connection is fed to the guard.
struct Feed<C> {
    /// How many more bytes come.
    cut: C,
    /// Whether a request to change the protocol is granted.
    grants_upgrade: bool,
    /// Whether each request is answered before the next is looked at.
    in_turn: bool,
}

/// Where a second reader stands after the bytes that were handed on.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// Between requests.
    Between,
    /// In a body.
    Body,
    /// In another protocol.
    Raw,
}

#[derive(Debug, PartialEq, Eq)]
enum Framing {
    Length(u64),
    Chunked,
    Upgrade,
}

/// Takes the bytes of a connection.
pub fn holds(bytes: &[u8]) {
    let whole = feed(bytes, Feed { cut: || usize::MAX, grants_upgrade: false, in_turn: false });
    for step in [1, 2, 7] {
        assert_eq!(feed(bytes, Feed { cut: || step, grants_upgrade: false, in_turn: false }), whole, "cut by {step}");
    }
    let mut seed = bytes.iter().fold(bytes.len(), |seed, byte| seed.wrapping_mul(31).wrapping_add(usize::from(*byte)));
    let uneven = || {
        seed = seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        1 + (seed >> 32) % 61
    };
    assert_eq!(feed(bytes, Feed { cut: uneven, grants_upgrade: false, in_turn: true }), whole, "in turn");

    let (heads, end) = read(&bytes[..whole.pass], false);
    assert_eq!(heads, whole.heads, "both count the same requests");
    assert_eq!(end == End::Between, whole.is_in_head, "both see a request's end at the same byte: {end:?}");
    if whole.malformed.is_some() && whole.is_in_head {
        refused(&bytes[whole.pass..]);
    }

    let raw = feed(bytes, Feed { cut: || usize::MAX, grants_upgrade: true, in_turn: false });
    let (_, end) = read(&bytes[..raw.pass], true);
    if end == End::Raw {
        assert_eq!((raw.pass, raw.malformed), (bytes.len(), None), "nothing is judged after a change of protocol");
    } else {
        assert_eq!(raw, whole, "without a change of protocol there is nothing to grant");
    }
}

/// Shows the guard what has come and was not handed on, as the wire does.
fn feed<C: FnMut() -> usize>(bytes: &[u8], mut feed: Feed<C>) -> Outcome {
    let mut guard = RequestGuard::new(HEAD_BYTES_MAX, FIELDS_MAX);
    let (mut come, mut pass, mut answered) = (0, 0, if feed.in_turn { 0 } else { u64::MAX });
    loop {
        let scan = guard.scan(&bytes[pass..come], answered);
        assert!(scan.pass <= come - pass, "no more is handed on than came");
        pass += scan.pass;
        let outcome = Outcome { pass, malformed: scan.malformed, heads: guard.heads(), is_in_head: guard.is_in_head() };
        if scan.malformed.is_some() {
            return outcome;
        }
        if guard.awaits_upgrade() {
            guard.upgraded(feed.grants_upgrade);
        } else if guard.heads() > answered {
            assert_eq!(guard.heads(), answered + 1, "one request is ahead of its answer, not more");
            answered += 1;
        } else if come < bytes.len() {
            come = come.saturating_add((feed.cut)()).min(bytes.len());
        } else {
            return outcome;
        }
    }
}

/// Reads what was handed on a second time. Gives the number of heads and where the bytes end.
fn read(mut rest: &[u8], grants_upgrade: bool) -> (u64, End) {
    let mut heads = 0;
    while !rest.is_empty() {
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let mut request = httparse::Request::new(&mut fields);
        let length = match request.parse(rest) {
            Ok(httparse::Status::Complete(length)) => length,
            other => panic!("what follows a request is no whole head: {other:?}"),
        };
        heads += 1;
        assert!(length <= HEAD_BYTES_MAX, "a head beyond the limit");
        assert!(!has_odd_line_end(&rest[..length]), "a bare CR or LF in a head");
        let headers = headers(&request);
        let framing = framing(&headers, request.version == Some(1)).expect("a head whose framing is in doubt");
        checked(&request, headers);
        rest = &rest[length..];
        let after = match framing {
            Framing::Upgrade if grants_upgrade => return (heads, End::Raw),
            Framing::Upgrade => Some(rest),
            Framing::Length(bytes) => usize::try_from(bytes).ok().and_then(|bytes| rest.get(bytes..)),
            Framing::Chunked => after_chunks(rest),
        };
        let Some(after) = after else { return (heads, End::Body) };
        rest = after;
    }
    (heads, End::Between)
}

/// A head that was refused has a fault that can be told.
fn refused(rest: &[u8]) {
    let mut fields = [httparse::EMPTY_HEADER; 2 * FIELDS_MAX];
    let mut request = httparse::Request::new(&mut fields);
    let Ok(httparse::Status::Complete(length)) = request.parse(rest) else { return };
    let method = request.method.unwrap_or_default();
    let is_odd = has_odd_line_end(&rest[..length])
        || rest[..length].chunks(2).take_while(|line| line == b"\r\n").count() > EMPTY_LINES_MAX
        || method.len() > METHOD_BYTES_MAX
        || method.bytes().any(|byte| byte.is_ascii_lowercase())
        || !request.path.unwrap_or_default().is_ascii();
    let target = request.path.unwrap_or_default();
    let is_no_target = target.contains(['#', '<', '>', '`']) || target.parse::<Uri>().is_err();
    let headers = headers(&request);
    let is_http2 = headers.get_all(header::UPGRADE).iter().any(|value| {
        value
            .as_bytes()
            .split(|byte| *byte == b',')
            .any(|item| item.trim_ascii().to_ascii_lowercase().starts_with(b"h2"))
    });
    let is_large = length > HEAD_BYTES_MAX || request.headers.len() > FIELDS_MAX;
    let framing = framing(&headers, request.version == Some(1));
    assert!(
        is_odd || is_no_target || is_http2 || is_large || framing.is_none(),
        "a sound head is refused: {request:?}"
    );
}

fn headers(request: &httparse::Request<'_, '_>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for field in request.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes()).expect("a name is a token");
        headers.append(name, HeaderValue::from_bytes(field.value).expect("a value is text"));
    }
    headers
}

/// What frames the body (RFC 9112 6.3), where every server would say the same.
fn framing(headers: &HeaderMap, is_11: bool) -> Option<Framing> {
    let all = |name| headers.get_all(name).iter().map(HeaderValue::as_bytes).collect::<Vec<_>>();
    let length = match all(header::CONTENT_LENGTH)[..] {
        [] => None,
        [digits] if digits.iter().all(u8::is_ascii_digit) => Some(std::str::from_utf8(digits).ok()?.parse().ok()?),
        _ => return None,
    };
    let is_chunked = match all(header::TRANSFER_ENCODING)[..] {
        [] => false,
        [coding] if is_11 && coding.eq_ignore_ascii_case(b"chunked") => true,
        _ => return None,
    };
    match (length, is_chunked, headers.contains_key(header::UPGRADE)) {
        (Some(_), true, _) | (_, true, true) | (Some(1..), false, true) => None,
        (None, true, false) => Some(Framing::Chunked),
        (None | Some(0), false, true) => Some(Framing::Upgrade),
        (length, false, false) => Some(Framing::Length(length.unwrap_or(0))),
    }
}

/// What follows a chunked body; `None` where its end is not there. Whatever is there is well written.
fn after_chunks(mut rest: &[u8]) -> Option<&[u8]> {
    loop {
        let (line, after) = line(rest)?;
        let digits = line.iter().position(|byte| *byte == b';').unwrap_or(line.len());
        let digits = std::str::from_utf8(&line[..digits]).expect("a size is hex digits");
        assert!(digits.bytes().all(|byte| byte.is_ascii_hexdigit()), "a size is hex digits");
        let size = u64::from_str_radix(digits, 16).expect("a size has a digit, and not too many");
        rest = after;
        if size == 0 {
            break;
        }
        rest = rest.get(usize::try_from(size).ok()?..)?;
        let end = rest.get(..2)?;
        assert_eq!(end, b"\r\n", "a chunk ends where it says");
        rest = &rest[2..];
    }
    loop {
        let (line, after) = line(rest)?;
        rest = after;
        if line.is_empty() {
            return Some(rest);
        }
        assert!(!line.starts_with(b" ") && !line.starts_with(b"\t"), "a folded trailer");
    }
}

/// A line and what follows; no line of a chunk has another end than CRLF, or a control.
fn line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let line = bytes[..end].strip_suffix(b"\r").expect("a bare LF in a chunk's line");
    assert!(!line.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t'), "a control in a chunk's line");
    Some((line, &bytes[end + 1..]))
}

/// Whether a line ends otherwise than in CRLF, or a CR stands alone.
pub fn has_odd_line_end(bytes: &[u8]) -> bool {
    let is_odd = |at: usize| match bytes[at] {
        b'\n' => at == 0 || bytes[at - 1] != b'\r',
        b'\r' => bytes.get(at + 1) != Some(&b'\n'),
        _ => false,
    };
    (0..bytes.len()).any(is_odd)
}

/// What passes the check of a head, and what must.
fn checked(request: &httparse::Request<'_, '_>, headers: HeaderMap) {
    let target = request.path.unwrap_or_default();
    // hyper would answer what is no target to it by itself, and cut a fragment off.
    let uri = target.parse::<Uri>().expect("the guard hands on what hyper takes");
    assert!(!target.contains('#'), "a fragment");
    let version = if request.version == Some(1) { Version::HTTP_11 } else { Version::HTTP_10 };
    let built = Request::builder().method(request.method.unwrap_or_default()).uri(uri.clone()).version(version);
    let mut head = built.body(()).expect("a method is a token").into_parts().0;
    head.headers = headers;
    let verdict = check(&HeadFields {
        method: &head.method,
        uri: &head.uri,
        version: head.version,
        host: exactly_one(&head.headers, &header::HOST).map(|host| host.map(HeaderValue::as_bytes)),
        expectation: exactly_one(&head.headers, &header::EXPECT),
        target_bytes: TARGET_BYTES_MAX,
    });

    let all = |name| head.headers.get_all(name).iter().map(HeaderValue::as_bytes).collect::<Vec<_>>();
    let (hosts, expects) = (all(header::HOST), all(header::EXPECT));
    let is_refused_method = ["CONNECT", "TRACE", "PRI"].contains(&head.method.as_str());
    assert_eq!(verdict == Err(BadHead::Method), is_refused_method);
    let path = uri.path_and_query().map_or("", |path| path.as_str());
    match verdict {
        Ok(()) => {
            assert!(path.starts_with('/') || (path == "*" && head.method == Method::OPTIONS), "{path}");
            assert!(path.len() <= TARGET_BYTES_MAX);
            assert!(uri.scheme_str().is_none_or(|scheme| ["http", "https"].contains(&scheme)), "{uri}");
            let decoded = decoded(&uri.path().replace('+', "%2b"));
            assert!(!decoded.contains(&0), "a NUL");
            let depth = |depth: Option<usize>, segment: &[u8]| match segment {
                b"" | b"." => depth,
                b".." => depth?.checked_sub(1),
                _ => depth.map(|depth| depth + 1),
            };
            assert!(decoded.split(|byte| *byte == b'/').fold(Some(0), depth).is_some(), "above the root: {uri}");
            match hosts[..] {
                // An empty one counts as none.
                [] | [b""] => assert_eq!(version, Version::HTTP_10),
                [host] => {
                    let host = std::str::from_utf8(host).expect("a host is ASCII");
                    let authority: Authority = host.parse().expect("a host is one to others too");
                    assert!(!host.contains(['@', '/', '?', '#', ',', ' ', '%', '\\']), "{host}");
                    assert_eq!(host.contains(':') && !host.ends_with(']'), authority.port_u16().is_some(), "{host}");
                    let target = uri.authority().map_or(host, Authority::as_str);
                    assert!(target.eq_ignore_ascii_case(host), "{host} is not the target's");
                }
                _ => panic!("two hosts"),
            }
            let is_known = |expects: &[u8]| expects.is_empty() || expects.eq_ignore_ascii_case(b"100-continue");
            assert!(expects.len() <= 1 && expects.iter().all(|expect| is_known(expect)));
        }
        Err(BadHead::TargetTooLong) => assert!(path.len() > TARGET_BYTES_MAX),
        Err(bad) => {
            let is_name = |host: &[u8]| !host.is_empty() && host.iter().all(u8::is_ascii_lowercase);
            let is_plain = target.starts_with('/')
                && !uri.path().contains(['%', '.'])
                && hosts.len() == 1
                && is_name(hosts[0])
                && expects.is_empty();
            assert!(is_refused_method || !is_plain, "a plain head is refused: {bad:?}");
        }
    }
    if let Some(text) = uri.query() {
        queried(text);
    }
}

/// Taking a parameter out takes it in every spelling, and nothing else.
fn queried(text: &str) {
    let is_key = |name: &str| decoded(name) == b"key";
    let name = |pair: &str| pair.split('=').next().unwrap_or_default().to_owned();
    let without = query::without(text, |name, _| name == "key");
    let kept: Vec<_> = text.split('&').filter(|pair| !is_key(&name(pair))).collect();
    assert_eq!(without.is_some(), text.split('&').any(|pair| is_key(&name(pair))), "{text}");
    assert_eq!(without.unwrap_or_else(|| text.to_owned()), kept.join("&"));
}

fn decoded(text: &str) -> Vec<u8> {
    let hex = |at: usize| text.as_bytes().get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let (mut bytes, mut at) = (Vec::new(), 0);
    while let Some(byte) = text.as_bytes().get(at) {
        at += 1;
        bytes.push(match (byte, hex(at), hex(at + 1)) {
            (b'%', Some(high), Some(low)) => {
                at += 2;
                u8::try_from(high << 4 | low).expect("two digits make a byte")
            }
            (b'+', _, _) => b' ',
            (other, _, _) => *other,
        });
    }
    bytes
}
