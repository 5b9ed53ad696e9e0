//! A relay before Postgres that writes down the statements that pass, as the wire has them.

use std::sync::{Arc, Mutex};

use sqlx::postgres::PgConnectOptions;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

use super::TestDatabase;

/// A statement's name on the server (empty for none) and its text.
type Seen = Arc<Mutex<Vec<(String, String)>>>;

/// The relay; it lives as long as the test's runtime.
pub(crate) struct Relay {
    port: u16,
    seen: Seen,
}

// === impl Relay ===

impl Relay {
    /// Stands before a database's server.
    pub(crate) async fn before(database: &TestDatabase) -> Self {
        let server: PgConnectOptions = database.url().parse().unwrap();
        let target = (server.get_host().to_owned(), server.get_port());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Seen::default();
        let shared = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(target.clone()).await.unwrap();
                let ((from_client, mut to_client), (mut from_server, to_server)) =
                    (client.into_split(), server.into_split());
                tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
                tokio::spawn(pass(from_client, to_server, Arc::clone(&shared)));
            }
        });
        Self { port, seen }
    }

    /// The database's URL by way of the relay, without TLS, which would hide the statements.
    pub(crate) fn url(&self, database: &TestDatabase) -> String {
        let options: PgConnectOptions = database.url().parse().unwrap();
        let (user, name) = (options.get_username(), options.get_database().unwrap());
        format!("postgresql://{user}@127.0.0.1:{}/{name}?sslmode=disable", self.port)
    }

    /// Every statement so far, those sent in one message apart.
    pub(crate) fn statements(&self) -> Vec<String> {
        self.seen.lock().unwrap().iter().map(|(_, text)| text.clone()).collect()
    }

    /// The names of statements that were prepared under one.
    pub(crate) fn statement_names(&self) -> Vec<String> {
        self.seen.lock().unwrap().iter().filter(|(name, _)| !name.is_empty()).map(|(name, _)| name.clone()).collect()
    }
}

/// Passes messages on: a start-up message, then typed ones (Postgres's manual, "Message Formats").
async fn pass(mut client: OwnedReadHalf, mut server: OwnedWriteHalf, seen: Seen) -> Option<()> {
    let mut typed = false;
    loop {
        let kind = if typed { Some(client.read_u8().await.ok()?) } else { None };
        let length = client.read_u32().await.ok()?;
        let mut body = vec![0; usize::try_from(length).ok()?.checked_sub(4)?];
        client.read_exact(&mut body).await.ok()?;
        let mut texts = body.split(|byte| *byte == 0).map(|text| String::from_utf8_lossy(text).into_owned());
        match kind {
            Some(b'Q') => {
                let batch = texts.next()?;
                let one = batch.split(';').map(str::trim).filter(|text| !text.is_empty());
                seen.lock().unwrap().extend(one.map(|text| (String::new(), text.to_owned())));
            }
            Some(b'P') => seen.lock().unwrap().push((texts.next()?, texts.next()?)),
            _ => typed = true,
        }
        let mut message: Vec<u8> = kind.into_iter().collect();
        message.extend(length.to_be_bytes());
        message.extend(body);
        server.write_all(&message).await.ok()?;
    }
}
