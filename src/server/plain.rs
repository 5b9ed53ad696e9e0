//! Small plain servers: the admin port, and the demo's stand-in for LiteLLM.

use std::convert::Infallible;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::either::Either;

use super::listener::{Accepted, Acceptor, Listener};

/// A request to such a server.
pub type PlainRequest = Request<Incoming>;

/// Serves for as long as it is polled. `header_timeout` is for a request's head, and between requests.
pub async fn serve<A, F, B>(listener: TcpListener, header_timeout: Duration, connections_max: usize, answer: A)
where
    A: Fn(PlainRequest) -> F + Clone + Send + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    let mut acceptor = Acceptor::new(Listener::Tcp(listener), Arc::new(Semaphore::new(connections_max)));
    while let Some((stream, _, place)) = acceptor.next().await {
        let stream = match stream {
            Accepted::Tcp(stream) => Either::Left(stream),
            Accepted::Unix(stream) => Either::Right(stream),
        };
        let answer = answer.clone();
        let service = service_fn(move |request| {
            let answered = answer(request);
            async { Ok::<_, Infallible>(answered.await) }
        });
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(header_timeout);
        let connection = http.serve_connection(TokioIo::new(stream), service);
        tokio::spawn(async move {
            // A client that goes away is no fault of this server.
            let _ = connection.await;
            drop(place);
        });
    }
}
