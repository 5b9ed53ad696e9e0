//! The store's contract, on a real Postgres with LiteLLM's real tables.

#![expect(clippy::wildcard_enum_match_arm, reason = "another outcome than the one claimed fails the test")]
#![expect(clippy::duration_suboptimal_units, reason = "seconds are what the database counts in")]

mod conflicts;
mod contract;
mod first_sight;
mod operator;
mod prepare;
mod repairs;
mod roles;
mod sessions;

use std::sync::Arc;
use std::time::Duration;

use vestibule::config::{
    AccountRules, AdoptBy, Database, Litellm, RoleSync, SessionRules, Terms, UpstreamAddress, UserIdFrom,
};
use vestibule::litellm::role::Role;
use vestibule::secret::SessionSecrets;
use vestibule::store::postgres::Postgres;
use vestibule::store::{OpenedSession, Store, StoreError, UserProfile};

use crate::support::postgres::TestDatabase;

pub(crate) const SECRET: &str = "a secret of the tests, 32 bytes and more";
pub(crate) const OTHER_SECRET: &str = "another secret of the tests, also long";

/// The settings of one store, to be changed before it is made.
pub(crate) struct Settings {
    pub(crate) database: Database,
    pub(crate) litellm: Litellm,
    pub(crate) account: AccountRules,
    pub(crate) secrets: String,
    pub(crate) life: Duration,
    pub(crate) max_age: Duration,
}

impl Settings {
    pub(crate) fn new(url: String) -> Self {
        Self {
            database: Database {
                schema: "vestibule".to_owned(),
                pool: 8,
                connect_timeout: Duration::from_secs(30),
                statement_timeout: Duration::from_secs(30),
                ca_file: None,
            },
            litellm: Litellm {
                url: UpstreamAddress::Tcp { host: "127.0.0.1".to_owned(), port: 4000 },
                database_url: url.into(),
                schema: "public".to_owned(),
                cache_ttl: Duration::from_secs(60),
                key_header: None,
                pass_through_key_headers: Vec::new(),
                keep_authorization: Vec::new(),
                proxy_admin_id: None,
                root_path: String::new(),
                master_key: None,
            },
            account: AccountRules {
                user_id: UserIdFrom::Subject,
                adopt: Vec::new(),
                role_sync: RoleSync::Always,
                refresh: Duration::from_secs(30),
                max_cached: 100,
            },
            secrets: SECRET.to_owned(),
            life: Duration::from_secs(86_400),
            max_age: Duration::from_secs(7 * 86_400),
        }
    }

    pub(crate) fn connect(&self) -> Postgres {
        let session = SessionRules {
            secrets: SessionSecrets::parse(&self.secrets.clone().into()).unwrap(),
            life: self.life,
            max_age: self.max_age,
            offline_grace: Duration::from_secs(300),
        };
        Postgres::connect(&self.database, &self.litellm, &self.account, &session)
    }
}

/// A database, and settings that fit it; our tables are made.
pub(crate) async fn ready() -> (TestDatabase, Settings) {
    let database = TestDatabase::fresh().await;
    let settings = Settings::new(database.url());
    settings.connect().prepare().await.unwrap();
    (database, settings)
}

pub(crate) fn person(subject: &str) -> UserProfile {
    UserProfile {
        issuer: "default".into(),
        subject: subject.to_owned(),
        email: Some(format!("{subject}@example.com")),
        preferred_username: Some(format!("{subject}-login")),
        first_name: None,
        last_name: None,
        display_name: Some(format!("{subject} of the tests")),
        picture: None,
        provider: "oauth2-proxy".to_owned(),
        groups: Vec::new(),
    }
}

pub(crate) fn terms(role: Role) -> Terms {
    Terms { role, allowance: None }
}

pub(crate) fn viewer() -> Terms {
    terms(Role::InternalUserViewer)
}

/// The refusal that was met.
pub(crate) fn refused(outcome: Result<OpenedSession, StoreError>) -> StoreError {
    match outcome {
        Ok(opened) => panic!("a key was lent to {}", opened.user_id),
        Err(error) => error,
    }
}

pub(crate) fn adopting(settings: &mut Settings, ways: &[AdoptBy]) {
    settings.account.adopt = ways.to_vec();
}

pub(crate) fn issuer(name: &str) -> Arc<str> {
    name.into()
}

/// A user row as an admin makes it by hand.
pub(crate) fn user_by_hand(user_id: &str, sso: Option<&str>, email: Option<&str>, role: &str) -> String {
    let quoted = |text: Option<&str>| text.map_or("NULL".to_owned(), |text| format!("'{text}'"));
    format!(
        "INSERT INTO \"LiteLLM_UserTable\" (user_id, sso_user_id, user_email, user_role, models, max_budget) \
         VALUES ('{user_id}', {}, {}, '{role}', '{{}}', 7);",
        quoted(sso),
        quoted(email)
    )
}
