//! The usual scene: vestibule between a client that it trusts and an upstream double, with a database of its own.

use super::client::Client;
use super::db::TestDb;
use super::upstream::Upstream;
use super::vestibule::{Setup, Vestibule};

pub(crate) struct Stage {
    pub(crate) vestibule: Vestibule,
    pub(crate) upstream: Upstream,
    pub(crate) db: TestDb,
    /// What started vestibule, to start another one.
    pub(crate) setup: Setup,
}

impl Stage {
    /// The defaults of [`Setup`] and an upstream that answers 200 with JSON.
    pub(crate) async fn plain() -> Self {
        Self::of(Upstream::json().await, |setup| setup).await
    }

    /// An upstream that answers 200 with JSON, and a changed configuration.
    pub(crate) async fn with(change: impl FnOnce(Setup) -> Setup) -> Self {
        Self::of(Upstream::json().await, change).await
    }

    /// The defaults before that upstream.
    pub(crate) async fn before(upstream: Upstream) -> Self {
        Self::of(upstream, |setup| setup).await
    }

    pub(crate) async fn of(upstream: Upstream, change: impl FnOnce(Setup) -> Setup) -> Self {
        let db = TestDb::fresh().await;
        let setup = change(Setup::new(&upstream.url, db.url()));
        let vestibule = setup.start().await;
        Self { vestibule, upstream, db, setup }
    }

    /// A client on the trusted address.
    pub(crate) fn client(&self) -> Client {
        self.vestibule.client()
    }

    /// A client on an address that nobody trusts.
    pub(crate) fn stranger(&self) -> Client {
        self.vestibule.client().from("127.0.0.2")
    }
}
