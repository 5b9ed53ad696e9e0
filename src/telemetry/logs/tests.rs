use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read as _};
use std::sync::mpsc;

use super::*;

/// Passes on what is written, one part per permit.
struct Gated {
    permits: mpsc::Receiver<()>,
    parts: mpsc::Sender<Vec<u8>>,
}

impl Write for Gated {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.permits.recv().map_err(io::Error::other)?;
        self.parts.send(bytes.to_vec()).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Answers each write as it is told, then takes everything.
struct Moody {
    moods: VecDeque<io::Result<usize>>,
    parts: mpsc::Sender<Vec<u8>>,
}

impl Write for Moody {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = self.moods.pop_front().unwrap_or(Ok(bytes.len()))?;
        self.parts.send(bytes[..taken].to_vec()).map_err(io::Error::other)?;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn gated() -> (Log, mpsc::Sender<()>, mpsc::Receiver<Vec<u8>>) {
    let ((permit, permits), (sender, parts)) = (mpsc::channel(), mpsc::channel());
    (Log::to(Gated { permits, parts: sender }).unwrap(), permit, parts)
}

fn moody(moods: impl IntoIterator<Item = io::Result<usize>>) -> (Log, mpsc::Receiver<Vec<u8>>) {
    let (sender, parts) = mpsc::channel();
    (Log::to(Moody { moods: moods.into_iter().collect(), parts: sender }).unwrap(), parts)
}

fn all(parts: &mpsc::Receiver<Vec<u8>>) -> String {
    parts.iter().map(|part| String::from_utf8(part).unwrap()).collect()
}

#[test]
fn lines_of_tracing_and_of_requests_keep_their_order() {
    let (reader, writer) = io::pipe().unwrap();
    let log = Log::to(writer).unwrap();
    let sink = log.sink.clone();
    let subscriber = fmt().with_writer(sink.clone()).json().flatten_event(true).finish();
    let reading = thread::spawn(move || BufReader::new(reader).lines().map(Result::unwrap).collect::<Vec<_>>());
    tracing::subscriber::with_default(subscriber, || {
        for number in 0..2000 {
            match number % 3 {
                0 => tracing::warn!(number, "a warning"),
                _ => sink.take_later(format!("{{\"number\":{number}}}\n").as_bytes()),
            }
        }
    });
    drop(log);
    let numbers: Vec<u64> = reading
        .join()
        .unwrap()
        .iter()
        .map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            line["number"].as_u64().unwrap()
        })
        .collect();
    assert_eq!(numbers, (0..2000).collect::<Vec<_>>());
}

#[test]
fn lines_gather_while_the_thread_writes() {
    let (log, permit, parts) = gated();
    log.sink.take_later(b"first\n");
    // It is taken when the thread waits for its permit.
    while !log.sink.lock().text.is_empty() {
        thread::yield_now();
    }
    (0..100).for_each(|_| log.sink.take_later(b"further\n"));
    permit.send(()).unwrap();
    assert_eq!(parts.recv().unwrap(), b"first\n");
    permit.send(()).unwrap();
    assert_eq!(parts.recv().unwrap(), b"further\n".repeat(100), "one write for all");
}

#[test]
fn a_pipe_that_is_not_read_stops_nothing_and_what_has_no_room_is_counted() {
    let (mut reader, writer) = io::pipe().unwrap();
    let log = Log::to(writer).unwrap();
    let line = |number: usize| format!("{number:0999}\n");
    let mut written = 0;
    while log.dropped().get() < 100 {
        log.sink.take_later(line(written).as_bytes());
        written += 1;
        assert!(written * line(0).len() < 4 * BYTES_MAX, "nothing was dropped");
    }
    let dropped = usize::try_from(log.dropped().get()).unwrap();
    let reading = thread::spawn(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        text
    });
    drop(log);
    // The last ones found no room, or one of them did while the first were written; all others are whole and in order.
    let read: Vec<_> = reading.join().unwrap().split_inclusive('\n').map(str::to_owned).collect();
    assert_eq!(read.len() + dropped, written);
    assert!(read.is_sorted() && read.iter().all(|shown| *shown == line(shown.trim_end().parse().unwrap())));
}

#[test]
fn the_last_lines_are_written_when_the_log_ends_and_later_ones_are_counted() {
    let (log, parts) = moody([]);
    let sink = log.sink.clone();
    let lines: Vec<_> = (0..1000).map(|number| format!("{number}\n")).collect();
    for line in &lines {
        sink.take_later(line.as_bytes());
    }
    drop(log);
    assert_eq!(all(&parts), lines.concat());
    sink.take_later(b"after\n");
    assert_eq!(sink.dropped.get(), 1);
}

#[test]
fn the_end_comes_although_a_line_is_not_taken() {
    let (log, permit, parts) = gated();
    log.sink.take_later(b"stuck\n");
    drop(log);
    drop(permit);
    assert_eq!(all(&parts), "");
}

#[test]
fn a_write_ends_where_a_line_ends() {
    let (log, permit, parts) = gated();
    let (short, wide) = ("s".repeat(999) + "\n", "l".repeat(WRITE_MAX) + "\n");
    log.sink.take_later((short.repeat(5) + &wide + &short).as_bytes());
    for wanted in [short.repeat(4), short.clone(), wide, short] {
        permit.send(()).unwrap();
        assert_eq!(String::from_utf8(parts.recv().unwrap()).unwrap(), wanted);
    }
}

#[test]
fn a_reader_that_has_no_room_yet_is_asked_again_and_an_error_costs_its_lines() {
    let errors = [io::ErrorKind::WouldBlock, io::ErrorKind::Interrupted].map(|kind| Err(kind.into()));
    let (log, parts) = moody(errors.into_iter().chain([Ok(3), Err(io::ErrorKind::WouldBlock.into())]));
    log.sink.take_later(b"first\nsecond\n");
    let dropped = log.dropped();
    drop(log);
    assert_eq!((all(&parts).as_str(), dropped.get()), ("first\nsecond\n", 0));

    let (log, parts) = moody([Err(io::ErrorKind::StorageFull.into())]);
    let dropped = log.dropped();
    log.sink.take_later(b"first\nsecond\n");
    while dropped.get() == 0 {
        thread::yield_now();
    }
    log.sink.take_later(b"third\n");
    drop(log);
    assert_eq!((all(&parts).as_str(), dropped.get()), ("third\n", 2));
}
