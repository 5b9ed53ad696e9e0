//! The plain HTTP client: calls to LiteLLM, questions to the OAuth proxy, `check --probe`, `healthcheck`. Not for forwarded
//! requests, whose answers a guard checks byte by byte.

use std::error::Error;
use std::fmt::{self, Display, Formatter};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tokio::time::timeout;
use tower_service::Service;

type BoxError = Box<dyn Error + Send + Sync>;

/// Most bytes of an answer's head: what an OAuth proxy says of a user with many groups.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// A client of one server, with its connections.
#[derive(Clone)]
pub struct HttpClient {
    client: Client<Connector, Full<Bytes>>,
    server: String,
    timeout: Duration,
    body_bytes_max: usize,
    is_kept: bool,
}

/// How a client calls.
#[derive(Debug, Clone)]
pub struct ClientSettings {
    /// The server's name in errors.
    pub server: String,
    /// What connections are made of.
    pub transport: Transport,
    /// Limit for a whole call, with the connection and the body.
    pub timeout: Duration,
    /// Limit for the connection, shared by the addresses of a name.
    pub connect_timeout: Option<Duration>,
    /// How long an idle connection is kept; `None` for one connection per call.
    pub idle_timeout: Option<Duration>,
    /// Most bytes of an answer's body.
    pub body_bytes_max: usize,
}

/// What connections are made of.
#[derive(Debug, Clone)]
pub enum Transport {
    /// TCP, for `http` alone.
    Tcp,
    /// TCP, and TLS for `https`.
    Tls(Authorities),
    /// This unix socket, whatever the call's address.
    Unix(PathBuf),
}

/// The certificate authorities by which a server is judged.
#[derive(Debug, Clone)]
pub struct Authorities(Option<RootCertStore>);

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// No connection, or no TLS on it.
    #[error("could not connect to {0}")]
    Connect(String, #[source] Cause),
    /// The time ran out.
    #[error("{0} did not answer within {seconds} s", seconds = .1.as_secs_f64())]
    Timeout(String, Duration),
    /// The connection broke, or the answer was not HTTP.
    #[error("the answer of {0} could not be read")]
    Answer(String, #[source] Cause),
    /// The body broke off, or is longer than the limit.
    #[error("the answer of {0} broke off or is too long")]
    Body(String),
    /// The address or a header can't be sent.
    #[error("the call to {0} can't be written as a request")]
    Request(String, #[source] http::Error),
    /// The file of certificate authorities can't be used.
    #[error("the certificate authorities can't be read: {0}")]
    Authorities(String),
}

/// hyper-util's error, without its own words (`client error (Connect): tcp connect error`): [`CallError`] has better ones.
#[derive(Debug)]
pub struct Cause(legacy::Error);

/// A whole answer.
#[derive(Debug)]
pub struct ClientResponse {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// The address of a call: text, or a [`Uri`].
pub trait CallTarget: TryInto<Uri, Error: Into<http::Error>> {}

/// A body that is read as it arrives.
pub struct ClientBody {
    body: Incoming,
    server: String,
}

#[derive(Clone)]
enum Connector {
    Tcp(HttpConnector),
    Tls(HttpsConnector<HttpConnector>),
    Unix(PathBuf),
}

/// A connection of any transport.
trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

// === impl HttpClient ===

impl HttpClient {
    /// Connects with the first call.
    pub fn new(settings: ClientSettings) -> Self {
        let ClientSettings { server, transport, timeout, connect_timeout, idle_timeout, body_bytes_max } = settings;
        let mut builder = Client::builder(TokioExecutor::new());
        builder.timer(TokioTimer::new()).pool_timer(TokioTimer::new()).http1_max_buf_size(HEAD_BYTES_MAX);
        match idle_timeout {
            Some(limit) => builder.pool_idle_timeout(limit),
            None => builder.pool_max_idle_per_host(0),
        };
        let client = builder.build(Connector::new(transport, connect_timeout));
        Self { client, server, timeout, body_bytes_max, is_kept: idle_timeout.is_some() }
    }

    /// GETs an address.
    pub async fn get(&self, address: impl CallTarget, headers: HeaderMap) -> Result<ClientResponse, CallError> {
        self.whole(self.request(Method::GET, address, headers, Bytes::new())?).await
    }

    /// POSTs JSON to an address.
    pub async fn post(
        &self,
        address: impl CallTarget,
        headers: HeaderMap,
        json: String,
    ) -> Result<ClientResponse, CallError> {
        self.whole(self.json(address, headers, json)?).await
    }

    /// GETs an address for the status and the headers. The body is read so that the connection can be kept; one that is too
    /// long, or breaks off, only costs its connection.
    pub async fn get_head(
        &self,
        address: impl CallTarget,
        headers: HeaderMap,
    ) -> Result<(StatusCode, HeaderMap), CallError> {
        let request = self.request(Method::GET, address, headers, Bytes::new())?;
        self.in_time(async {
            let (head, body) = self.send(request).await?.into_parts();
            let _ = Limited::new(body, self.body_bytes_max).collect().await;
            Ok((head.status, head.headers))
        })
        .await
    }

    /// POSTs JSON to an address for an answer that is read as it arrives: the limits hold for its head alone.
    pub async fn post_for_stream(
        &self,
        address: impl CallTarget,
        headers: HeaderMap,
        json: String,
    ) -> Result<(StatusCode, ClientBody), CallError> {
        let request = self.json(address, headers, json)?;
        let (head, body) = self.in_time(self.send(request)).await?.into_parts();
        Ok((head.status, ClientBody { body, server: self.server.clone() }))
    }

    fn json(
        &self,
        address: impl CallTarget,
        mut headers: HeaderMap,
        json: String,
    ) -> Result<Request<Full<Bytes>>, CallError> {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        self.request(Method::POST, address, headers, json.into())
    }

    fn request(
        &self,
        method: Method,
        address: impl CallTarget,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, CallError> {
        let request = Request::builder().method(method).uri(address).body(Full::new(body));
        let mut request = request.map_err(|error| CallError::Request(self.server.clone(), error))?;
        *request.headers_mut() = headers;
        Ok(request)
    }

    async fn whole(&self, request: Request<Full<Bytes>>) -> Result<ClientResponse, CallError> {
        self.in_time(async {
            let (head, body) = self.send(request).await?.into_parts();
            let body = Limited::new(body, self.body_bytes_max).collect().await;
            let body = body.map_err(|_| CallError::Body(self.server.clone()))?.to_bytes();
            Ok(ClientResponse { status: head.status, headers: head.headers, body })
        })
        .await
    }

    async fn in_time<T>(&self, call: impl Future<Output = Result<T, CallError>>) -> Result<T, CallError> {
        timeout(self.timeout, call).await.map_err(|_| CallError::Timeout(self.server.clone(), self.timeout))?
    }

    /// A GET changes nothing, so it is sent once more where a kept connection may have closed under it.
    async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, CallError> {
        let again = (self.is_kept && *request.method() == Method::GET).then(|| request.clone());
        let answer = match (self.client.request(request).await, again) {
            (Err(error), Some(again)) if !error.is_connect() => self.client.request(again).await,
            (answer, _) => answer,
        };
        answer.map_err(|error| {
            let failed = if error.is_connect() { CallError::Connect } else { CallError::Answer };
            failed(self.server.clone(), Cause(error))
        })
    }
}

// === impl ClientSettings ===

impl ClientSettings {
    /// One connection per call, and no limit for it but the call's.
    pub fn single(server: String, transport: Transport, timeout: Duration, body_bytes_max: usize) -> Self {
        Self { server, transport, timeout, connect_timeout: None, idle_timeout: None, body_bytes_max }
    }
}

// === impl ClientBody ===

impl ClientBody {
    /// The next bytes; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, CallError> {
        loop {
            let Some(frame) = self.body.frame().await else { return Ok(None) };
            let frame = frame.map_err(|_| CallError::Body(self.server.clone()))?;
            if let Ok(data) = frame.into_data() {
                return Ok(Some(data));
            }
        }
    }
}

// === impl Authorities ===

impl Authorities {
    /// Those that browsers know.
    pub fn public() -> Self {
        Self(None)
    }

    /// Those of a file of PEM, and no others.
    pub fn read(file: &Path) -> Result<Self, CallError> {
        let wrong = |error: &dyn Display| CallError::Authorities(format!("{}: {error}", file.display()));
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(file).map_err(|error| wrong(&error))? {
            roots.add(certificate.map_err(|error| wrong(&error))?).map_err(|error| wrong(&error))?;
        }
        if roots.is_empty() {
            return Err(wrong(&"there is no certificate in it"));
        }
        Ok(Self(Some(roots)))
    }
}

// === impl Cause ===

impl Cause {
    /// The system's or TLS' error where there is no connection, else hyper's.
    fn inner(&self) -> &(dyn Error + 'static) {
        let below = self.0.source();
        let io = std::iter::successors(below, |&error| error.source()).find(|error| error.is::<std::io::Error>());
        io.filter(|_| self.0.is_connect()).or(below).unwrap_or(&self.0)
    }
}

impl Display for Cause {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Display::fmt(self.inner(), f)
    }
}

impl Error for Cause {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.inner().source()
    }
}

// === impl Connector ===

impl Connector {
    fn new(transport: Transport, connect_timeout: Option<Duration>) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(connect_timeout);
        match transport {
            Transport::Tcp => Self::Tcp(tcp),
            Transport::Tls(Authorities(roots)) => {
                tcp.enforce_http(false);
                let builder = HttpsConnectorBuilder::new();
                let builder = match roots {
                    None => builder.with_webpki_roots(),
                    Some(roots) => builder
                        .with_tls_config(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()),
                };
                Self::Tls(builder.https_or_http().enable_http1().wrap_connector(tcp))
            }
            Transport::Unix(path) => Self::Unix(path),
        }
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Box<dyn ByteStream>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        match self {
            Self::Tcp(tcp) => tcp.poll_ready(context).map_err(Into::into),
            Self::Tls(tls) => tls.poll_ready(context),
            Self::Unix(_) => Poll::Ready(Ok(())),
        }
    }

    fn call(&mut self, address: Uri) -> Self::Future {
        fn any(stream: impl ByteStream + 'static) -> TokioIo<Box<dyn ByteStream>> {
            TokioIo::new(Box::new(stream))
        }
        match self {
            Self::Tcp(tcp) => {
                let connecting = tcp.call(address);
                Box::pin(async { Ok(any(connecting.await?.into_inner())) })
            }
            Self::Tls(tls) => {
                let connecting = tls.call(address);
                Box::pin(async { Ok(any(TokioIo::new(connecting.await?))) })
            }
            Self::Unix(path) => {
                let path = path.clone();
                Box::pin(async { Ok(any(UnixStream::connect(path).await?)) })
            }
        }
    }
}

impl<T: TryInto<Uri, Error: Into<http::Error>>> CallTarget for T {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for T {}

impl Connection for Box<dyn ByteStream> {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::telemetry::logs::chain;

    const ANSWER: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

    fn client(idle_timeout: Option<Duration>) -> HttpClient {
        let settings = ClientSettings::single("the server".to_owned(), Transport::Tcp, Duration::from_secs(10), 16);
        HttpClient::new(ClientSettings { idle_timeout, ..settings })
    }

    fn unix(path: PathBuf) -> HttpClient {
        HttpClient::new(ClientSettings::single("it".to_owned(), Transport::Unix(path), Duration::from_millis(1500), 16))
    }

    /// Accepts connections one after another; each gets one of these answers, and is closed.
    async fn server(answers: &'static [&'static str]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}/", listener.local_addr().unwrap());
        tokio::spawn(async move {
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = [0; 1024];
                let _ = stream.read(&mut head).await.unwrap();
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        address
    }

    #[tokio::test]
    async fn a_get_on_kept_connections_is_sent_once_more() {
        let kept = client(Some(Duration::from_secs(1)));
        let address = server(&["", ANSWER]).await;
        assert_eq!(kept.get(&*address, HeaderMap::new()).await.unwrap().body, "ok");
        for (client, answers) in [(client(None), ["", ANSWER].as_slice()), (kept.clone(), &["", ""])] {
            let answer = client.get(&*server(answers).await, HeaderMap::new()).await;
            assert!(matches!(answer, Err(CallError::Answer(..))), "{answer:?}");
        }
        let answer = kept.post(&*server(&["", ANSWER]).await, HeaderMap::new(), "{}".to_owned()).await;
        assert!(matches!(answer, Err(CallError::Answer(..))), "{answer:?}");
    }

    #[tokio::test]
    async fn a_body_that_is_too_long_costs_a_call_for_the_head_nothing() {
        const LONG: &str = "HTTP/1.1 401 No\r\ncontent-length: 17\r\n\r\n0123456789abcdefg";
        let answer = client(None).get(&*server(&[LONG]).await, HeaderMap::new()).await;
        assert_eq!(answer.unwrap_err().to_string(), "the answer of the server broke off or is too long");
        let (status, _) = client(None).get_head(&*server(&[LONG]).await, HeaderMap::new()).await.unwrap();
        assert_eq!(status, 401);
    }

    #[tokio::test]
    async fn a_unix_socket_is_asked_whatever_the_address() {
        let path = std::env::temp_dir().join(format!("vestibule-client-{}", std::process::id()));
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 1024];
            let read = stream.read(&mut head).await.unwrap();
            assert!(head[..read].starts_with(b"GET /x?y HTTP/1.1\r\nhost: localhost\r\n"));
            stream.write_all(ANSWER.as_bytes()).await.unwrap();
        });
        let answer = unix(path.clone()).get("http://localhost/x?y", HeaderMap::new()).await;
        std::fs::remove_file(path).unwrap();
        assert_eq!(answer.unwrap().body, "ok");
    }

    #[tokio::test]
    async fn an_error_names_the_server_and_the_systems_reason() {
        let error = client(None).get("http://127.0.0.1:1/", HeaderMap::new()).await.unwrap_err();
        assert_eq!(chain(&error), "could not connect to the server: Connection refused (os error 111)");
        let unix = unix("/nowhere/socket".into());
        let error = unix.get("http://localhost/", HeaderMap::new()).await.unwrap_err();
        assert_eq!(chain(&error), "could not connect to it: No such file or directory (os error 2)");
        let error = unix.in_time(std::future::pending::<Result<(), _>>()).await.unwrap_err();
        assert_eq!(error.to_string(), "it did not answer within 1.5 s");
        let error = unix.get("no address", HeaderMap::new()).await.unwrap_err();
        assert_eq!(error.to_string(), "the call to it can't be written as a request");
    }
}
