//! The bytes of answers on one connection: what the guard hands on of them. The first byte says what was asked.

use vestibule::http1::testing::{MalformedResponse, RequestKind, ResponseGuard};

use super::head;

/// What became of the bytes.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    pass: usize,
    malformed: Option<MalformedResponse>,
    is_idle: bool,
}

/// Takes the bytes of a connection.
pub fn holds(bytes: &[u8]) {
    let Some((first, bytes)) = bytes.split_first() else { return };
    let asked = match first % 3 {
        0 => RequestKind::Plain,
        1 => RequestKind::Head,
        _ => RequestKind::Upgrade,
    };
    let whole = feed(bytes, asked, usize::MAX);
    for step in [1, 2, 7] {
        assert_eq!(feed(bytes, asked, step), whole, "cut by {step}");
    }
    let passed = &bytes[..whole.pass];
    if whole.is_idle {
        // What follows an answer's end is nobody's.
        let more = feed(&[passed, b"HTTP/1.1 200 OK\r\n\r\n"].concat(), asked, usize::MAX);
        assert_eq!((more.pass, more.malformed), (whole.pass, Some(MalformedResponse::Unasked)));
    }
    read(passed, asked);
}

/// Shows the guard what has come and was not handed on, as the wire does.
fn feed(bytes: &[u8], asked: RequestKind, step: usize) -> Outcome {
    let mut guard = ResponseGuard::new(head::HEAD_BYTES_MAX, head::FIELDS_MAX);
    guard.expect(asked);
    let (mut come, mut pass) = (0, 0);
    loop {
        let scan = guard.scan(&bytes[pass..come]);
        assert!(scan.pass <= come - pass, "no more is handed on than came");
        pass += scan.pass;
        if scan.malformed.is_some() || come == bytes.len() {
            return Outcome { pass, malformed: scan.malformed, is_idle: guard.is_idle() };
        }
        come = come.saturating_add(step).min(bytes.len());
    }
}

/// Reads the heads that were handed on a second time: all but the last are interim, and none is in doubt.
fn read(mut rest: &[u8], asked: RequestKind) {
    while !rest.is_empty() {
        let mut fields = [httparse::EMPTY_HEADER; head::FIELDS_MAX];
        let mut answer = httparse::Response::new(&mut fields);
        let Ok(httparse::Status::Complete(length)) = answer.parse(rest) else { panic!("no whole head was handed on") };
        let bytes = &rest[..length];
        assert!(length <= head::HEAD_BYTES_MAX && !head::has_odd_line_end(bytes), "a head that is in doubt");
        let named = |name: &str| answer.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name)).count();
        assert!(named("content-length") + named("transfer-encoding") <= 1, "two framings of one body");
        match answer.code {
            Some(101) => return assert_eq!(asked, RequestKind::Upgrade, "a change of protocol that nobody asked for"),
            Some(100..=199) => rest = &rest[length..],
            Some(204 | 304) => return assert_eq!(length, rest.len(), "a body where there is none"),
            _ if asked == RequestKind::Head => return assert_eq!(length, rest.len(), "a body of an answer to HEAD"),
            _ => return,
        }
    }
}
