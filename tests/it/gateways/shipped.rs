//! The files of `deploy`, with nothing changed but addresses, ports and paths, and the programs that take them.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::peers::{Peer, free_port, program, tests};
use crate::trust::own_uid;

/// The proof that vestibule and the gateway share.
pub(super) const PROOF: &str = "canary-proof-of-the-gateway-0123456789abcdef";

/// A row of the table.
#[derive(Debug)]
pub(super) struct Gateway {
    /// Its program, as `tests/run --gateways` names it.
    pub(super) name: &'static str,
    pub(super) kind: Kind,
}

/// Where its files are, and how it asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Nginx,
    Caddy,
    Haproxy,
    Envoy,
    Traefik,
}

/// Every gateway that is tried.
pub(super) const GATEWAYS: &[Gateway] = &[
    Gateway { name: "nginx", kind: Kind::Nginx },
    Gateway { name: "caddy-2.6", kind: Kind::Caddy },
    Gateway { name: "caddy-2.11", kind: Kind::Caddy },
    Gateway { name: "haproxy", kind: Kind::Haproxy },
    Gateway { name: "envoy", kind: Kind::Envoy },
    Gateway { name: "traefik", kind: Kind::Traefik },
];

/// Where its neighbours are.
pub(super) struct Neighbours {
    pub(super) litellm: SocketAddr,
    /// vestibule's proxy listener.
    pub(super) proxy: SocketAddr,
    /// vestibule's listener for gateways.
    pub(super) questions: SocketAddr,
    pub(super) sign_in: SocketAddr,
}

/// A text that stands in a file, and what the test puts in its place.
pub(super) type Change = (&'static str, String);

// === impl Kind ===

impl Kind {
    /// Its folder below `deploy`, and its name in `forward_auth.gateways`.
    pub(super) fn folder(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Caddy => "caddy",
            Self::Haproxy => "haproxy",
            Self::Envoy => "envoy",
            Self::Traefik => "traefik",
        }
    }

    /// The files that the gateway itself reads, the first of which it is started with.
    pub(super) fn files(self) -> &'static [&'static str] {
        match self {
            Self::Nginx => &["nginx.conf"],
            Self::Caddy => &["Caddyfile"],
            Self::Haproxy => &["haproxy.cfg", "vestibule.lua"],
            Self::Envoy => &["envoy.yaml"],
            Self::Traefik => &["static.yaml", "dynamic.yaml"],
        }
    }

    /// What is changed in one of them.
    fn changes(self, file: &str, port: u16, inner: u16, neighbours: &Neighbours, folder: &Path) -> Vec<Change> {
        let here = |file: &str| folder.join(file).display().to_string();
        let listen = format!("127.0.0.1:{port}");
        let around = || {
            let Neighbours { litellm, proxy, questions, sign_in } = neighbours;
            let places = [
                ("127.0.0.1:4000", litellm),
                ("127.0.0.1:4180", proxy),
                ("127.0.0.1:4182", questions),
                ("127.0.0.1:4190", sign_in),
            ];
            places.map(|(text, place)| (text, place.to_string()))
        };
        let mut changes: Vec<Change> = match file {
            "nginx.conf" | "Caddyfile" | "haproxy.cfg" | "dynamic.yaml" => around().to_vec(),
            "envoy.yaml" => {
                let port_of = |text: &str| text.rsplit_once(':').expect("an address").1.to_owned();
                let names = ["port_value: 4000", "port_value: 4180", "port_value: 4182", "port_value: 4190"];
                names.into_iter().zip(around().map(|(_, place)| format!("port_value: {}", port_of(&place)))).collect()
            }
            _ => Vec::new(),
        };
        changes.extend(match file {
            "nginx.conf" => vec![
                ("listen 8080;", format!("listen {listen};")),
                ("/etc/nginx/vestibule-proof", here("proof")),
                (
                    "http {",
                    format!("http {{ client_body_temp_path {}; proxy_temp_path {};", here("body"), here("proxy")),
                ),
            ],
            "Caddyfile" => vec![("http://:8080 {", format!("http://:{port} {{\n\tbind 127.0.0.1"))],
            "haproxy.cfg" => vec![
                ("bind :8080", format!("bind {listen}")),
                ("/etc/haproxy/vestibule.lua", here("vestibule.lua")),
                ("abns@vestibule-ask", format!("abns@vestibule-ask-{port}")),
            ],
            "vestibule.lua" => vec![("abns@vestibule-ask", format!("abns@vestibule-ask-{port}"))],
            "envoy.yaml" => {
                vec![("address: 0.0.0.0, port_value: 8080", format!("address: 127.0.0.1, port_value: {port}"))]
            }
            "static.yaml" => vec![
                (":8080", listen),
                ("127.0.0.1:4183", format!("127.0.0.1:{inner}")),
                ("/etc/traefik/dynamic.yaml", here("dynamic.yaml")),
            ],
            "dynamic.yaml" => vec![("127.0.0.1:4183", format!("127.0.0.1:{inner}"))],
            other => panic!("nobody knows deploy/{}/{other}", self.folder()),
        });
        if file == "haproxy.cfg" && own_uid() != 0 {
            // Only root can become another user.
            changes.push(("  user haproxy\n  group haproxy\n", String::new()));
        }
        changes
    }
}

// === impl Gateway ===

impl Gateway {
    /// Starts it in that folder; gives where it listens.
    pub(super) async fn start(&self, neighbours: &Neighbours, folder: &Path) -> (Peer, SocketAddr) {
        let (port, inner) = (free_port(), free_port());
        std::fs::create_dir_all(folder).expect("the test's folder can be written");
        std::fs::write(folder.join("proof"), format!("default \"{PROOF}\";\n")).expect("it can be written");
        for file in self.kind.files() {
            let changes = self.kind.changes(file, port, inner, neighbours, folder);
            let text = substituted(&format!("{}/{file}", self.kind.folder()), &changes);
            std::fs::write(folder.join(file), text).expect("it can be written");
        }
        let peer = Peer::start(self.name, self.command(folder), port).await;
        let peer = if self.kind == Kind::Nginx { peer.with_children() } else { peer };
        (peer, SocketAddr::from(([127, 0, 0, 1], port)))
    }

    fn command(&self, folder: &Path) -> Command {
        let mut command = Command::new(program(self.name));
        let config = folder.join(self.kind.files()[0]);
        let shown = folder.display();
        match self.kind {
            Kind::Nginx => {
                let more = format!("daemon off; pid {shown}/nginx.pid; error_log {shown}/error.log;");
                command.arg("-p").arg(folder).arg("-c").arg(config).arg("-g").arg(more);
            }
            Kind::Caddy => {
                command.args(["run", "--adapter", "caddyfile", "--config"]).arg(config);
                command.env("HOME", folder).env("XDG_CONFIG_HOME", folder).env("XDG_DATA_HOME", folder);
            }
            Kind::Haproxy => {
                command.args(["-db", "-f"]).arg(config);
            }
            Kind::Envoy => {
                command.args(["--disable-hot-restart", "--concurrency", "1", "-l", "warning", "-c"]).arg(config);
            }
            Kind::Traefik => {
                command.arg(format!("--configFile={}", config.display()));
            }
        }
        let log = std::fs::File::create(folder.join("gateway.log")).expect("the folder can be written");
        command.stdout(log.try_clone().expect("a descriptor")).stderr(Stdio::from(log));
        command.env("VESTIBULE_PROOF", PROOF).env("GOMAXPROCS", "2");
        command
    }
}

/// A file of `deploy` as it stands.
pub(super) fn read(path: &str) -> String {
    let whole = tests().join("../deploy").join(path);
    #[expect(clippy::disallowed_methods, reason = "the panic names the file")]
    std::fs::read_to_string(&whole).unwrap_or_else(|error| panic!("deploy/{path}: {error}"))
}

/// The file with the changes, each of which must be found, made in one walk: what was put in is not changed again.
pub(super) fn substituted(path: &str, changes: &[Change]) -> String {
    let (whole, mut text, mut found) = (read(path), String::new(), BTreeSet::new());
    let mut rest = whole.as_str();
    // A port is not the beginning of a longer one.
    let behind = |rest: &'_ str, from: &str| {
        rest.strip_prefix(from).filter(|behind| !behind.starts_with(|sign: char| sign.is_ascii_digit())).map(str::len)
    };
    while let Some(sign) = rest.chars().next() {
        let change = changes.iter().find_map(|(from, to)| Some((*from, to.as_str(), behind(rest, from)?)));
        let left = if let Some((from, to, left)) = change {
            text.push_str(to);
            found.insert(from);
            left
        } else {
            text.push(sign);
            rest.len() - sign.len_utf8()
        };
        rest = rest.get(rest.len() - left..).expect("a whole sign ends there");
    }
    for (from, _) in changes {
        assert!(found.contains(from), "deploy/{path} has no `{from}` any more");
    }
    text
}
