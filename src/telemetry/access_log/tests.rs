use std::io;
use std::sync::Mutex;

use proptest::prelude::*;
use tracing_subscriber::fmt;

use super::*;

/// Everything that was written.
#[derive(Default)]
struct Page(Mutex<Vec<u8>>);

impl io::Write for &Page {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn plain() -> AccessLogEntry<'static> {
    AccessLogEntry {
        request_id: "0a1b2c3d",
        peer: "127.0.0.1",
        method: &Method::GET,
        path: "/v1/models",
        passage: "as",
        person: None,
        rule: None,
        status: None,
        refusal: None,
        cause: None,
        first_byte_ms: None,
        total_ms: 0,
        bytes: 0,
        whole: false,
    }
}

/// What `tracing-subscriber` writes for the same fields.
fn theirs(entry: &AccessLogEntry<'_>) -> Vec<u8> {
    let page = Arc::new(Page::default());
    let lines = fmt().with_writer(page.clone()).json().flatten_event(true);
    let subscriber = lines.with_current_span(false).with_span_list(false).finish();
    tracing::subscriber::with_default(subscriber, || event(entry));
    let mut page = page.0.lock().unwrap();
    std::mem::take(&mut page)
}

/// Ours, with the time of theirs.
fn ours(entry: &AccessLogEntry<'_>, theirs: &[u8]) -> Vec<u8> {
    let begin = br#"{"timestamp":""#.len();
    let mut line = Vec::new();
    append(&mut line, &theirs[begin..begin + STAMP_LEN], entry);
    line
}

#[track_caller]
fn expect_same(entry: &AccessLogEntry<'_>) {
    let theirs = theirs(entry);
    let ours = ours(entry, &theirs);
    assert_eq!(String::from_utf8(ours).unwrap(), String::from_utf8(theirs).unwrap());
}

/// Text with many of the characters that JSON escapes, and of those that it need not.
fn hostile() -> impl Strategy<Value = String> {
    let odd = prop_oneof![
        (0..0x30u8).prop_map(char::from),
        Just('"'),
        Just('\\'),
        Just('\x7f'),
        Just('\u{85}'),
        Just('\u{2028}'),
        any::<char>(),
    ];
    prop_oneof![
        "[ -~]{0,80}",
        proptest::collection::vec(odd, 0..80).prop_map(String::from_iter),
        ("[a-z/%\"]{1,9}", 500..1000usize).prop_map(|(part, times)| part.repeat(times)),
    ]
}

proptest! {
    #[test]
    fn a_line_is_what_tracing_would_write(
        texts in [hostile(), hostile(), hostile()],
        method in "[!#$%&'*+.^_`|~0-9A-Za-z-]{1,40}",
        options in any::<(Option<usize>, Option<u16>, Option<u64>)>(),
        more in [proptest::option::of(hostile()), proptest::option::of(hostile())],
        refusal in proptest::option::of(Just("no_identity")),
        numbers in any::<(u64, u64, bool)>(),
    ) {
        let [request_id, peer, path] = texts.each_ref().map(String::as_str);
        let (method, passage) = (&Method::from_bytes(method.as_bytes()).unwrap(), "own_key");
        let [person, cause] = more.each_ref().map(Option::as_deref);
        let ((rule, status, first_byte_ms), (total_ms, bytes, whole)) = (options, numbers);
        let entry = AccessLogEntry {
            request_id, peer, method, path, passage, person, rule, status, refusal, cause, first_byte_ms, total_ms, bytes, whole,
        };
        let theirs = theirs(&entry);
        prop_assert_eq!(String::from_utf8(ours(&entry, &theirs)), String::from_utf8(theirs));
    }
}

#[test]
fn every_character_up_to_255_is_escaped_alike() {
    let all: String = (0..=u8::MAX).map(char::from).collect();
    expect_same(&AccessLogEntry { path: &all, cause: Some(&all), ..plain() });
}

#[test]
fn least_and_greatest_numbers_are_written_alike() {
    for number in [0, 1, 9, 10, 99, 100, u64::MAX] {
        expect_same(&AccessLogEntry { total_ms: number, first_byte_ms: Some(number), ..plain() });
    }
    expect_same(&AccessLogEntry { rule: Some(usize::MAX), status: Some(u16::MAX), bytes: u64::MAX, ..plain() });
}

#[test]
fn a_time_is_shown_as_tracing_shows_it() {
    let shown = |now| DateCache::new().at(now).to_vec();
    let before = shown(SystemTime::now());
    let theirs = theirs(&plain());
    let after = shown(SystemTime::now());
    let begin = br#"{"timestamp":""#.len();
    let theirs = &theirs[begin..begin + STAMP_LEN];
    assert!(*before <= *theirs && *theirs <= *after, "{before:?} {theirs:?} {after:?}");
}

#[test]
fn dates_of_odd_years_are_right() {
    // `date -u -d @SECONDS +%FT%T`
    for (seconds, micros, wanted) in [
        (0, 0, "1970-01-01T00:00:00.000000Z"),
        (68_169_599, 999_999, "1972-02-28T23:59:59.999999Z"),
        (68_169_600, 7, "1972-02-29T00:00:00.000007Z"),
        (951_868_800, 0, "2000-03-01T00:00:00.000000Z"),
        (1_767_225_599, 120_000, "2025-12-31T23:59:59.120000Z"),
        (4_107_542_400, 0, "2100-03-01T00:00:00.000000Z"),
        (253_402_300_799, 1, "9999-12-31T23:59:59.000001Z"),
    ] {
        let mut stamp = DateCache::new();
        // Whatever was shown before.
        stamp.at(SystemTime::now());
        let now = SystemTime::UNIX_EPOCH + Duration::from_micros(seconds * 1_000_000 + micros);
        assert_eq!(stamp.at(now), wanted.as_bytes());
    }
    let before = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
    assert_eq!(DateCache::new().at(before), b"1970-01-01T00:00:00.000000Z");
}
