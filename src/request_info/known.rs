//! The headers whose values a decision, a check or a rewrite asks for.

use http::header::{self, HeaderName};

use crate::http::{forwarded, request_id};

macro_rules! known {
    ($($variant:ident = $name:expr,)+) => {
        /// A header with a meaning of its own.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Known { $(
            #[expect(missing_docs, reason = "each is the header of its name")]
            $variant,
        )+ }

        impl Known {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The header's name.
            pub fn name(self) -> HeaderName {
                match self { $(Self::$variant => $name,)+ }
            }
        }
    };
}

known! {
    Accept = header::ACCEPT,
    AccessControlRequestHeaders = header::ACCESS_CONTROL_REQUEST_HEADERS,
    AccessControlRequestMethod = header::ACCESS_CONTROL_REQUEST_METHOD,
    Authorization = header::AUTHORIZATION,
    Connection = header::CONNECTION,
    Cookie = header::COOKIE,
    Expect = header::EXPECT,
    ForwardedFor = forwarded::FOR,
    ForwardedHost = forwarded::HOST,
    ForwardedMethod = HeaderName::from_static("x-forwarded-method"),
    ForwardedProto = forwarded::PROTO,
    ForwardedUri = HeaderName::from_static("x-forwarded-uri"),
    Host = header::HOST,
    MaxForwards = header::MAX_FORWARDS,
    Origin = header::ORIGIN,
    OriginalHost = HeaderName::from_static("x-original-host"),
    OriginalMethod = HeaderName::from_static("x-original-method"),
    OriginalUri = HeaderName::from_static("x-original-uri"),
    Purpose = HeaderName::from_static("purpose"),
    Referer = header::REFERER,
    RequestId = request_id::NAME,
    SecFetchDest = HeaderName::from_static("sec-fetch-dest"),
    SecFetchMode = HeaderName::from_static("sec-fetch-mode"),
    SecFetchSite = HeaderName::from_static("sec-fetch-site"),
    SecPurpose = HeaderName::from_static("sec-purpose"),
    SecWebsocketKey = header::SEC_WEBSOCKET_KEY,
    SecWebsocketProtocol = header::SEC_WEBSOCKET_PROTOCOL,
    Te = header::TE,
    Upgrade = header::UPGRADE,
    UserAgent = header::USER_AGENT,
    Via = header::VIA,
}

// === impl Known ===

impl Known {
    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();

    /// The header of a column, where it is one of these.
    pub fn in_column(column: u8) -> Option<Self> {
        Self::ALL.get(usize::from(column)).copied()
    }

    /// Whether a gateway names the original request's host in it.
    pub fn names_host(self) -> bool {
        matches!(self, Self::OriginalHost | Self::ForwardedHost)
    }
}
