//! The file's own shapes. Every key may be missing, none may be unknown; what values mean is `check`'s business.

use std::fmt;
use std::marker::PhantomData;

use secrecy::SecretString;
use serde::Deserialize;
use serde::de::{self, Deserializer, SeqAccess, Visitor, value::SeqAccessDeserializer};

use crate::config::presets::Preset;
use crate::config::{
    AdoptBy, AtLogout, Attribute, ClientKeys, CookieKind, Decoding, Gateway, LogFormat, RoleSync, UserIdFrom,
};

/// A list. An item whose shape was wrong, and which is reported already, is `None`.
pub(super) type List<T> = Vec<Option<T>>;

/// A value that is no plain text: number, duration, yes or no. Kept as text, so that a value from the environment is
/// read like one from the file, and so that the message about it can say which form it should have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Scalar(pub(super) String);

/// A secret's value.
#[derive(Debug, Clone)]
pub(super) struct Secret(pub(super) SecretString);

/// One value, or a list of them.
#[derive(Debug, Clone)]
pub(super) struct OneOrMany<T> {
    pub(super) items: List<T>,
    pub(super) is_list: bool,
}

#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, expecting = "a mapping")]
pub(super) struct RawConfig {
    pub(super) listen: Option<String>,
    pub(super) listen_mode: Option<Scalar>,
    pub(super) admin: Option<Scalar>,
    pub(super) public_url: Option<String>,
    pub(super) hosts: Option<List<String>>,
    pub(super) allowed_origins: Option<List<String>>,
    pub(super) workers: Option<Scalar>,
    pub(super) trust: Option<RawTrust>,
    pub(super) identity: Option<RawIdentity>,
    pub(super) forward_auth: Option<RawForwardAuth>,
    pub(super) deny: Option<List<RawMatcher>>,
    pub(super) allow: Option<List<RawMatcher>>,
    pub(super) rules: Option<List<RawRule>>,
    pub(super) default_role: Option<String>,
    pub(super) account: Option<RawAccount>,
    pub(super) session: Option<RawSession>,
    pub(super) litellm: Option<RawLitellm>,
    pub(super) database: Option<RawDatabase>,
    pub(super) client_keys: Option<ClientKeys>,
    pub(super) public_paths: Option<List<String>>,
    pub(super) sign_in_cookies: Option<List<String>>,
    pub(super) own_prefix: Option<String>,
    pub(super) ui: Option<RawUi>,
    pub(super) logout: Option<RawLogout>,
    pub(super) limits: Option<RawLimits>,
    pub(super) drain: Option<RawDrain>,
    pub(super) log: Option<RawLog>,
    pub(super) audit: Option<RawAudit>,
}

#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, expecting = "a mapping")]
pub(super) struct RawTrust {
    pub(super) peers: Option<List<String>>,
    pub(super) uids: Option<List<Scalar>>,
    pub(super) secret_header: Option<RawSecretHeader>,
    pub(super) basic_auth_password: Option<Secret>,
    pub(super) basic_auth_password_file: Option<String>,
    pub(super) accept_shared_loopback: Option<Scalar>,
    pub(super) everybody_may_be_anybody: Option<Scalar>,
}

#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, expecting = "a mapping")]
pub(super) struct RawSecretHeader {
    pub(super) name: Option<String>,
    pub(super) value: Option<OneOrMany<Secret>>,
    pub(super) value_file: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, expecting = "a mapping")]
pub(super) struct RawIdentity {
    pub(super) source: Option<RawSource>,
    pub(super) check: Option<RawCheck>,
    pub(super) preset: Option<Preset>,
    pub(super) reads: Option<List<Attribute>>,
    pub(super) issuer: Option<String>,
    pub(super) groups_required: Option<Scalar>,
    pub(super) email_from: Option<EmailFrom>,
    pub(super) max_groups: Option<Scalar>,
    pub(super) max_value_bytes: Option<Scalar>,
    pub(super) provider: Option<String>,
    pub(super) headers: Option<RawHeaders>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub(super) enum RawSource {
    Headers,
    Check,
}

#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, expecting = "a mapping")]
pub(super) struct RawCheck {
    pub(super) url: Option<String>,
    pub(super) timeout: Option<Scalar>,
}

#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, expecting = "a mapping")]
pub(super) struct RawForwardAuth {
    pub(super) listen: Option<String>,
    pub(super) listen_mode: Option<Scalar>,
    pub(super) peers: Option<List<String>>,
    pub(super) uids: Option<List<Scalar>>,
    pub(super) secret_header: Option<RawSecretHeader>,
    pub(super) accept_shared_loopback: Option<Scalar>,
    pub(super) gateways: Option<List<Gateway>>,
    pub(super) gateway_removes: Option<List<String>>,
    pub(super) gateway_overwrites: Option<List<String>>,
    pub(super) gateway_passes: Option<List<String>>,
    pub(super) sign_in: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub(super) enum EmailFrom {
    Email,
    User,
}

#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, expecting = "a mapping")]
pub(super) struct RawHeaders {
    pub(super) user: Option<RawHeader>,
    pub(super) email: Option<RawHeader>,
    pub(super) preferred_username: Option<RawHeader>,
    pub(super) name: Option<RawHeader>,
    pub(super) first_name: Option<RawHeader>,
    pub(super) last_name: Option<RawHeader>,
    pub(super) picture: Option<RawHeader>,
    pub(super) groups: Option<RawHeader>,
    pub(super) roles: Option<RawHeader>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, expecting = "a mapping")]
pub(super) struct RawHeader {
    pub(super) name: Option<String>,
    pub(super) decoding: Option<Decoding>,
    pub(super) separator: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, expecting = "a mapping")]
pub(super) struct RawMatcher {
    pub(super) group: Option<OneOrMany<String>>,
    pub(super) email: Option<OneOrMany<String>>,
    pub(super) email_domain: Option<OneOrMany<String>>,
    pub(super) user: Option<OneOrMany<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, expecting = "a mapping")]
pub(super) struct RawRule {
    pub(super) when: Option<RawMatcher>,
    pub(super) role: Option<String>,
    pub(super) grants: Option<RawGrants>,
}

#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, expecting = "a mapping")]
pub(super) struct RawGrants {
    pub(super) on: Option<GrantOn>,
    pub(super) models: Option<List<String>>,
    pub(super) max_budget: Option<Scalar>,
    pub(super) budget_duration: Option<Scalar>,
    pub(super) tpm_limit: Option<Scalar>,
    pub(super) rpm_limit: Option<Scalar>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub(super) enum GrantOn {
    Create,
    Always,
}

#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, expecting = "a mapping")]
pub(super) struct RawAccount {
    pub(super) user_id: Option<UserIdFrom>,
    pub(super) adopt: Option<List<AdoptBy>>,
    pub(super) role_sync: Option<RoleSync>,
    pub(super) refresh: Option<Scalar>,
    pub(super) max_cached: Option<Scalar>,
}

#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, expecting = "a mapping")]
pub(super) struct RawSession {
    pub(super) secret: Option<Secret>,
    pub(super) secret_file: Option<String>,
    pub(super) life: Option<Scalar>,
    pub(super) max_age: Option<Scalar>,
    pub(super) offline_grace: Option<Scalar>,
}

#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, expecting = "a mapping")]
pub(super) struct RawLitellm {
    pub(super) url: Option<String>,
    pub(super) database_url: Option<Secret>,
    pub(super) database_url_file: Option<String>,
    pub(super) schema: Option<String>,
    pub(super) cache_ttl: Option<Scalar>,
    pub(super) key_header: Option<String>,
    pub(super) pass_through_key_headers: Option<List<String>>,
    pub(super) keep_authorization: Option<List<String>>,
    pub(super) proxy_admin_id: Option<String>,
    pub(super) root_path: Option<String>,
    pub(super) master_key: Option<Secret>,
    pub(super) master_key_file: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, expecting = "a mapping")]
pub(super) struct RawDatabase {
    pub(super) schema: Option<String>,
    pub(super) pool: Option<Scalar>,
    pub(super) connect_timeout: Option<Scalar>,
    pub(super) statement_timeout: Option<Scalar>,
    pub(super) ca_file: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, expecting = "a mapping")]
pub(super) struct RawUi {
    pub(super) sign_in: Option<Scalar>,
    pub(super) cookie_key: Option<CookieKind>,
    pub(super) native_sign_in: Option<Scalar>,
}

#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, expecting = "a mapping")]
pub(super) struct RawLogout {
    pub(super) chain: Option<List<String>>,
    pub(super) api_session: Option<AtLogout>,
}

#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, expecting = "a mapping")]
pub(super) struct RawLimits {
    pub(super) header_bytes: Option<Scalar>,
    pub(super) headers: Option<Scalar>,
    pub(super) target_bytes: Option<Scalar>,
    pub(super) body_bytes: Option<Scalar>,
    pub(super) header_timeout: Option<Scalar>,
    pub(super) body_timeout: Option<Scalar>,
    pub(super) body_rate: Option<Scalar>,
    pub(super) send_timeout: Option<Scalar>,
    pub(super) keep_alive_timeout: Option<Scalar>,
    pub(super) connections: Option<Scalar>,
    pub(super) in_flight_per_person: Option<Scalar>,
    pub(super) in_flight: Option<Scalar>,
    pub(super) identity_cache_bytes: Option<Scalar>,
    pub(super) upstream_connect_timeout: Option<Scalar>,
    pub(super) upstream_first_byte_timeout: Option<Scalar>,
    pub(super) upstream_read_timeout: Option<Scalar>,
    pub(super) upstream_idle_timeout: Option<Scalar>,
    pub(super) upstream_idle_connections: Option<Scalar>,
}

#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, expecting = "a mapping")]
pub(super) struct RawDrain {
    pub(super) delay: Option<Scalar>,
    pub(super) timeout: Option<Scalar>,
}

#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, expecting = "a mapping")]
pub(super) struct RawLog {
    pub(super) level: Option<String>,
    pub(super) format: Option<LogFormat>,
    pub(super) person: Option<RawLogPerson>,
}

#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, expecting = "a mapping")]
pub(super) struct RawAudit {
    pub(super) retention: Option<Scalar>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub(super) enum RawLogPerson {
    Hash,
    Id,
}

// === impl Scalar ===

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Scalars;

        impl Visitor<'_> for Scalars {
            type Value = Scalar;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a single value")
            }

            fn visit_bool<E>(self, value: bool) -> Result<Scalar, E> {
                Ok(Scalar(value.to_string()))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Scalar, E> {
                Ok(Scalar(value.to_string()))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Scalar, E> {
                Ok(Scalar(value.to_string()))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Scalar, E> {
                Ok(Scalar(value.to_string()))
            }

            fn visit_str<E>(self, value: &str) -> Result<Scalar, E> {
                Ok(Scalar(value.to_owned()))
            }
        }

        deserializer.deserialize_any(Scalars)
    }
}

// === impl Secret ===

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(String::deserialize(deserializer)?.into()))
    }
}

// === impl OneOrMany ===

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Items<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Items<T> {
            type Value = OneOrMany<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text, or a list of texts")
            }

            fn visit_str<E: de::Error>(self, value: &str) -> Result<OneOrMany<T>, E> {
                let item = T::deserialize(de::value::StrDeserializer::new(value))?;
                Ok(OneOrMany { items: vec![Some(item)], is_list: false })
            }

            fn visit_seq<A: SeqAccess<'de>>(self, access: A) -> Result<OneOrMany<T>, A::Error> {
                let items = List::<T>::deserialize(SeqAccessDeserializer::new(access))?;
                Ok(OneOrMany { items, is_list: true })
            }
        }

        deserializer.deserialize_any(Items(PhantomData))
    }
}

/// What the types take, for `docs/config.schema.json`; a test makes the rest of it.
#[cfg(test)]
mod schema {
    use std::borrow::Cow;

    use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

    use super::{OneOrMany, Scalar, Secret};

    impl JsonSchema for Scalar {
        fn schema_name() -> Cow<'static, str> {
            "scalar".into()
        }

        fn json_schema(_: &mut SchemaGenerator) -> Schema {
            json_schema!({ "type": ["string", "number", "boolean"] })
        }
    }

    impl JsonSchema for Secret {
        fn schema_name() -> Cow<'static, str> {
            "secret".into()
        }

        fn json_schema(_: &mut SchemaGenerator) -> Schema {
            json_schema!({ "type": "string" })
        }
    }

    impl<T: JsonSchema> JsonSchema for OneOrMany<T> {
        fn schema_name() -> Cow<'static, str> {
            format!("one_or_many_{}", T::schema_name()).into()
        }

        fn json_schema(generator: &mut SchemaGenerator) -> Schema {
            let one = generator.subschema_for::<T>();
            json_schema!({ "anyOf": [one, { "type": "array", "items": one }] })
        }
    }
}
