//! What the known sign-in proxies send: names, separators and encodings. Data only.
//!
//! Sources are the products' own: oauth2-proxy 7.15, Vouch 0.45, Gatekeeper 4.11, the authentik outpost, Authelia 4.39.

use crate::config::{Attribute, Decoding, Separator};

/// A sign-in proxy whose headers are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// oauth2-proxy as reverse proxy.
    Oauth2Proxy,
    /// oauth2-proxy's `/oauth2/auth`, its answer's headers copied by a gateway.
    Oauth2ProxyAuthRequest,
    /// Vouch Proxy.
    Vouch,
    /// Gogatekeeper.
    Gatekeeper,
    /// An authentik outpost.
    Authentik,
    /// Authelia.
    Authelia,
    /// Names come from `identity.headers` alone.
    Custom,
}

/// One attribute's header in a preset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PresetHeader {
    /// What it says of a person.
    pub attribute: Attribute,
    /// The header's name, lower case.
    pub name: &'static str,
    /// How its value is encoded.
    pub decoding: Decoding,
    /// How a list is written.
    pub separator: Option<Separator>,
}

const fn text(attribute: Attribute, name: &'static str) -> PresetHeader {
    PresetHeader { attribute, name, decoding: Decoding::Utf8, separator: None }
}

const fn list(attribute: Attribute, name: &'static str, separator: Separator) -> PresetHeader {
    PresetHeader { attribute, name, decoding: Decoding::Utf8, separator: Some(separator) }
}

/// Gatekeeper's `--enable-header-encoding` writes RFC 2047 words; without it the same decoding reads plain UTF-8.
const fn words(header: PresetHeader) -> PresetHeader {
    PresetHeader { decoding: Decoding::Rfc2047, ..header }
}

const COMMA: Separator = Separator::Char(b',');

const OAUTH2_PROXY: &[PresetHeader] = &[
    text(Attribute::User, "x-forwarded-user"),
    text(Attribute::Email, "x-forwarded-email"),
    text(Attribute::PreferredUsername, "x-forwarded-preferred-username"),
    list(Attribute::Groups, "x-forwarded-groups", COMMA),
];

const OAUTH2_PROXY_AUTH_REQUEST: &[PresetHeader] = &[
    text(Attribute::User, "x-auth-request-user"),
    text(Attribute::Email, "x-auth-request-email"),
    text(Attribute::PreferredUsername, "x-auth-request-preferred-username"),
    list(Attribute::Groups, "x-auth-request-groups", COMMA),
];

const VOUCH: &[PresetHeader] = &[
    text(Attribute::User, "x-vouch-user"),
    text(Attribute::Email, "x-vouch-idp-claims-email"),
    text(Attribute::PreferredUsername, "x-vouch-idp-claims-preferred-username"),
    text(Attribute::Name, "x-vouch-idp-claims-name"),
    text(Attribute::FirstName, "x-vouch-idp-claims-given-name"),
    text(Attribute::LastName, "x-vouch-idp-claims-family-name"),
    text(Attribute::Picture, "x-vouch-idp-claims-picture"),
    list(Attribute::Groups, "x-vouch-idp-claims-groups", Separator::Quoted),
];

const GATEKEEPER: &[PresetHeader] = &[
    words(text(Attribute::User, "x-auth-subject")),
    words(text(Attribute::Email, "x-auth-email")),
    words(text(Attribute::PreferredUsername, "x-auth-username")),
    words(text(Attribute::Name, "x-auth-name")),
    words(text(Attribute::FirstName, "x-auth-given-name")),
    words(text(Attribute::LastName, "x-auth-family-name")),
    words(text(Attribute::Picture, "x-auth-picture")),
    words(list(Attribute::Groups, "x-auth-groups", COMMA)),
    words(list(Attribute::Roles, "x-auth-roles", COMMA)),
];

const AUTHENTIK: &[PresetHeader] = &[
    text(Attribute::User, "x-authentik-uid"),
    text(Attribute::Email, "x-authentik-email"),
    text(Attribute::PreferredUsername, "x-authentik-username"),
    text(Attribute::Name, "x-authentik-name"),
    list(Attribute::Groups, "x-authentik-groups", Separator::Char(b'|')),
];

const AUTHELIA: &[PresetHeader] = &[
    text(Attribute::User, "remote-user"),
    text(Attribute::Email, "remote-email"),
    text(Attribute::Name, "remote-name"),
    list(Attribute::Groups, "remote-groups", COMMA),
];

/// Headers of identity or of a token that no preset reads. Folded.
const FURTHER_NAMES: &[&str] = &[
    // oauth2-proxy, Databricks Apps
    "x-forwarded-access-token",
    "x-auth-request-access-token",
    "gap-auth",
    "gap-signature",
    // Vouch
    "x-vouch-success",
    "x-vouch-idp-claims-sub",
    "x-vouch-idp-accesstoken",
    "x-vouch-idp-idtoken",
    // Gatekeeper
    "x-auth-userid",
    "x-auth-audience",
    "x-auth-expiresin",
    "x-auth-token",
    // authentik
    "x-authentik-entitlements",
    "x-authentik-jwt",
    "x-authentik-meta-jwks",
    "x-authentik-meta-outpost",
    "x-authentik-meta-provider",
    "x-authentik-meta-app",
    "x-authentik-meta-version",
    // Authelia, tinyauth, Pangolin
    "remote-user-id",
    "remote-sub",
    "remote-role",
    "remote-virtual-api-key-id",
    // Pomerium
    "x-pomerium-jwt-assertion",
    "x-pomerium-jwt-assertion-for",
    "x-pomerium-claim-sub",
    "x-pomerium-claim-user",
    "x-pomerium-claim-email",
    "x-pomerium-claim-name",
    "x-pomerium-claim-groups",
    // Cloudflare Access
    "cf-access-jwt-assertion",
    "cf-access-authenticated-user-email",
    // Google IAP
    "x-goog-iap-jwt-assertion",
    "x-goog-authenticated-user-email",
    "x-goog-authenticated-user-id",
    // AWS ALB
    "x-amzn-oidc-data",
    "x-amzn-oidc-identity",
    "x-amzn-oidc-accesstoken",
    // Azure Easy Auth
    "x-ms-client-principal",
    "x-ms-client-principal-id",
    "x-ms-client-principal-name",
    "x-ms-client-principal-idp",
    "x-ms-token-aad-id-token",
    "x-ms-token-aad-access-token",
    "x-ms-token-aad-refresh-token",
    "x-ms-token-aad-expires-on",
    // Tailscale Serve, and tailscale.nginx-auth
    "tailscale-user",
    "tailscale-user-login",
    "tailscale-user-name",
    "tailscale-user-profile-pic",
    "tailscale-app-capabilities",
    "tailscale-headers-info",
    "tailscale-funnel-request",
    "tailscale-name",
    "tailscale-login",
    "tailscale-tailnet",
    "tailscale-profile-picture",
    // Traefik's companions
    "x-forwarded-displayname",
    "x-authenticated-user",
    "x-user-groups",
    "x-user-roles",
    "x-auth-request-token",
    "x-auth-request-redirect",
    // mod_auth_openidc
    "oidc-claim-sub",
    "oidc-claim-email",
    "oidc-claim-preferred-username",
    "oidc-claim-name",
    "oidc-claim-given-name",
    "oidc-claim-family-name",
    "oidc-claim-groups",
    "oidc-claim-picture",
    "oidc-access-token",
    "oidc-access-token-expires",
    "oidc-id-token",
    "oidc-id-token-payload",
    "oidc-userinfo-json",
    "oidc-userinfo-jwt",
    "oidc-signed-jwt",
    // Istio, Envoy
    "x-jwt-payload",
    "x-forwarded-client-cert",
    // Kong, APISIX
    "x-userinfo",
    "x-id-token",
    "x-access-token",
    "x-raw-id-token",
    "x-refresh-token",
    "x-credential-identifier",
    "x-anonymous-consumer",
    "x-authenticated-groups",
    "x-consumer-id",
    "x-consumer-username",
    "x-consumer-custom-id",
    // Teleport
    "teleport-jwt-assertion",
    // Oathkeeper, lua-resty-openidc
    "x-user",
    "x-email",
    // caddy-security
    "x-token-subject",
    "x-token-user-name",
    "x-token-user-email",
    "x-token-user-roles",
    "x-picture",
    // Grafana's and Gitea's names
    "x-webauth-user",
    "x-webauth-email",
    "x-webauth-name",
    "x-webauth-fullname",
    "x-webauth-groups",
    "x-webauth-role",
    // Kubernetes
    "x-remote-user",
    "x-remote-uid",
    "x-remote-group",
    "x-remote-groups",
    "x-remote-extra-email",
    "x-remote-extra-name",
    "impersonate-user",
    "impersonate-group",
    // YunoHost
    "auth-user",
    "email",
    "name",
    // Home Assistant
    "x-remote-user-id",
    "x-remote-user-name",
    "x-remote-user-display-name",
    // ngrok
    "ngrok-auth-user-id",
    "ngrok-auth-user-email",
    "ngrok-auth-user-name",
];

/// Every header in which a known sign-in proxy says who somebody is, or carries their token: stripped on every path, read
/// or not, since one that nobody set on the way could have been set by the client. `_` and `-`, and cases, are one there.
pub fn identity_names() -> impl Iterator<Item = &'static str> {
    Preset::ALL.into_iter().flat_map(Preset::headers).map(|header| header.name).chain(FURTHER_NAMES.iter().copied())
}

// === impl Preset ===

impl Preset {
    /// All presets.
    pub const ALL: [Self; 7] = [
        Self::Oauth2Proxy,
        Self::Oauth2ProxyAuthRequest,
        Self::Vouch,
        Self::Gatekeeper,
        Self::Authentik,
        Self::Authelia,
        Self::Custom,
    ];

    /// The name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Oauth2Proxy => "oauth2-proxy",
            Self::Oauth2ProxyAuthRequest => "oauth2-proxy-auth-request",
            Self::Vouch => "vouch",
            Self::Gatekeeper => "gatekeeper",
            Self::Authentik => "authentik",
            Self::Authelia => "authelia",
            Self::Custom => "custom",
        }
    }

    /// Its headers.
    pub fn headers(self) -> &'static [PresetHeader] {
        match self {
            Self::Oauth2Proxy => OAUTH2_PROXY,
            Self::Oauth2ProxyAuthRequest => OAUTH2_PROXY_AUTH_REQUEST,
            Self::Vouch => VOUCH,
            Self::Gatekeeper => GATEKEEPER,
            Self::Authentik => AUTHENTIK,
            Self::Authelia => AUTHELIA,
            Self::Custom => &[],
        }
    }

    /// The header of one attribute.
    pub fn header(self, attribute: Attribute) -> Option<PresetHeader> {
        self.headers().iter().copied().find(|header| header.attribute == attribute)
    }

    /// Its sign-out where that is on the same host, with `{next}` where it takes the address to go on to. Vouch's and
    /// Authelia's are on hosts of their own.
    pub fn sign_out(self) -> Option<&'static str> {
        match self {
            Self::Oauth2Proxy | Self::Oauth2ProxyAuthRequest => Some("/oauth2/sign_out?rd={next}"),
            Self::Gatekeeper => Some("/oauth/logout?redirect={next}"),
            Self::Authentik => Some("/outpost.goauthentik.io/sign_out"),
            Self::Vouch | Self::Authelia | Self::Custom => None,
        }
    }

    /// Names of its own cookies; `*` at the end stands for anything.
    pub fn cookies(self) -> &'static [&'static str] {
        match self {
            Self::Oauth2Proxy | Self::Oauth2ProxyAuthRequest => &["_oauth2_proxy*"],
            Self::Vouch => &["VouchCookie*", "VouchSession"],
            Self::Gatekeeper => &["kc-access*", "kc-state*", "OAuth_Token_Request_State", "request_uri"],
            Self::Authentik => &["authentik_proxy*", "authentik_session"],
            Self::Authelia => &["authelia_session"],
            Self::Custom => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preset_is_read_by_the_name_it_tells() {
        for preset in Preset::ALL {
            let read: Preset = serde_json::from_str(&format!("{:?}", preset.name())).unwrap();
            assert_eq!(read, preset);
        }
    }

    #[test]
    fn names_are_folded_valid_and_each_there_once() {
        for (at, name) in identity_names().enumerate() {
            assert!(http::HeaderName::from_bytes(name.as_bytes()).is_ok(), "{name}");
            assert_eq!(name, name.to_lowercase().replace('_', "-"));
            assert!(!identity_names().take(at).any(|before| before == name), "{name} is there twice");
        }
    }

    #[test]
    fn every_preset_but_custom_knows_the_user_and_lists_have_separators() {
        for preset in Preset::ALL {
            assert_eq!(preset.header(Attribute::User).is_some(), preset != Preset::Custom);
            for header in preset.headers() {
                let is_list = matches!(header.attribute, Attribute::Groups | Attribute::Roles);
                assert_eq!(header.separator.is_some(), is_list, "{}", header.name);
            }
        }
    }
}
