//! `vestibule explain`: the real decision over a request and the real rewriting of it, with a dry-run store.

mod dry_run;
mod report;
mod stages;

use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use http::header::{self, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Uri};
use secrecy::ExposeSecret;

use super::context::{CommandResult, Exit, answer_as, loaded, runtime};
use super::flags::Flags;
use crate::config::{Config, IdentitySource, Listen};
use crate::identity::peer::Peer;
use crate::proxy::upstream_request::Outgoing;
use crate::refusal::Refusal;
use crate::request_info::RequestInfo;
use crate::server::app::{App, StoreHandle, proxy_rules};
use crate::server::process;
use dry_run::DryRunStore;
use report::{Admitted, ExplainReport};
use stages::Stages;

/// Tells what would become of a request, and why: whether its peer is trusted, who it is for and by which header, which
/// rule gives which role, what would be written into LiteLLM's table and what would be sent to LiteLLM. It is the decision
/// that `serve` makes, with the same code. Nothing is written, and no connection is made: whether the person is blocked,
/// known already, or in somebody's way, only the database knows (`vestibule users show`). With `identity.source: check` the
/// headers stand for those of the sign-in proxy's answer, which is not asked.
///
/// The proof of the sign-in proxy (`trust.secret_header`, basic auth) is put in from the configuration unless
/// `--without-proof` is given: it should not be typed.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    vestibule explain -c vestibule.yaml --header 'X-Forwarded-User: alice' --header 'X-Forwarded-Groups: a,b'\n  \
    vestibule explain -c vestibule.yaml --header 'X-Forwarded-User: alice' --peer 10.9.9.9 --path /user/list\n\n\
    Exit codes: 0 it would be let in, 1 it would be refused (docs/refusals.md has every refusal and what to do), 2 this is no \
    request, 78 the configuration has a problem.")]
pub(super) struct ExplainArgs {
    #[command(flatten)]
    flags: Flags,
    /// A header of the request, `Name: value`; again for more
    #[arg(long, short = 'H', value_name = "HEADER")]
    header: Vec<String>,
    /// Who holds the connection: an address, or `unix:UID`. The first that `trust` names when this is left out
    #[arg(long, value_name = "ADDRESS")]
    peer: Option<String>,
    /// The request's path, with its query
    #[arg(long, value_name = "PATH", default_value = "/v1/models")]
    path: String,
    /// The request's method
    #[arg(long, value_name = "METHOD", default_value = "GET")]
    method: String,
    /// Leave the sign-in proxy's proof out
    #[arg(long)]
    without_proof: bool,
    /// One JSON document
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &ExplainArgs) -> CommandResult {
    process::keep_memory_private();
    let source = arguments.flags.source()?;
    let (config, _) = loaded(&source)?;
    let file = source.file.as_ref().map(|file| file.display().to_string());
    let report = arguments.explain(config, file.as_deref())?;
    answer_as(arguments.json, &report.document(), || report.text());
    Ok(if report.decision.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

// === impl ExplainArgs ===

impl ExplainArgs {
    fn explain(&self, mut config: Config, file: Option<&str>) -> Result<ExplainReport, Exit> {
        // The OAuth proxy is not asked: the headers that were typed stand for its answer.
        config.source = IdentitySource::Headers;
        let config = Arc::new(config);
        let peer = self.peer(&config)?;
        let (head, given) = self.head(&config)?;
        let stages = Stages::of(&config, file, &peer, &RequestInfo::read(&head, false, &proxy_rules(&config)));
        runtime()?.block_on(async {
            let dry_run = Arc::new(DryRunStore { config: config.clone(), planned: OnceLock::new() });
            let store = StoreHandle::of(dry_run.clone(), &config, Arc::default());
            let app = App::new(config, &store, None);
            let info = RequestInfo::read(&head, false, &app.authorizer.rules);
            let decision = decide(&app, &peer, &info).await;
            let planned = dry_run.planned.get().cloned();
            Ok(ExplainReport { stages, head, given, planned, decision })
        })
    }

    /// The peer that was named, or the first one that the rules of trust name.
    fn peer(&self, config: &Config) -> Result<Peer, Exit> {
        let Some(text) = &self.peer else {
            let trust = &config.trust;
            return Ok(if let Listen::Unix { .. } = config.listen {
                let own = || rustix::process::geteuid().as_raw();
                Peer::Unix { uid: trust.uids.first().copied().unwrap_or_else(own) }
            } else {
                let first = trust.peers.first().map_or(std::net::Ipv4Addr::LOCALHOST.into(), ipnet::IpNet::addr);
                Peer::tcp((first, 0).into())
            });
        };
        let uid = text.strip_prefix("unix:").and_then(|uid| uid.parse().ok()).map(|uid| Peer::Unix { uid });
        let address = || text.parse().ok().map(|ip: std::net::IpAddr| Peer::tcp((ip, 0).into()));
        uid.or_else(address).or_else(|| text.parse().ok().map(Peer::tcp)).ok_or_else(|| {
            let words = "`--peer` is no address and no `unix:UID`\n  = help: write `10.1.2.3`, or `unix:65532` for a unix socket";
            Exit::usage(words)
        })
    }

    /// The request's head as it would come, and the names of what was put in beside what was typed.
    fn head(&self, config: &Config) -> Result<(Parts, Vec<HeaderName>), Exit> {
        let no_request = |what: &str| Exit::usage(format!("this is no request: {what}"));
        let method: Method = self.method.parse().map_err(|_| no_request("`--method` is not a method"))?;
        let uri: Uri = self.path.parse().map_err(|_| no_request("`--path` is not a path"))?;
        let mut head =
            Request::builder().method(method).uri(uri).body(()).map_err(|_| no_request("`--path`"))?.into_parts().0;
        for line in &self.header {
            let (name, value) = line.split_once(':').ok_or_else(|| no_request("`--header` takes `Name: value`"))?;
            let name: HeaderName = name.trim().parse().map_err(|_| no_request("a header's name has odd signs"))?;
            let value = HeaderValue::from_bytes(value.trim_matches([' ', '\t']).as_bytes());
            head.headers.append(name, value.map_err(|_| no_request("a header's value has control signs"))?);
        }
        let mut given = Vec::new();
        let mut give = |name: &HeaderName, value: &str| {
            if !head.headers.contains_key(name)
                && let Ok(mut value) = HeaderValue::from_str(value)
            {
                value.set_sensitive(*name != header::HOST);
                head.headers.insert(name.clone(), value);
                given.push(name.clone());
            }
        };
        give(&header::HOST, config.public_url.as_ref().map_or("localhost", |url| url.authority.as_str()));
        let trust = Some(&config.trust).filter(|_| !self.without_proof);
        let proof = trust.and_then(|trust| trust.secret_header.as_ref());
        if let Some((name, value)) = proof.and_then(|proof| Some((&proof.name, proof.values.first()?))) {
            give(name, value.expose_secret());
        }
        if let Some(password) = trust.and_then(|trust| trust.basic_auth_password.as_ref()) {
            let encoded = STANDARD.encode(format!("explain:{}", password.expose_secret()));
            give(&header::AUTHORIZATION, &format!("Basic {encoded}"));
        }
        Ok((head, given))
    }
}

/// What the proxy would do with the request, up to where it would be sent.
async fn decide(app: &App, peer: &Peer, info: &RequestInfo<'_>) -> Result<Admitted, Refusal> {
    info.check()?;
    let authorized = app.authorizer.authorize(peer, info).await?;
    let (credential, is_trusted) = (&authorized.credential, authorized.is_trusted);
    let rule = credential.user().and_then(|user| user.principal().mapping.rule());
    let write = || app.writer.write(Outgoing { info, credential, is_trusted, peer }, ());
    let sent = info.route().is_forwarded().then(write).transpose()?;
    Ok(Admitted { passage: credential.passage(), rule, sent: sent.map(|request| request.into_parts().0) })
}
