//! What is true of a request, found out once.
//!
//! [`RequestInfo::read`] walks over the headers once and finds the path's route once; every later step asks this value. After it
//! no step looks up a header of the request by name. What else hangs on a path is asked of `litellm::routes`.

mod known;
mod route;

use std::sync::Arc;

use http::header::{HeaderName, HeaderValue};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, Method, Uri, Version};

use crate::config::{Attribute, IdentityRules, Litellm, SecretHeader};
use crate::http::head::{self, BadHead};
use crate::http::names::{self, BadName, HeaderTable, Owner, Repeated};
use crate::http::{forwarded, hop, request_id};
use crate::litellm::credentials;
use crate::refusal::{Code, HEADER, Refusal};
pub use known::Known;
pub use route::{OwnPage, Route, Routes, own_prefixes};

/// As many attributes as there are.
pub const ATTRIBUTES_MAX: usize = Attribute::ALL.len();
/// Columns: headers with a meaning of their own, the attributes that are read, and the proofs of the two listeners.
const COLUMNS: usize = Known::COUNT + ATTRIBUTES_MAX + PROOFS_MAX;
const PROOFS_MAX: usize = 2;
/// In a column: the header was there more than once.
const REPEATED: u16 = 1 << 15;

/// What is the same for all requests of one listener.
#[derive(Debug)]
pub struct ListenerRules {
    headers: Arc<HeaderTable>,
    /// The proofs' names, in the order of their columns.
    proofs: Vec<HeaderName>,
    /// The names of the attributes that are read, in the order of their columns.
    attributes: Vec<HeaderName>,
    /// The paths that mean something here.
    pub routes: Routes,
    /// Most bytes of a path with its query.
    pub target_bytes: usize,
}

/// What is true of one request. Only [`RequestInfo::read`] makes it.
#[derive(Debug)]
pub struct RequestInfo<'a> {
    rules: &'a ListenerRules,
    method: &'a Method,
    uri: &'a Uri,
    version: Version,
    has_body: bool,
    route: Route,
    is_public: bool,
    request_id: HeaderValue,
    /// Every header, in the order it came.
    lines: Vec<HeaderLine<'a>>,
    /// For each column the place in `lines` of its first header, counted from 1, and whether there are more; 0 = none.
    columns: [u16; COLUMNS],
    /// What `Connection` nominates, or why the names can't be taken.
    nominated: Result<Vec<HeaderName>, BadName>,
}

/// One header line, classified.
#[derive(Debug, Clone, Copy)]
struct HeaderLine<'a> {
    name: &'a HeaderName,
    value: &'a HeaderValue,
    owner: Option<Owner>,
    column: u8,
}

/// The values of the headers that say who the user is, in the order of the attributes that are read.
#[derive(Debug, Clone, Copy)]
pub struct IdentityValues<'a> {
    values: [Option<&'a HeaderValue>; ATTRIBUTES_MAX],
    is_repeated: [bool; ATTRIBUTES_MAX],
}

const NO_COLUMN: u8 = u8::MAX;

// === impl ListenerRules ===

impl ListenerRules {
    /// Puts the table of names together, identity first: the first owner of a name stays.
    pub fn new<'c>(
        identity: &IdentityRules,
        proofs: impl IntoIterator<Item = &'c SecretHeader>,
        litellm: &Litellm,
        routes: Routes,
        target_bytes: usize,
    ) -> Self {
        let mut headers = HeaderTable::default();
        let attributes: Vec<_> = identity.reads.values().map(|rule| rule.name.clone()).collect();
        let mut proof_names: Vec<HeaderName> = Vec::new();
        for (column, name) in (Known::COUNT..).zip(&attributes) {
            headers.own(name.clone(), Owner::Identity);
            headers.observe(name, column_of(column));
        }
        for proof in proofs {
            if !proof_names.contains(&proof.name) {
                headers.own(proof.name.clone(), Owner::Proof);
                headers.observe(&proof.name, column_of(Known::COUNT + ATTRIBUTES_MAX + proof_names.len()));
                proof_names.push(proof.name.clone());
            }
        }
        credentials::own(&mut headers, litellm.key_header.iter().chain(&litellm.pass_through_key_headers).cloned());
        for name in &identity.all_names {
            headers.own(name.clone(), Owner::Identity);
        }
        for name in forwarded::OURS.into_iter().chain([request_id::NAME, http::header::EXPECT]) {
            headers.own(name, Owner::Ours);
        }
        headers.own(HEADER, Owner::Refusal);
        for name in hop::HOP_BY_HOP {
            headers.own(name, Owner::Hop);
        }
        headers.own_message_twins();
        for known in Known::ALL {
            headers.observe(&known.name(), column_of(*known as usize));
        }
        Self { headers: Arc::new(headers), proofs: proof_names, attributes, routes, target_bytes }
    }

    /// The same for requests that a gateway describes: other paths mean something there.
    #[must_use]
    pub fn with_routes(&self, routes: Routes) -> Self {
        let Self { headers, proofs, attributes, target_bytes, .. } = self;
        let (headers, proofs, attributes) = (headers.clone(), proofs.clone(), attributes.clone());
        Self { headers, proofs, attributes, routes, target_bytes: *target_bytes }
    }

    /// The names that mean something here.
    pub fn headers(&self) -> &Arc<HeaderTable> {
        &self.headers
    }

    /// The values of an answer's headers that say who the user is, as the OAuth proxy gives them when it is asked.
    pub fn identity_values<'h>(&self, headers: &'h HeaderMap) -> IdentityValues<'h> {
        let mut found = IdentityValues::NONE;
        for (at, name) in self.attributes.iter().enumerate() {
            let mut lines = headers.get_all(name).iter();
            found.set(at, lines.next(), lines.next().is_some());
        }
        found
    }
}

/// Columns are fewer than a byte counts.
fn column_of(place: usize) -> u8 {
    u8::try_from(place).unwrap_or(NO_COLUMN)
}

// === impl RequestInfo ===

impl<'a> RequestInfo<'a> {
    /// Reads a request's head. Nothing is judged yet: [`RequestInfo::check`] does that.
    pub fn read(parts: &'a Parts, has_body: bool, rules: &'a ListenerRules) -> Self {
        let mut lines = Vec::with_capacity(parts.headers.len());
        let mut columns = [0; COLUMNS];
        let mut twin = None;
        for (name, value) in &parts.headers {
            let class = rules.headers.classify(name);
            if HeaderTable::is_refused_twin(class) && twin.is_none() {
                twin = Some(name);
            }
            let column = class.column.unwrap_or(NO_COLUMN);
            if let Some(first) = columns.get_mut(usize::from(column)) {
                // The limit of header fields is far below.
                let place = u16::try_from(lines.len() + 1).unwrap_or(REPEATED) & !REPEATED;
                *first = if *first == 0 { place } else { *first | REPEATED };
            }
            lines.push(HeaderLine { name, value, owner: class.owner, column });
        }
        let mut info = Self {
            rules,
            method: &parts.method,
            uri: &parts.uri,
            version: parts.version,
            has_body,
            route: rules.routes.route(&parts.method, parts.uri.path()),
            is_public: rules.routes.is_public(parts.uri.path()),
            request_id: HeaderValue::from_static(""),
            lines,
            columns,
            nominated: Ok(Vec::new()),
        };
        info.request_id = request_id::take_or_make(info.one(Known::RequestId));
        info.nominated = match twin {
            Some(name) => Err(BadName::Aliased(name.clone())),
            None => rules.headers.nominated(info.all(Known::Connection)),
        };
        info
    }

    /// The same request as a gateway describes it: another method and target, its host in another header, and without the
    /// headers that only speak between the gateway and vestibule.
    #[must_use]
    pub fn described<'b>(self, method: &'b Method, uri: &'b Uri, description: &[Known]) -> RequestInfo<'b>
    where
        'a: 'b,
    {
        let Self { rules, has_body, request_id, mut lines, mut columns, nominated, .. } = self;
        if let Some(host) = description.iter().copied().find(|known| known.names_host()) {
            let from = columns.get(host as usize).copied().unwrap_or_default();
            if let Some(to) = columns.get_mut(Known::Host as usize) {
                *to = from;
            }
        }
        // The gateway's own headers say nothing of the client, and an `X-Forwarded-Host` that this gateway did not set is the
        // client's: both are hidden from later steps.
        for known in description.iter().copied().chain([Known::ForwardedHost]) {
            if let Some(column) = columns.get_mut(known as usize) {
                *column = 0;
            }
            for line in lines.iter_mut().filter(|line| line.column == known as u8) {
                (line.owner, line.column) = (Some(Owner::Ours), NO_COLUMN);
            }
        }
        let (route, is_public) = (rules.routes.route(method, uri.path()), rules.routes.is_public(uri.path()));
        // HTTP/1.1 must have a Host, 1.0 may have one; a gateway asks about either.
        let version = Version::HTTP_11;
        RequestInfo { rules, method, uri, version, has_body, route, is_public, request_id, lines, columns, nominated }
    }

    /// Refuses what no request may be, whoever sends it: not well formed, with another spelling of a name that decides, gone
    /// round in a circle, for a path of vestibule's that there is not, or for one of LiteLLM's that is closed.
    pub fn check(&self) -> Result<(), Refusal> {
        head::check(&head::HeadFields {
            method: self.method,
            uri: self.uri,
            version: self.version,
            host: self.one(Known::Host).map(|host| host.map(HeaderValue::as_bytes)),
            expectation: self.one(Known::Expect),
            target_bytes: self.rules.target_bytes,
        })
        .map_err(|bad| {
            Refusal::from(match bad {
                BadHead::Method => Code::MethodNotAllowed,
                BadHead::Target => Code::BadTarget,
                BadHead::TargetTooLong => Code::TargetTooLong,
                BadHead::Host => Code::BadHost,
                BadHead::Expectation => Code::UnknownExpectation,
            })
        })?;
        if forwarded::is_loop(self.all(Known::Via)) {
            return Err(Code::LoopDetected.into());
        }
        match &self.nominated {
            Ok(_) => {}
            Err(BadName::Aliased(name)) => return Err(Refusal::from(Code::AliasedHeader).about(name.clone())),
            Err(BadName::Nominated(name)) => return Err(Refusal::from(Code::NominatedHeader).about(name.clone())),
            Err(BadName::Connection) => return Err(Code::NominatedHeader.into()),
        }
        match self.route {
            Route::OwnUnknown => Err(Code::UnknownPath.into()),
            Route::Closed => Err(Code::ClosedDoor.into()),
            Route::Own(_)
            | Route::SignIn
            | Route::UiPage
            | Route::UiSettings
            | Route::UiSignOut
            | Route::CookiePage { .. }
            | Route::Asset
            | Route::Inference
            | Route::Other => Ok(()),
        }
    }

    /// The method.
    pub fn method(&self) -> &'a Method {
        self.method
    }

    /// The target.
    pub fn uri(&self) -> &'a Uri {
        self.uri
    }

    /// The path and query, in origin form.
    pub fn target(&self) -> &'a str {
        self.uri.path_and_query().map_or("", PathAndQuery::as_str)
    }

    /// The query.
    pub fn query(&self) -> Option<&'a str> {
        self.uri.query()
    }

    /// The path as it came.
    pub fn path(&self) -> &'a str {
        self.uri.path()
    }

    /// The HTTP version of the client's message.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Whether a body follows.
    pub fn has_body(&self) -> bool {
        self.has_body
    }

    /// What the path is.
    pub fn route(&self) -> Route {
        self.route
    }

    /// Whether the path needs no identity.
    pub fn is_public(&self) -> bool {
        self.is_public
    }

    /// What is the same for all requests of the listener.
    pub fn rules(&self) -> &'a ListenerRules {
        self.rules
    }

    /// The request's own id where it is plain, else a new one.
    pub fn request_id(&self) -> &HeaderValue {
        &self.request_id
    }

    /// The first value of a header, empty or not.
    pub fn first(&self, known: Known) -> Option<&'a HeaderValue> {
        self.in_column(known as usize).map(|line| line.value)
    }

    /// Whether a header is there, empty or not.
    pub fn has(&self, known: Known) -> bool {
        self.in_column(known as usize).is_some()
    }

    /// The one value of a header. Empty counts as absent.
    pub fn one(&self, known: Known) -> Result<Option<&'a HeaderValue>, Repeated> {
        self.one_in(known as usize)
    }

    /// All values of a header, in the order they came.
    pub fn all(&self, known: Known) -> impl Iterator<Item = &'a HeaderValue> + '_ {
        let column = self.columns.get(known as usize).copied().unwrap_or_default();
        let more = if column & REPEATED == 0 { 0 } else { self.lines.len() };
        let rest = self.lines.iter().take(more).filter(move |line| line.column == known as u8).skip(1);
        self.in_column(known as usize).into_iter().chain(rest).map(|line| line.value)
    }

    /// The one value of a proof.
    pub fn proof(&self, name: &HeaderName) -> Result<Option<&'a HeaderValue>, Repeated> {
        let Some(at) = self.rules.proofs.iter().position(|proof| proof == name) else {
            // Without a proof the peer is refused.
            debug_assert!(false, "the table was not told of this proof");
            return Ok(None);
        };
        self.one_in(Known::COUNT + ATTRIBUTES_MAX + at)
    }

    /// What the headers say of who the user is, true or not.
    pub fn identity_values(&self) -> IdentityValues<'a> {
        let mut found = IdentityValues::NONE;
        for at in 0..self.rules.attributes.len() {
            let column = Known::COUNT + at;
            found.set(at, self.in_column(column).map(|line| line.value), self.is_repeated(column));
        }
        found
    }

    /// Every line in which LiteLLM could take a key.
    pub fn credentials(&self) -> impl Iterator<Item = &'a HeaderValue> + '_ {
        self.lines.iter().filter(|line| line.owner == Some(Owner::Credential)).map(|line| line.value)
    }

    /// Every header that vestibule owns, and why.
    pub fn owned(&self) -> impl Iterator<Item = (&'a HeaderName, Owner)> + '_ {
        self.lines.iter().filter_map(|line| Some((line.name, line.owner?)))
    }

    /// The headers that go on as they came: neither owned in any spelling nor nominated by `Connection`, in their order. With
    /// each its column, where its value has to be looked into.
    pub fn passing(&self) -> impl Iterator<Item = (&'a HeaderName, &'a HeaderValue, Option<Known>)> + '_ {
        let nominated = self.nominated.as_deref().unwrap_or_default();
        self.lines
            .iter()
            .filter(move |line| line.owner.is_none() && (nominated.is_empty() || !nominated.contains(line.name)))
            .map(|line| (line.name, line.value, Known::in_column(line.column)))
    }

    /// How many headers came.
    pub fn count(&self) -> usize {
        self.lines.len()
    }

    /// The host that was asked for: as the header says, else the absolute target. HTTP/1.0 may go without.
    pub fn host(&self) -> Option<&'a str> {
        let said = self.first(Known::Host).and_then(|host| host.to_str().ok()).filter(|host| !host.is_empty());
        said.or_else(|| self.uri.authority().map(Authority::as_str))
    }

    /// The protocol that the request asks to change to, where it is a whole websocket handshake.
    pub fn websocket(&self) -> Option<&'a HeaderValue> {
        let protocol = self.one(Known::Upgrade).ok().flatten()?;
        hop::is_websocket(self.method, self.version, protocol, self.all(Known::Connection)).then_some(protocol)
    }

    /// Whether the client takes trailers.
    pub fn takes_trailers(&self) -> bool {
        hop::takes_trailers(self.all(Known::Te))
    }

    /// How many hops more the request may make; `None` where it does not say.
    pub fn max_forwards(&self) -> Option<u64> {
        hop::max_forwards(self.method, self.one(Known::MaxForwards).ok().flatten()?)
    }

    /// Whether the client waits for a word before it sends its body (RFC 9110 10.1.1).
    pub fn awaits_continue(&self) -> bool {
        self.has_body && self.has(Known::Expect)
    }

    /// Whether a person looks at the answer, and not a program.
    pub fn wants_html(&self) -> bool {
        self.all(Known::Accept).filter_map(names::list).flatten().any(|kind| kind.starts_with("text/html"))
    }

    /// Whether a browser is to show the answer as a page: not a part of one, nor fetched in advance.
    pub fn is_navigation(&self) -> bool {
        let purposes = [self.first(Known::SecPurpose), self.first(Known::Purpose)];
        let is_ahead = purposes.into_iter().flatten().any(|why| why.as_bytes().starts_with(b"prefetch"));
        !is_ahead && self.first(Known::SecFetchDest).map_or_else(|| self.wants_html(), |dest| dest == "document")
    }

    fn in_column(&self, column: usize) -> Option<&HeaderLine<'a>> {
        let place = self.columns.get(column).copied().unwrap_or_default() & !REPEATED;
        self.lines.get(usize::from(place).checked_sub(1)?)
    }

    fn is_repeated(&self, column: usize) -> bool {
        self.columns.get(column).is_some_and(|column| column & REPEATED != 0)
    }

    fn one_in(&self, column: usize) -> Result<Option<&'a HeaderValue>, Repeated> {
        if self.is_repeated(column) {
            return Err(Repeated);
        }
        Ok(self.in_column(column).map(|line| line.value).filter(|value| !value.is_empty()))
    }
}

// === impl IdentityValues ===

impl<'a> IdentityValues<'a> {
    /// Nothing is said.
    pub const NONE: Self = Self { values: [None; ATTRIBUTES_MAX], is_repeated: [false; ATTRIBUTES_MAX] };

    fn set(&mut self, at: usize, value: Option<&'a HeaderValue>, is_repeated: bool) {
        if let (Some(to), Some(repeated)) = (self.values.get_mut(at), self.is_repeated.get_mut(at)) {
            (*to, *repeated) = (value, is_repeated);
        }
    }

    /// Whether anything is said of a user, true or not.
    pub fn is_asserted(&self) -> bool {
        self.values.iter().any(Option::is_some)
    }

    /// Whether an attribute is there, by its place.
    pub fn has(&self, at: usize) -> bool {
        self.one(at).is_ok_and(|value| value.is_some())
    }

    /// The one value of an attribute, by its place. Empty counts as absent.
    pub fn one(&self, at: usize) -> Result<Option<&'a HeaderValue>, Repeated> {
        if self.is_repeated.get(at).copied().unwrap_or_default() {
            return Err(Repeated);
        }
        Ok(self.values.get(at).copied().flatten().filter(|value| !value.is_empty()))
    }

    /// The bytes of every value; `None` when one came more than once.
    pub fn raw(&self) -> Option<[Option<&'a [u8]>; ATTRIBUTES_MAX]> {
        (!self.is_repeated.contains(&true)).then(|| self.values.map(|value| value.map(HeaderValue::as_bytes)))
    }
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
