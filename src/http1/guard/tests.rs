use proptest::prelude::*;

use super::*;

fn scan(bytes: &[u8]) -> Scan {
    RequestGuard::new(1024, 10).scan(bytes, u64::MAX)
}

fn all(bytes: &str) -> Scan {
    Scan { pass: bytes.len(), malformed: None }
}

#[test]
fn whole_requests_pass_one_after_another() {
    for text in [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "\r\nGET / HTTP/1.0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding:  Chunked \r\n\r\n3;x=\"y\"\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        "POST / HTTP/1.1\r\nX: \tsn\u{f6}w \r\nContent-Length: 0\r\n\r\n",
    ] {
        assert_eq!(scan(text.as_bytes()), all(text), "{text:?}");
    }
}

#[test]
fn heads_that_are_not_written_as_http_asks_are_refused_whole() {
    for head in [
        "GET / HTTP/1.1\nHost: a\n\n",
        "GET / HTTP/1.1\r\nHost: a\n\r\n",
        "GET / HTTP/1.1\r\nX:X\nTransfer-Encoding: chunked\r\n\r\n",
        "GET / HTTP/1.1\r\nX: a\rb\r\n\r\n",
        "GET / HTTP/1.1\r\n X: folded\r\n\r\n",
        "GET / HTTP/1.1\r\nX: a\r\n folded\r\n\r\n",
        "GET / HTTP/1.1\r\nX : a\r\n\r\n",
        "GET / HTTP/1.1\r\n: a\r\n\r\n",
        "GET / HTTP/1.1\r\nX\r\n\r\n",
        "GET / HTTP/1.1\r\nX\u{e9}: a\r\n\r\n",
        "GET / HTTP/1.1\r\nX: a\0b\r\n\r\n",
        "GET / HTTP/1.1\r\nX: a\x7f\r\n\r\n",
        "GET  / HTTP/1.1\r\n\r\n",
        "GET /a b HTTP/1.1\r\n\r\n",
        "GET /\u{e9} HTTP/1.1\r\n\r\n",
        "GET  HTTP/1.1\r\n\r\n",
        " / HTTP/1.1\r\n\r\n",
        "G(T / HTTP/1.1\r\n\r\n",
        "GET /\r\n\r\n",
        "get / HTTP/1.1\r\n\r\n",
        "GET / HTTP/2.0\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\n",
        "GET / http/1.1\r\n\r\n",
        "GET / HTTP/1.1 \r\n\r\n",
        "\n\nGET / HTTP/1.1\r\n\r\n",
    ] {
        assert_eq!(scan(head.as_bytes()), Scan { pass: 0, malformed: Some(Malformed::Head) }, "{head:?}");
    }
}

#[test]
fn doubtful_framing_is_refused_before_the_body() {
    for fields in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5, 5",
        "Content-Length: +5",
        "Content-Length: 0x5",
        "Content-Length: -1",
        "Content-Length:",
        "Content-Length: 5 5",
        "Content-Length: 99999999999999999999",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: ,chunked",
        "Transfer-Encoding: cow, chunked",
        "Transfer-Encoding: gzip",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding:",
        "Upgrade: websocket\r\nContent-Length: 5",
        "Upgrade: websocket\r\nTransfer-Encoding: chunked",
    ] {
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n");
        assert_eq!(scan(head.as_bytes()), Scan { pass: 0, malformed: Some(Malformed::Framing) }, "{fields:?}");
    }
    for target in
        ["/a?q=\"b\"", "/a#b", "/a<b", "/a>b", "/a`b", "/#", "http://", "http://a b", "//a b", "?", "http://[/"]
    {
        let malformed = scan(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).malformed;
        let expected = if target.contains(' ') { Malformed::Head } else { Malformed::Target };
        assert_eq!(malformed, Some(expected), "{target:?}");
    }
    for protocol in ["h2c", "websocket, H2C", "h2c-14,websocket", "h2"] {
        let head = format!("GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: {protocol}\r\n\r\n");
        assert_eq!(scan(head.as_bytes()).malformed, Some(Malformed::Upgrade), "{protocol}");
    }
    let old = b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(scan(old).malformed, Some(Malformed::Framing));
}

#[test]
fn broken_chunks_end_where_they_break() {
    let head = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (good, malformed) in [
        ("", "\r\n"),
        ("", ";x\r\n"),
        ("", " 5\r\nhello"),
        ("", "+5\r\nhello"),
        ("5", "_\r\nhello"),
        ("0", "x5\r\n"),
        ("5", " \r\nhello"),
        ("5", "\nhello"),
        ("5\r", "hello"),
        ("5\r\nhello", "XX"),
        ("5\r\nhello", "\n0\r\n"),
        ("5\r\nhello\r", "0"),
        ("fffffffffffffff", "f\r\n"),
        ("5;a", "\0\r\n"),
        ("0\r\n", " X: folded\r\n\r\n"),
        ("0\r\n", ": x\r\n\r\n"),
        ("0\r\nX: a", "\n\r\n"),
        ("0\r\nX: a\r\n\r", "x"),
        ("0\r\nX", "\r\n\r\n"),
        ("0\r\nX", " : a\r\n\r\n"),
        ("0\r\nX", "\u{e9}: a\r\n\r\n"),
        ("0\r\nX: ", "\0\r\n\r\n"),
    ] {
        let text = format!("{head}{good}{malformed}");
        assert_eq!(
            scan(text.as_bytes()),
            Scan { pass: head.len() + good.len(), malformed: Some(Malformed::Framing) },
            "{good:?} {malformed:?}"
        );
    }
}

#[test]
fn limits_hold_for_whole_and_for_unfinished_heads() {
    let fields = |count| format!("GET / HTTP/1.1\r\n{}\r\n", "X: 1\r\n".repeat(count));
    assert_eq!(scan(fields(10).as_bytes()), all(&fields(10)));
    assert_eq!(scan(fields(11).as_bytes()).malformed, Some(Malformed::TooLarge));
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(1024));
    assert_eq!(scan(long.as_bytes()).malformed, Some(Malformed::TooLarge));
    assert_eq!(scan(&long.as_bytes()[..1024]), Scan { pass: 0, malformed: None });
    assert_eq!(scan(&long.as_bytes()[..1025]).malformed, Some(Malformed::TooLarge));
    // The fault is where nobody looks, whether it is there yet or not.
    let odd = format!("GET /{} HTTP/1.1\nHost: a\n\n", "x".repeat(1024));
    assert_eq!(scan(odd.as_bytes()).malformed, Some(Malformed::TooLarge));
    let line = |bytes| format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(bytes - 1));
    let wide = |bytes| RequestGuard::new(2 * TARGET_BYTES_MAX, 10).scan(line(bytes).as_bytes(), u64::MAX).malformed;
    assert_eq!(wide(TARGET_BYTES_MAX), None);
    assert_eq!(wide(TARGET_BYTES_MAX + 1), Some(Malformed::TargetTooLong));
    let method = |bytes| scan(format!("{} / HTTP/1.1\r\n\r\n", "M".repeat(bytes)).as_bytes()).malformed;
    assert_eq!((method(32), method(33)), (None, Some(Malformed::Head)));
    let extension = format!("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5;{}\r\n", "x".repeat(5000));
    assert_eq!(scan(extension.as_bytes()).malformed, Some(Malformed::Framing));
    let trailers = format!("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: {}\r\n", "x".repeat(20_000));
    assert_eq!(scan(trailers.as_bytes()).malformed, Some(Malformed::Framing));
}

#[test]
fn nothing_is_read_past_a_request_to_change_the_protocol() {
    let head = "GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n";
    let mut guard = RequestGuard::new(1024, 10);
    let bytes = format!("{head}\x01\x00raw");
    assert_eq!(guard.scan(bytes.as_bytes(), u64::MAX), all(head));
    assert!(guard.awaits_upgrade());
    guard.upgraded(true);
    assert_eq!(guard.scan(b"\x01\x00raw\n\n", u64::MAX), Scan { pass: 7, malformed: None });
}

#[test]
fn a_second_request_waits_for_the_firsts_answer() {
    let one = "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc";
    let two = format!("{one}{one}");
    let mut guard = RequestGuard::new(1024, 10);
    assert_eq!(guard.scan(two.as_bytes(), 0), all(one));
    assert_eq!(guard.scan(one.as_bytes(), 0), all(""));
    assert_eq!(guard.scan(one.as_bytes(), 1), all(one));
}

proptest! {
    /// However the network cuts the bytes, the same bytes pass and the same verdict falls.
    #[test]
    fn cuts_change_nothing(
        pieces in prop::collection::vec(prop::sample::select(vec![
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nA: b\r\n\r\n",
            "\r\n", "\n", "x", "0\r\n\r\n", "GET / HTTP/1.1\n\n", "GET / HTTP/1.1\r\nX: \ta\u{e9}\t\r\n", "\r", "\0", "\x7f", &"y".repeat(500),
        ].into_iter().map(str::to_owned).collect::<Vec<_>>()), 1..6),
        cuts in prop::collection::vec(1usize..40, 1..40),
    ) {
        let bytes = pieces.concat().into_bytes();
        let whole = RequestGuard::new(1024, 10).scan(&bytes, u64::MAX);
        let (mut guard, mut held, mut rest, mut passed, mut malformed) = (RequestGuard::new(1024, 10), Vec::new(), &bytes[..], 0, None);
        let mut cuts = cuts.into_iter().cycle();
        while !rest.is_empty() && malformed.is_none() {
            let (now, later) = rest.split_at(cuts.next().unwrap().min(rest.len()));
            held.extend_from_slice(now);
            rest = later;
            let scan = guard.scan(&held, u64::MAX);
            passed += scan.pass;
            held.drain(..scan.pass);
            malformed = scan.malformed;
        }
        prop_assert_eq!((passed, malformed), (whole.pass, whole.malformed));
    }

    #[test]
    fn bytes_taken_together_are_judged_like_single_ones(
        common in prop::sample::select(vec![b'a', b'-', b' ', b'\t', 0x80, 0xff]), length in 0usize..100,
        others in prop::collection::vec((0usize..100, any::<u8>()), 0..4),
    ) {
        let mut bytes = vec![common; length];
        for (at, other) in others {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = other;
            }
        }
        prop_assert_eq!(text_length(&bytes), bytes.iter().take_while(|byte| is_text(**byte)).count());
        prop_assert_eq!(token_length(&bytes), bytes.iter().take_while(|byte| is_token(**byte)).count());
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let scan = scan(&bytes);
        prop_assert!(scan.pass <= bytes.len());
    }
}

fn answer(asked: RequestKind, bytes: &[u8]) -> (ResponseGuard, Scan<MalformedResponse>) {
    let mut guard = ResponseGuard::new(1024, 10);
    guard.expect(asked);
    let scan = guard.scan(bytes);
    (guard, scan)
}

#[test]
fn an_answer_ends_where_its_framing_says() {
    for (asked, text) in [
        (RequestKind::Plain, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
        (RequestKind::Plain, "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n"),
        (RequestKind::Plain, "HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX: 1\r\n\r\n"),
        (RequestKind::Plain, "HTTP/1.1 103 Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n"),
        (RequestKind::Plain, "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"),
        (RequestKind::Plain, "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n"),
        (RequestKind::Head, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
        (RequestKind::Head, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        (RequestKind::Upgrade, "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno"),
    ] {
        let (mut guard, scan) = answer(asked, text.as_bytes());
        assert_eq!(scan, Scan { pass: text.len(), malformed: None }, "{text:?}");
        assert!(guard.is_idle(), "{text:?}");
        assert_eq!(guard.scan(b"x"), Scan { pass: 0, malformed: Some(MalformedResponse::Unasked) }, "{text:?}");
        let (_, scan) = answer(asked, format!("{text}HTTP/1.1 200 OK\r\n").as_bytes());
        assert_eq!(scan, Scan { pass: text.len(), malformed: Some(MalformedResponse::Unasked) }, "{text:?}");
    }
    let (guard, scan) = answer(RequestKind::Plain, b"HTTP/1.0 200 OK\r\n\r\nto the end");
    assert_eq!((scan.malformed, guard.is_idle()), (None, false));
    let (mut guard, scan) = answer(RequestKind::Upgrade, b"HTTP/1.1 101 Switching Protocols\r\n\r\n\x00\n");
    assert_eq!(scan.malformed, None);
    assert_eq!(guard.scan(b"\n\n"), Scan { pass: 2, malformed: None });
}

#[test]
fn answers_that_two_readers_could_read_in_two_ways_are_refused() {
    for head in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5",
        "HTTP/1.1 200 OK\r\nContent-Length: 5, 5",
        "HTTP/1.1 200 OK\r\nContent-Length: +5",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked",
    ] {
        let (_, scan) = answer(RequestKind::Plain, format!("{head}\r\n\r\n").as_bytes());
        assert_eq!(scan, Scan { pass: 0, malformed: Some(Malformed::Framing.into()) }, "{head:?}");
    }
    for head in [
        "HTTP/1.1 2000 OK",
        "\r\nHTTP/1.1 200 OK",
        "HTTP/1.1 20",
        "HTTP/1.1 099 OK",
        "HTTP/1.1 +20 OK",
        "HTTP/2.0 200 OK",
        "HTTP/1.1  200 OK",
        "ICY 200 OK",
        "HTTP/1.1 200 O\0K",
        "HTTP/1.1 200 OK\nX: 1",
        "HTTP/1.1 200 OK\r\nX : 1",
        "HTTP/1.1 200 OK\r\nX: 1\r\n folded",
        "HTTP/1.1 200 OK\r\nX: a\0b",
        "HTTP/1.1 200 OK\r\nX: a\rb",
    ] {
        let (_, scan) = answer(RequestKind::Plain, format!("{head}\r\n\r\n").as_bytes());
        assert_eq!(scan, Scan { pass: 0, malformed: Some(Malformed::Head.into()) }, "{head:?}");
    }
    assert_eq!(
        answer(RequestKind::Plain, b"HTTP/1.1 101 Switching\r\n\r\n").1.malformed,
        Some(MalformedResponse::Unasked)
    );
    let large = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(1024));
    assert_eq!(answer(RequestKind::Plain, large.as_bytes()).1.malformed, Some(Malformed::TooLarge.into()));
    let hints = "HTTP/1.1 103 Early Hints\r\n\r\n";
    assert_eq!(
        answer(RequestKind::Plain, hints.repeat(100).as_bytes()).1,
        Scan { pass: hints.len() * 100, malformed: None }
    );
    assert_eq!(answer(RequestKind::Plain, hints.repeat(101).as_bytes()).1.malformed, Some(MalformedResponse::Interim));
}

#[test]
fn no_target_is_left_for_hyper_to_refuse() {
    for byte in 0..=255_u8 {
        for form in ["/@", "/?@", "/a?b=@c", "*@", "http://a/@", "http://a/?@", "http://a@/"] {
            let target: Vec<u8> = form.bytes().map(|sign| if sign == b'@' { byte } else { sign }).collect();
            let head = [b"GET ", target.as_slice(), b" HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
            assert!(
                scan(&head).malformed.is_some() || http::Uri::try_from(&*target).is_ok(),
                "{}",
                target.escape_ascii()
            );
        }
    }
}
