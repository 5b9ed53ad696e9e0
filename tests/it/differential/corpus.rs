//! What is sent: the cases of `tests/wire`, and tables of what goes wrong between proxies.

use crate::wire::{FOLDERS, case};

/// Bytes, and a name that says what is in them.
pub(super) struct Input {
    pub(super) name: String,
    pub(super) bytes: Vec<u8>,
}

const USER: &str = "Host: a.example\r\nX-Forwarded-User: alice\r\n";

/// Values of a length; 5 is the right one.
const LENGTHS: &[&str] = &[
    "5",
    "0",
    "05",
    "+5",
    "-5",
    "5,5",
    "5, 5",
    "5 5",
    "0x5",
    "5.0",
    "5;x",
    "\x0b5",
    "5\x0b",
    "\x0c5",
    "\u{a0}5",
    "'5'",
    "4294967301",
    "18446744073709551621",
    "99999999999999999999999999",
    "5\r\n 5",
    "5\r\n ",
    "",
    "a",
    "5e0",
    "5_0",
];
/// Values of a coding; `chunked` is the right one.
const CODINGS: &[&str] = &[
    "chunked",
    "CHUNKED",
    "\tchunked",
    "chunked\t",
    "\x0bchunked",
    "chunked\x0b",
    "\x0cchunked",
    "\u{a0}chunked",
    "chunked,",
    ",chunked",
    "chunked,chunked",
    "chunked, identity",
    "identity, chunked",
    "identity",
    "gzip",
    "gzip, chunked",
    "chunked, gzip",
    "chunked;a",
    "chunked;a=b",
    "\"chunked\"",
    "'chunked'",
    "chunked chunked",
    "x chunked",
    "chunke",
    "chunkedx",
    "c\0hunked",
    "\0chunked",
    "",
    "\r\n chunked",
    "chunked\r\n ",
    "chunked\r\nTransfer-Encoding: identity",
    "identity\r\nTransfer-Encoding: chunked",
    "cow\r\nTransfer-Encoding: chunked",
];
/// Spellings of a framing's name that one server takes for it and another does not.
const SPELLINGS: &[(&str, &str)] = &[
    ("a blank before the colon", "{} : {v}"),
    ("a tab before the colon", "{}\t: {v}"),
    ("a blank in front", " {}: {v}"),
    ("a tab in front", "\t{}: {v}"),
    ("a vertical tab before the colon", "{}\x0b: {v}"),
    ("a NUL before the colon", "{}\0: {v}"),
    ("a CR before the colon", "{}\r: {v}"),
    ("behind a bare LF", "X: y\n{}: {v}"),
    ("behind a bare CR", "X: y\r{}: {v}"),
    ("behind two CRs and an LF", "X: y\r\r\n{}: {v}"),
    ("behind a fold", "X: y\r\n {}: {v}"),
    ("ended by a bare LF", "{}: {v}\nX: y"),
    ("ended by a bare CR", "{}: {v}\rX: y"),
    ("without a blank", "{}:{v}"),
    ("with many blanks", "{}:   \t  {v}"),
    ("nominated", "Connection: {}\r\n{}: {v}"),
    ("in brackets", "({}): {v}"),
    ("with a colon more", "{}:: {v}"),
    ("with a byte order mark", "\u{feff}{}: {v}"),
];
const CHUNK_SIZES: &[&str] = &[
    "5",
    "05",
    "000000000005",
    "0000000000000005",
    "00000000000000005",
    "+5",
    "-5",
    " 5",
    "5 ",
    "\t5",
    "5\t",
    "0x5",
    "5x",
    "5_",
    "5;",
    "5;a",
    "5;a=b",
    "5;a=\"b\"",
    "5;a=\"\r\n",
    "5 ;a",
    "5; a",
    "5,5",
    "5\0",
    "\x0b5",
    "5\x0b",
    "5;\0",
    "5;a\nb",
    "5;a\rb",
    "",
    ";a",
    "g",
    "10000000000000005",
    "ffffffffffffffff",
    "fffffffffffffffb",
    "7fffffffffffffff",
    "100000005",
    "\u{ff15}",
    "5\u{a0}",
    "5h",
    "5 5",
    "(5)",
    "5.0",
    "5\r",
    "\n5",
    "\r5",
    "5;\u{e9}",
];
const ENDS: &[(&str, &str)] =
    &[("CRLF", "\r\n"), ("a bare LF", "\n"), ("a bare CR", "\r"), ("two CRs and an LF", "\r\r\n")];
const HOSTS: &[&str] = &[
    "a.example",
    "A.EXAMPLE",
    "a.example:80",
    "a.example:",
    "a.example:x",
    "a.example:65536",
    "a.example:80:80",
    "",
    " ",
    "a b",
    "u@a.example",
    "a.example/x",
    "a.example?x",
    "a.example#x",
    "a.example\\x",
    "a.example,b.example",
    "[::1]",
    "[::1",
    "::1",
    "[a]",
    "a_b.example",
    "a%2eexample",
    "<a>",
    "a.example;x",
    "\u{e4}.example",
    "a.example.",
    ".",
    "..",
    "-",
    "a\0b",
    "a\tb",
    "http://a.example",
    "a.example\r\nHost: a.example",
    "a.example\r\nHost: b.example",
    "a.example\r\n b.example",
    "*",
    "'a'",
];
const TARGETS: &[&str] = &[
    "/",
    "//",
    "/..",
    "/../x",
    "/x/../../y",
    "/%2e%2e/x",
    "/%2f",
    "/%5c",
    "/\\x",
    "/x;y",
    "/x%",
    "/x%2",
    "/%zz",
    "/%00",
    "/x%0d%0ay",
    "/x#y",
    "/#",
    "/x?y#z",
    "/x?%",
    "/x?%00",
    "/<",
    "/>",
    "/`",
    "/\"",
    "/{x}",
    "/|",
    "/^",
    "/[x]",
    "*",
    "x",
    "?x",
    "#",
    "a:80",
    "http://a.example/x",
    "https://a.example/x",
    "HTTP://a.example/x",
    "http://a.example",
    "http://a.example?x",
    "http://a.example#x",
    "http://b.example/x",
    "http://u@a.example/x",
    "http:///x",
    "http://a.example:80/x",
    "http:/x",
    "http:x",
    "ftp://a.example/x",
    "ws://a.example/x",
    "javascript:x",
    "file:///etc/passwd",
    "//b.example/x",
    "/http://b/x",
    "/x HTTP/1.1 ",
    "/\u{e9}",
    "/x\ty",
    "/x\x0by",
    "/x\0",
];
const METHODS: &[&str] = &[
    "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT", "QUERY", "M-SEARCH", "get", "G",
    "", "_", "PRI",
];
const VERSIONS: &[&str] = &[
    "HTTP/1.1",
    "HTTP/1.0",
    "HTTP/0.9",
    "HTTP/1.2",
    "HTTP/1.9",
    "HTTP/2.0",
    "HTTP/3.0",
    "HTTP/11.1",
    "HTTP/1.11",
    "HTTP/1",
    "HTTP/1.",
    "HTTP/.1",
    "HTTP/01.1",
    "HTTP/1.01",
    "http/1.1",
    "HTTP 1.1",
    "HTTP/1,1",
    "HTTP/1.1 ",
    "HTTP/1.1\t",
    " HTTP/1.1",
    "HTTP/1.1x",
    "HTTP/-1.1",
    "HTTP/1.-1",
    "HTTPS/1.1",
    "ICY",
    "",
];
/// Whole connections' worth of requests.
const PIPELINES: &[(&str, &str)] = &[
    (
        "three",
        "GET /1 HTTP/1.1\r\n{u}\r\nPOST /2 HTTP/1.1\r\n{u}Content-Length: 5\r\n\r\nhelloGET /3 HTTP/1.1\r\n{u}\r\n",
    ),
    ("a body too long", "POST /1 HTTP/1.1\r\n{u}Content-Length: 3\r\n\r\nhello"),
    ("a body too short", "POST /1 HTTP/1.1\r\n{u}Content-Length: 30\r\n\r\nhello"),
    ("a request as a body", "POST /1 HTTP/1.1\r\n{u}Content-Length: 29\r\n\r\nGET /evil HTTP/1.1\r\nHost: x\r\n"),
    (
        "a request as chunk data",
        "POST /1 HTTP/1.1\r\n{u}Transfer-Encoding: chunked\r\n\r\n1d\r\nGET /evil HTTP/1.1\r\nHost: x\r\n\r\n0\r\n\r\n",
    ),
    (
        "a request as a chunk extension",
        "POST /1 HTTP/1.1\r\n{u}Transfer-Encoding: chunked\r\n\r\n2;\nxx\r\n24\r\n0\r\n\r\nGET /evil HTTP/1.1\r\nHost: x\r\n\r\n\r\n0\r\n\r\n",
    ),
    (
        "a request as trailers",
        "POST /1 HTTP/1.1\r\n{u}Transfer-Encoding: chunked\r\n\r\n0\r\nGET /evil HTTP/1.1\r\nHost: a.example\r\n\r\n",
    ),
    (
        "a trailer that frames",
        "POST /1 HTTP/1.1\r\n{u}Transfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 70\r\n\r\nGET /2 HTTP/1.1\r\n{u}\r\n",
    ),
    (
        "a trailer that folds",
        "POST /1 HTTP/1.1\r\n{u}Transfer-Encoding: chunked\r\n\r\n0\r\nX: 1\r\n GET /evil HTTP/1.1\r\n\r\n",
    ),
    (
        "chunks ended by LF LF",
        "POST /1 HTTP/1.1\r\n{u}Transfer-Encoding: chunked\r\n\r\n0\n\nGET /evil HTTP/1.1\r\n{u}\r\n",
    ),
    (
        "chunks without their last CRLF",
        "POST /1 HTTP/1.1\r\n{u}Transfer-Encoding: chunked\r\n\r\n0\r\nGET /2 HTTP/1.1\r\n{u}\r\n",
    ),
    ("a GET with a length", "GET /1 HTTP/1.1\r\n{u}Content-Length: 29\r\n\r\nGET /evil HTTP/1.1\r\nHost: x\r\n"),
    ("a HEAD with a length", "HEAD /1 HTTP/1.1\r\n{u}Content-Length: 29\r\n\r\nGET /evil HTTP/1.1\r\nHost: x\r\n"),
    ("a DELETE in chunks", "DELETE /1 HTTP/1.1\r\n{u}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
    ("an OPTIONS in chunks", "OPTIONS /1 HTTP/1.1\r\n{u}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
    ("behind close", "GET /1 HTTP/1.1\r\n{u}Connection: close\r\n\r\nGET /2 HTTP/1.1\r\n{u}\r\n"),
    ("behind HTTP/1.0", "GET /1 HTTP/1.0\r\n{u}\r\nGET /2 HTTP/1.1\r\n{u}\r\n"),
    (
        "HTTP/1.0 in chunks",
        "POST /1 HTTP/1.0\r\n{u}Transfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n0\r\n\r\n",
    ),
    (
        "an upgrade with a request behind",
        "GET /1 HTTP/1.1\r\n{u}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\nGET /2 HTTP/1.1\r\n{u}\r\n",
    ),
    (
        "h2c with a preface behind",
        "GET /1 HTTP/1.1\r\n{u}Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ),
    (
        "CONNECT with a request behind",
        "CONNECT a.example:80 HTTP/1.1\r\nHost: a.example:80\r\nX-Forwarded-User: alice\r\n\r\nGET /2 HTTP/1.1\r\n{u}\r\n",
    ),
    (
        "an expectation with its body",
        "POST /1 HTTP/1.1\r\n{u}Expect: 100-continue\r\nContent-Length: 29\r\n\r\nGET /evil HTTP/1.1\r\nHost: x\r\n",
    ),
    (
        "an unknown expectation with its body",
        "POST /1 HTTP/1.1\r\n{u}Expect: 200-ok\r\nContent-Length: 29\r\n\r\nGET /evil HTTP/1.1\r\nHost: x\r\n",
    ),
    (
        "an obscured expectation",
        "POST /1 HTTP/1.1\r\n{u}Expect: y 100-continue\r\nContent-Length: 29\r\n\r\nGET /evil HTTP/1.1\r\nHost: x\r\n",
    ),
    ("junk between", "GET /1 HTTP/1.1\r\n{u}\r\n\0\0GET /2 HTTP/1.1\r\n{u}\r\n"),
    ("blanks between", "GET /1 HTTP/1.1\r\n{u}\r\n  GET /2 HTTP/1.1\r\n{u}\r\n"),
    ("a bare LF between", "GET /1 HTTP/1.1\r\n{u}\r\n\nGET /2 HTTP/1.1\r\n{u}\r\n"),
    ("a bare CR between", "GET /1 HTTP/1.1\r\n{u}\r\n\rGET /2 HTTP/1.1\r\n{u}\r\n"),
    ("an empty line between", "GET /1 HTTP/1.1\r\n{u}\r\n\r\nGET /2 HTTP/1.1\r\n{u}\r\n"),
    (
        "a head ended by LF LF",
        "GET /1 HTTP/1.1\nHost: a.example\nX-Forwarded-User: alice\n\nGET /2 HTTP/1.1\r\n{u}\r\n",
    ),
    ("a head ended by CRLF LF", "GET /1 HTTP/1.1\r\n{u}\nGET /2 HTTP/1.1\r\n{u}\r\n"),
    ("a head ended by CR CR LF", "GET /1 HTTP/1.1\r\n{u}\r\r\nGET /2 HTTP/1.1\r\n{u}\r\n"),
    ("a head with an empty line of blanks", "GET /1 HTTP/1.1\r\n{u} \r\nGET /2 HTTP/1.1\r\n{u}\r\n"),
    ("HTTP/0.9 in front", "GET /1\r\n{u}\r\nGET /2 HTTP/1.1\r\n{u}\r\n"),
    ("two request lines", "GET /1 HTTP/1.1\r\nGET /2 HTTP/1.1\r\n{u}\r\n"),
    ("a line of the PROXY protocol", "PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\nGET /1 HTTP/1.1\r\n{u}\r\n"),
];
/// Places where each of the 256 bytes is put.
const PLACES: &[(&str, &str)] = &[
    ("in a method", "G{b}T /x HTTP/1.1\r\n{u}\r\n"),
    ("before a method", "{b}GET /x HTTP/1.1\r\n{u}\r\n"),
    ("behind a method", "GET{b}/x HTTP/1.1\r\n{u}\r\n"),
    ("in a path", "GET /a{b}c HTTP/1.1\r\n{u}\r\n"),
    ("in a query", "GET /a?b{b}c HTTP/1.1\r\n{u}\r\n"),
    ("before a version", "GET /x{b}HTTP/1.1\r\n{u}\r\n"),
    ("in a version", "GET /x HTTP/1{b}1\r\n{u}\r\n"),
    ("behind a version", "GET /x HTTP/1.1{b}\r\n{u}\r\n"),
    ("in a name", "GET /x HTTP/1.1\r\n{u}X{b}A: 1\r\n\r\n"),
    ("before a name", "GET /x HTTP/1.1\r\n{u}{b}X-A: 1\r\n\r\n"),
    ("before a colon", "GET /x HTTP/1.1\r\n{u}X-A{b}: 1\r\n\r\n"),
    ("in a value", "GET /x HTTP/1.1\r\n{u}X-A: a{b}c\r\n\r\n"),
    ("before the name of a length", "POST /x HTTP/1.1\r\n{u}{b}Content-Length: 5\r\n\r\nhello"),
    ("before the colon of a length", "POST /x HTTP/1.1\r\n{u}Content-Length{b}: 5\r\n\r\nhello"),
    ("before a length", "POST /x HTTP/1.1\r\n{u}Content-Length: {b}5\r\n\r\nhello"),
    ("behind a length", "POST /x HTTP/1.1\r\n{u}Content-Length: 5{b}\r\n\r\nhello"),
    ("before the name of a coding", "POST /x HTTP/1.1\r\n{u}{b}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("before the colon of a coding", "POST /x HTTP/1.1\r\n{u}Transfer-Encoding{b}: chunked\r\n\r\n0\r\n\r\n"),
    ("before a coding", "POST /x HTTP/1.1\r\n{u}Transfer-Encoding: {b}chunked\r\n\r\n0\r\n\r\n"),
    ("behind a coding", "POST /x HTTP/1.1\r\n{u}Transfer-Encoding: chunked{b}\r\n\r\n0\r\n\r\n"),
    ("before a chunk's size", "POST /x HTTP/1.1\r\n{u}Transfer-Encoding: chunked\r\n\r\n{b}5\r\nhello\r\n0\r\n\r\n"),
    ("behind a chunk's size", "POST /x HTTP/1.1\r\n{u}Transfer-Encoding: chunked\r\n\r\n5{b}\r\nhello\r\n0\r\n\r\n"),
    (
        "in a chunk's extension",
        "POST /x HTTP/1.1\r\n{u}Transfer-Encoding: chunked\r\n\r\n5;a{b}c\r\nhello\r\n0\r\n\r\n",
    ),
    ("behind a chunk's data", "POST /x HTTP/1.1\r\n{u}Transfer-Encoding: chunked\r\n\r\n5\r\nhello{b}\r\n0\r\n\r\n"),
    ("in a trailer", "POST /x HTTP/1.1\r\n{u}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX{b}A: 1\r\n\r\n"),
    ("in a host", "GET /x HTTP/1.1\r\nHost: a{b}b\r\nX-Forwarded-User: alice\r\n\r\n"),
];

/// Everything.
pub(super) fn inputs() -> Vec<Input> {
    let mut inputs = cases();
    inputs.extend(framings());
    inputs.extend(chunks());
    inputs.extend(lines());
    inputs.extend(PIPELINES.iter().map(|(name, text)| input(format!("pipeline: {name}"), text, &[])));
    inputs.extend(bytes_everywhere());
    inputs
}

/// Fills the text's places: `{u}` is the host and the person.
fn input(name: String, text: &str, with: &[(&str, &[u8])]) -> Input {
    let mut bytes = text.as_bytes().to_vec();
    for (place, what) in with.iter().chain(&[("{u}", USER.as_bytes())]) {
        while let Some(at) = bytes.windows(place.len()).position(|window| window == place.as_bytes()) {
            bytes.splice(at..at + place.len(), what.iter().copied());
        }
    }
    Input { name, bytes }
}

/// The cases that begin with bytes of the client's, under the usual configuration.
fn cases() -> Vec<Input> {
    let cases = FOLDERS.iter().flat_map(|folder| case::read_folder(folder)).filter(|case| case.config.is_empty());
    cases.filter_map(|case| Some(Input { bytes: case.first_send()?.to_vec(), name: case.name })).collect()
}

/// Every length with every coding, in both orders, around bodies that part the readers.
fn framings() -> Vec<Input> {
    let in_chunks = "5\r\nhello\r\n0\r\n\r\n";
    let hidden = format!("0\r\n\r\nGET /evil HTTP/1.1\r\n{USER}\r\n");
    let mut inputs = Vec::new();
    let mut add = |name: String, fields: &str, body: &str| {
        let text = format!("POST /x HTTP/1.1\r\n{USER}{fields}\r\n{body}");
        inputs.push(Input { name: format!("framing: {name}"), bytes: text.into_bytes() });
    };
    for length in LENGTHS {
        add(format!("length {length:?}"), &format!("Content-Length: {length}\r\n"), "hello");
        add(
            format!("two lengths, {length:?} last"),
            &format!("Content-Length: 5\r\nContent-Length: {length}\r\n"),
            "hello",
        );
        add(
            format!("two lengths, {length:?} first"),
            &format!("Content-Length: {length}\r\nContent-Length: 5\r\n"),
            "hello",
        );
    }
    for coding in CODINGS {
        let line = format!("Transfer-Encoding: {coding}\r\n");
        for (what, body) in [("chunks", in_chunks), ("a hidden request", &hidden)] {
            add(format!("coding {coding:?} around {what}"), &line, body);
            for length in ["5", "0", "+5", "", "15"] {
                let length_line = format!("Content-Length: {length}\r\n");
                add(
                    format!("coding {coding:?}, length {length:?} around {what}"),
                    &format!("{line}{length_line}"),
                    body,
                );
                add(
                    format!("length {length:?}, coding {coding:?} around {what}"),
                    &format!("{length_line}{line}"),
                    body,
                );
            }
        }
    }
    for (how, spelling) in SPELLINGS {
        let spelled = |name: &str, value: &str| spelling.replace("{}", name).replace("{v}", value) + "\r\n";
        add(format!("a length {how}"), &spelled("Content-Length", "5"), "hello");
        add(format!("a coding {how}"), &spelled("Transfer-Encoding", "chunked"), in_chunks);
        let both = spelled("Transfer-Encoding", "chunked") + "Content-Length: 5\r\n";
        add(format!("a coding {how} before a length"), &both, "0\r\n\r\n");
        let both = "Content-Length: 5\r\n".to_owned() + &spelled("Transfer-Encoding", "chunked");
        add(format!("a coding {how} behind a length"), &both, "0\r\n\r\n");
        let both = spelled("Content-Length", "5") + "Transfer-Encoding: chunked\r\n";
        add(format!("a length {how} before a coding"), &both, in_chunks);
    }
    inputs
}

fn chunks() -> Vec<Input> {
    let mut inputs = Vec::new();
    let mut add = |name: String, body: &str| {
        let text = format!("POST /x HTTP/1.1\r\n{USER}Transfer-Encoding: chunked\r\n\r\n{body}");
        inputs.push(Input { name: format!("chunks: {name}"), bytes: text.into_bytes() });
    };
    for size in CHUNK_SIZES {
        for (what, end) in ENDS {
            add(format!("size {size:?} ended by {what}"), &format!("{size}{end}hello\r\n0\r\n\r\n"));
        }
        add(format!("size {size:?} after another"), &format!("1\r\nx\r\n{size}\r\nhello\r\n0\r\n\r\n"));
    }
    for (what, end) in ENDS {
        add(format!("data ended by {what}"), &format!("5\r\nhello{end}0\r\n\r\n"));
        add(format!("the last chunk ended by {what}"), &format!("5\r\nhello\r\n0{end}\r\n"));
        add(format!("all ended by {what}"), &format!("5\r\nhello\r\n0\r\n{end}"));
        add(format!("a trailer ended by {what}"), &format!("5\r\nhello\r\n0\r\nX: 1{end}\r\n"));
    }
    inputs
}

/// Request lines and hosts.
fn lines() -> Vec<Input> {
    let mut inputs = Vec::new();
    for target in TARGETS {
        for method in ["GET", "OPTIONS"] {
            let text = format!("{method} {target} HTTP/1.1\r\n{USER}\r\n");
            inputs.push(Input { name: format!("target: {method} {target:?}"), bytes: text.into_bytes() });
        }
    }
    for method in METHODS {
        let text = format!("{method} /x HTTP/1.1\r\n{USER}\r\n");
        inputs.push(Input { name: format!("method: {method:?}"), bytes: text.into_bytes() });
        let text = format!("{method} /x HTTP/1.1\r\n{USER}Content-Length: 5\r\n\r\nhello");
        inputs.push(Input { name: format!("method: {method:?} with a body"), bytes: text.into_bytes() });
    }
    for version in VERSIONS {
        let text = format!("GET /x {version}\r\n{USER}\r\n");
        inputs.push(Input { name: format!("version: {version:?}"), bytes: text.into_bytes() });
    }
    for host in HOSTS {
        let text = format!("GET /x HTTP/1.1\r\nHost: {host}\r\nX-Forwarded-User: alice\r\n\r\n");
        inputs.push(Input { name: format!("host: {host:?}"), bytes: text.into_bytes() });
        let text = format!("GET http://a.example/x HTTP/1.1\r\nHost: {host}\r\nX-Forwarded-User: alice\r\n\r\n");
        inputs.push(Input { name: format!("host: {host:?} beside an absolute target"), bytes: text.into_bytes() });
    }
    inputs
}

fn bytes_everywhere() -> Vec<Input> {
    let each = |(place, text): &(&str, &str)| {
        let name = format!("byte {place}");
        let text = (*text).to_owned();
        (0..=u8::MAX).map(move |byte| input(format!("{name}: {byte:02x}"), &text, &[("{b}", &[byte])]))
    };
    PLACES.iter().flat_map(each).collect()
}
