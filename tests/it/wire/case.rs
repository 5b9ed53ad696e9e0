//! A case: its file, read. The format is told in `tests/wire/README.md`.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::bytes::unescape;

/// What vestibule itself adds to every request of the cases' usual person; `<ours>` stands for it.
const OURS: &str = "x-forwarded-for: 127.0.0.1\r\nx-forwarded-proto: http\r\nx-forwarded-host: a.example\r\n\
    via: 1.1 vestibule\r\nx-request-id: <id>\r\nx-litellm-api-key: <key>\r\nauthorization: Bearer <key>\r\n";

/// One file.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    /// Its path below `tests/wire`.
    pub(crate) name: String,
    /// What it claims is not so yet.
    pub(crate) is_pending: bool,
    /// Settings beside the usual ones, as paths and values.
    pub(crate) config: Vec<(String, Value)>,
    pub(crate) steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    ClientSends(Vec<u8>),
    ClientConnects,
    ClientGets(Vec<u8>),
    /// A whole answer with that status and at least these fields; a name alone stands for any value.
    ClientIsAnswered {
        status: u16,
        fields: Vec<String>,
    },
    ClientIsRefused {
        status: u16,
        code: String,
        closed: bool,
    },
    ClientIsCut,
    ClientSeesTheEnd,
    ClientHalfCloses,
    ClientCloses,
    ClientResets,
    UpstreamGets {
        bytes: Vec<u8>,
        is_new: bool,
    },
    UpstreamGetsAtMost(Vec<u8>),
    UpstreamSays(Vec<u8>),
    UpstreamCloses,
    UpstreamHalfCloses,
    UpstreamResets,
    UpstreamIsCut,
    UpstreamIsClosed,
    Nothing,
}

/// The folder of all cases.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire")
}

/// The cases of one folder in the order of their names. A file that can't be read as a case is a failure.
pub(crate) fn read_folder(name: &str) -> Vec<Case> {
    let mut paths: Vec<PathBuf> = files(&folder().join(name));
    paths.sort();
    assert!(!paths.is_empty(), "no case in tests/wire/{name}");
    paths
        .iter()
        .map(|path| {
            let name = path.strip_prefix(folder()).expect("it is below the folder").display().to_string();
            let text = std::fs::read(path).expect("the file was listed");
            let text = String::from_utf8(text).unwrap_or_else(|_| panic!("tests/wire/{name} is not text"));
            Case::parse(&name, &text).unwrap_or_else(|why| panic!("tests/wire/{name}: {why}"))
        })
        .collect()
}

/// What is in a folder; none when there is no such folder.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    entries.map(|entry| entry.expect("the folder can be read").path()).collect()
}

impl Case {
    fn parse(name: &str, text: &str) -> Result<Self, String> {
        if !text.starts_with("# ") {
            return Err("the first line is a comment that says the claim".to_owned());
        }
        let is_pending = text.lines().next().is_some_and(|line| line == "# pending" || line.starts_with("# pending: "));
        let mut case = Self { name: name.to_owned(), is_pending, config: Vec::new(), steps: Vec::new() };
        let mut open: Option<(&str, Vec<&str>)> = None;
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            if let Some(title) = line.strip_prefix("--- ") {
                if let Some((title, lines)) = open.replace((title, Vec::new())) {
                    case.take(title, &lines)?;
                }
            } else {
                open.as_mut().ok_or_else(|| format!("before the first step: {line:?}"))?.1.push(line);
            }
        }
        let (title, lines) = open.ok_or("there is no step")?;
        case.take(title, &lines)?;
        Ok(case)
    }

    fn take(&mut self, title: &str, lines: &[&str]) -> Result<(), String> {
        if title == "config" {
            if !self.steps.is_empty() {
                return Err("the configuration comes first".to_owned());
            }
            for line in lines {
                let (path, value) = line.split_once(": ").ok_or_else(|| format!("no setting: {line:?}"))?;
                self.config.push((path.to_owned(), serde_json::from_str(value).unwrap_or_else(|_| value.into())));
            }
            return Ok(());
        }
        let step = Step::parse(title, lines).map_err(|why| format!("--- {title}: {why}"))?;
        self.steps.push(step);
        Ok(())
    }

    /// The bytes of a case that begins with one send.
    pub(crate) fn first_send(&self) -> Option<&[u8]> {
        match self.steps.first() {
            Some(Step::ClientSends(bytes)) => Some(bytes),
            _ => None,
        }
    }
}

impl Step {
    fn parse(title: &str, lines: &[&str]) -> Result<Self, String> {
        let bytes = || -> Result<Vec<u8>, String> {
            if lines.is_empty() {
                return Err("it needs bytes".to_owned());
            }
            let lines = lines.iter().map(|line| match *line {
                "<ours>" => Ok(OURS.as_bytes().to_vec()),
                line => unescape(line),
            });
            Ok(lines.collect::<Result<Vec<_>, _>>()?.concat())
        };
        let step = match title {
            "client sends" => return Ok(Self::ClientSends(bytes()?)),
            "client gets" => return Ok(Self::ClientGets(bytes()?)),
            "upstream gets" => return Ok(Self::UpstreamGets { bytes: bytes()?, is_new: false }),
            "upstream gets on a new connection" => return Ok(Self::UpstreamGets { bytes: bytes()?, is_new: true }),
            "upstream gets at most" => return Ok(Self::UpstreamGetsAtMost(bytes()?)),
            "upstream says" => return Ok(Self::UpstreamSays(bytes()?)),
            "client connects" => Self::ClientConnects,
            "client is cut" => Self::ClientIsCut,
            "client sees the end" => Self::ClientSeesTheEnd,
            "client half-closes" => Self::ClientHalfCloses,
            "client closes" => Self::ClientCloses,
            "client resets" => Self::ClientResets,
            "upstream closes" => Self::UpstreamCloses,
            "upstream half-closes" => Self::UpstreamHalfCloses,
            "upstream resets" => Self::UpstreamResets,
            "upstream is cut" => Self::UpstreamIsCut,
            "upstream is closed" => Self::UpstreamIsClosed,
            "nothing" => Self::Nothing,
            _ => return Self::answered(title, lines),
        };
        if lines.is_empty() { Ok(step) } else { Err("it takes no bytes".to_owned()) }
    }

    fn answered(title: &str, lines: &[&str]) -> Result<Self, String> {
        let number = |text: &str| text.parse().map_err(|_| format!("no status: {text:?}"));
        if let Some(status) = title.strip_prefix("client is answered ") {
            let fields = lines.iter().map(|line| (*line).to_owned()).collect();
            return Ok(Self::ClientIsAnswered { status: number(status)?, fields });
        }
        let refused = title.strip_prefix("client is refused ").ok_or("there is no such step")?;
        let (refused, closed) = refused.strip_suffix(", closed").map_or((refused, false), |refused| (refused, true));
        let (status, code) = refused.split_once(' ').ok_or("it needs a status and a code")?;
        if !lines.is_empty() {
            return Err("it takes no bytes".to_owned());
        }
        Ok(Self::ClientIsRefused { status: number(status)?, code: code.to_owned(), closed })
    }
}

#[test]
fn a_file_that_is_no_case_is_not_taken_for_one() {
    for (text, why) in [
        ("--- nothing\n", "the first line is a comment"),
        ("# x\n", "there is no step"),
        ("# x\nGET\n--- nothing\n", "before the first step"),
        ("# x\n--- client sneezes\n", "no such step"),
        ("# x\n--- client sends\n", "needs bytes"),
        ("# x\n--- client closes\nx\n", "takes no bytes"),
        ("# x\n--- client is refused bad_head\n", "a status and a code"),
        ("# x\n--- nothing\n--- config\na: 1\n", "comes first"),
    ] {
        let error = Case::parse("x", text).unwrap_err();
        assert!(error.contains(why), "{text:?}: {error}");
    }
}
