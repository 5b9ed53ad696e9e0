//! A visit by the public address, as a client from outside makes one: over TLS where it is `https`, each on a connection of
//! its own.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::header::HeaderMap;
use http::uri::{PathAndQuery, Scheme};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::TokioExecutor;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tokio::time::timeout;

/// Time for a visit: gateways wait some seconds for those whom they ask.
const VISIT_TIMEOUT: Duration = Duration::from_secs(30);
/// Most bytes of an answer.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// Why a visit came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum VisitError {
    /// Not `http://HOST` or `https://HOST`.
    #[error("it is no address such as `https://llm.example.com`")]
    Address,
    /// The file of certificate authorities can't be used.
    #[error("the certificate authorities can't be read: {0}")]
    Authorities(String),
    /// No connection, no TLS, or no HTTP.
    #[error("it could not be asked")]
    Failed(#[source] Error),
    /// The request can't be written.
    #[error("the request can't be written")]
    Request(#[source] http::Error),
    /// The answer broke off or is too long.
    #[error("the answer broke off or is too long")]
    Body,
    /// No answer in time.
    #[error("it did not answer within {seconds} s", seconds = VISIT_TIMEOUT.as_secs())]
    Timeout,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

/// Somebody outside.
pub struct Visitor {
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    base: Uri,
}

// === impl Visitor ===

impl Visitor {
    /// `base` is `https://HOST[:PORT][/PREFIX]`. Certificates are judged by the public authorities, or by those of the file
    /// alone.
    pub fn new(base: &str, authorities: Option<&Path>) -> Result<Self, VisitError> {
        let base: Uri = base.trim_end_matches('/').parse().map_err(|_| VisitError::Address)?;
        let is_http = base.scheme() == Some(&Scheme::HTTP) || base.scheme() == Some(&Scheme::HTTPS);
        if !is_http || base.query().is_some() || base.authority().is_none_or(|host| host.as_str().contains('@')) {
            return Err(VisitError::Address);
        }
        let connector = HttpsConnectorBuilder::new();
        let connector = match authorities {
            None => connector.with_webpki_roots(),
            Some(file) => connector.with_tls_config(trusting(file)?),
        };
        let connector = connector.https_or_http().enable_http1().build();
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
        Ok(Self { client, base })
    }

    /// The host that is visited, with its port where one was named.
    pub fn host(&self) -> &str {
        self.base.authority().map_or("", http::uri::Authority::as_str)
    }

    /// GETs a path below the address.
    pub async fn get(&self, path: &str, headers: HeaderMap) -> Result<Answer, VisitError> {
        let mut parts = self.base.clone().into_parts();
        let below = format!("{}{path}", self.base.path().trim_end_matches('/'));
        parts.path_and_query = Some(PathAndQuery::try_from(below).map_err(|error| VisitError::Request(error.into()))?);
        let uri = Uri::from_parts(parts).map_err(|error| VisitError::Request(error.into()))?;
        let mut request = Request::builder().uri(uri).body(Empty::new()).map_err(VisitError::Request)?;
        *request.headers_mut() = headers;
        let visit = async {
            let (head, body) = self.client.request(request).await.map_err(VisitError::Failed)?.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(|_| VisitError::Body)?;
            Ok(Answer { status: head.status, headers: head.headers, body: body.to_bytes() })
        };
        timeout(VISIT_TIMEOUT, visit).await.map_err(|_| VisitError::Timeout)?
    }
}

/// The authorities of a file of PEM, and no others.
fn trusting(file: &Path) -> Result<rustls::ClientConfig, VisitError> {
    let wrong = |error: &dyn std::fmt::Display| VisitError::Authorities(format!("{}: {error}", file.display()));
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| wrong(&error))? {
        roots.add(certificate.map_err(|error| wrong(&error))?).map_err(|error| wrong(&error))?;
    }
    if roots.is_empty() {
        return Err(wrong(&"there is no certificate in it"));
    }
    Ok(rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
}
