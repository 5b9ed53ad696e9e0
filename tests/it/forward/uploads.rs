//! Large uploads: whole, unchanged and in little memory.

use aws_lc_rs::digest::{Context, SHA256};

use crate::support::client::UserProfile;
use crate::support::stage::Stage;
use crate::support::upstream::{Exchange, Upstream};
use crate::support::wire::Framing;

const MIB: usize = 1024 * 1024;
/// Most that an upload of any length may add to the process.
const MORE_MAX: usize = 16 * MIB;

fn answer(hash: Context) -> String {
    format!("{:?}", hash.finish())
}

/// Answers with the SHA-256 of the body, of which it keeps nothing.
async fn digest(mut exchange: Exchange) -> Option<Exchange> {
    let mut hash = Context::new(&SHA256);
    match exchange.head.request_framing() {
        Framing::Length(mut left) => {
            while left > 0 {
                let bytes = exchange.wire.read_exact(left.min(MIB)).await;
                exchange.wire.used.clear();
                left = if bytes.is_empty() { return None } else { left - bytes.len() };
                hash.update(&bytes);
            }
        }
        Framing::Chunked => {
            while let Some(bytes) = exchange.wire.read_chunk().await.ok()? {
                exchange.wire.used.clear();
                hash.update(&bytes);
            }
            assert_eq!(exchange.wire.read_exact(2).await, b"\r\n");
        }
        Framing::None | Framing::UntilClose => return None,
    }
    let hash = answer(hash);
    exchange.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{hash}", hash.len())).await.then_some(exchange)
}

/// Uploads so much, no two MiB alike, and says what it added to the memory at most.
async fn upload(mebibytes: usize, is_chunked: bool) -> usize {
    let stage = Stage::before(Upstream::forgetful(digest).await).await;
    let request = stage.client().request("POST", "/v1/files").from(&UserProfile::named("alice"));
    request.clone().header("Content-Length", "0").send().await; // so that this person is known
    let framed = if is_chunked {
        request.header("Transfer-Encoding", "chunked")
    } else {
        request.header("Content-Length", (mebibytes * MIB).to_string())
    };
    let mut piece: Vec<u8> =
        (0..u32::try_from(MIB).expect("it fits")).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let before = stage.vestibule.memory();
    let mut wire = stage.client().connect().await;
    wire.send(framed.bytes()).await;
    let mut hash = Context::new(&SHA256);
    for number in 0..mebibytes {
        piece[..8].copy_from_slice(&(number as u64).to_be_bytes());
        hash.update(&piece);
        let is_sent = if is_chunked {
            wire.send(format!("{:x}\r\n", piece.len())).await && wire.send(&piece).await && wire.send("\r\n").await
        } else {
            wire.send(&piece).await
        };
        assert!(is_sent, "taken to the end");
    }
    if is_chunked {
        wire.send("0\r\n\r\n").await;
    }
    let came = wire.answer("POST").await;
    came.expect_ok();
    assert_eq!(came.text(), answer(hash), "what came is what was sent");
    stage.vestibule.peak_memory().saturating_sub(before)
}

#[tokio::test]
async fn a_large_upload_passes_unchanged_in_little_memory() {
    for is_chunked in [false, true] {
        let more = upload(256, is_chunked).await;
        assert!(more <= MORE_MAX, "{more} bytes more for 256 MiB, chunked: {is_chunked}");
    }
}

mod long {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "takes minutes: tests/run --long"]
    #[expect(clippy::print_stdout, reason = "the figures are what the run is for")]
    async fn an_upload_of_two_gibibytes_passes_unchanged_in_little_memory() {
        for is_chunked in [false, true] {
            let begin = tokio::time::Instant::now();
            let more = upload(2048, is_chunked).await;
            println!("2 GiB up, chunked: {is_chunked}: {more} bytes more, {:.1} s", begin.elapsed().as_secs_f64());
            assert!(more <= MORE_MAX, "{more} bytes more for 2 GiB, chunked: {is_chunked}");
        }
    }
}
