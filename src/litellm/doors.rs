//! LiteLLM's other ways in, which would go round the sign-in proxy or past the roles (`management_endpoints/ui_sso.py`,
//! `auth/login_utils.py`, `management_endpoints/scim/`, `proxy_server.py`).

/// Ways to sign in to the admin UI, or to get a key, by LiteLLM's own means.
const SIGN_IN: &[&str] = &[
    "/login",
    "/v2/login",
    "/v3/login",
    "/onboarding",
    "/fallback/login",
    "/sso/key/generate",
    "/sso/callback",
    "/sso/saml",
    "/sso/cli",
    "/.well-known/litellm-cli-auth",
];

/// What nobody needs through a front door: claims of a sign-in for debugging, provisioning of people, the configuration.
const OTHER: &[&str] = &["/sso/debug", "/scim", "/config/yaml"];

/// The paths that are closed, they and what is below them, with LiteLLM's root and without: it answers at both.
pub fn closed(root: &str, native_sign_in: bool) -> Vec<String> {
    let sign_in = SIGN_IN.iter().filter(|_| !native_sign_in);
    let plain = sign_in.chain(OTHER).map(|path| (*path).to_owned());
    let below_root: Vec<String> =
        plain.clone().filter(|_| !root.is_empty()).map(|path| format!("{root}{path}")).collect();
    plain.chain(below_root).collect()
}
