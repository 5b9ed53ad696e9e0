//! SQLite's text of every statement. What is decided from the rows is shared with Postgres.

use crate::litellm::tables::Tables;
use crate::store::steps::Statements;

/// Those of `open`. Several in one text share its parameters.
pub(super) fn statements() -> Statements {
    Statements {
        litellm: Tables::in_schema("main"),
        read: READ.to_owned(),
        read_locked: READ.to_owned(),
        find: FIND.to_owned(),
        create_account: format!("{INSERT_USER}; {INSERT_ACCOUNT}"),
        adopt: "INSERT INTO account (id, issuer, subject, user_id) VALUES ($1, $2, $3, $4) RETURNING id".to_owned(),
        insert_user: format!("{INSERT_USER} RETURNING user_id"),
        update_user: UPDATE_USER.to_owned(),
        update_allowance: |_, _| Some(UPDATE_ALLOWANCE.to_owned()),
        update_account: UPDATE_ACCOUNT.to_owned(),
        create_session: CREATE_SESSION.to_owned(),
        extend_session: EXTEND_SESSION.to_owned(),
        retire_session: RETIRE_SESSION.to_owned(),
        end_session: END_SESSION.to_owned(),
        forget_session: "DELETE FROM session WHERE id = $1".to_owned(),
        audit: "INSERT INTO audit (account_id, actor, event, detail) \
                SELECT $1, $2, value->>'event', value->>'detail' FROM json_each($3)"
            .to_owned(),
    }
}

const READ: &str = "
SELECT a.id AS account_id, a.user_id, a.role, a.allowance, a.email_refused,
       a.blocked_at IS NOT NULL AS account_blocked,
       unixepoch('now', 'subsec') - a.lowered_at AS lowered_seconds,
       u.user_id IS NOT NULL AS has_user, u.user_role, u.user_email, u.user_alias, u.sso_user_id,
       coalesce(json_type(u.metadata, '$.scim_active') = 'false', 0) AS scim_off,
       CASE WHEN $3 IS NULL OR lower(u.user_email) = lower($3) THEN 0
            ELSE EXISTS (SELECT 1 FROM \"LiteLLM_UserTable\" o
                         WHERE lower(o.user_email) = lower($3) AND o.user_id <> a.user_id) END AS email_taken,
       CASE WHEN u.sso_user_id IS NOT NULL THEN 0
            ELSE EXISTS (SELECT 1 FROM \"LiteLLM_UserTable\" o WHERE o.sso_user_id = a.subject) END AS sso_taken,
       s.id AS session_id, s.nonce, s.secret_id, s.token,
       unixepoch('now', 'subsec') - s.created_at AS age_seconds,
       s.expires_at - unixepoch('now', 'subsec') AS left_seconds,
       k.token IS NOT NULL AS has_key, coalesce(k.blocked, 0) AS key_blocked,
       coalesce(k.user_id = a.user_id, 0) AS key_own,
       k.expires - unixepoch('now', 'subsec') AS key_left_seconds, NULL AS ui
FROM account a
LEFT JOIN \"LiteLLM_UserTable\" u ON u.user_id = a.user_id
LEFT JOIN session s ON s.account_id = a.id AND s.current AND s.kind = 'api'
LEFT JOIN \"LiteLLM_VerificationToken\" k ON k.token = s.token
WHERE a.issuer = $1 AND a.subject = $2";

const FIND: &str = "
SELECT t.id_taken, u.user_id, u.user_role, o.id IS NOT NULL AS owned,
       coalesce(u.user_id = $1, 0) AS by_user_id, coalesce(u.sso_user_id = $2, 0) AS by_sso_user_id,
       coalesce(lower(u.user_email) = lower($3), 0) AS by_email,
       coalesce(json_type(u.metadata, '$.scim_active') = 'false', 0) AS scim_off
FROM (SELECT EXISTS (SELECT 1 FROM account WHERE user_id = $1) AS id_taken) t
LEFT JOIN \"LiteLLM_UserTable\" u ON u.user_id = $1 OR u.sso_user_id = $2 OR lower(u.user_email) = lower($3)
LEFT JOIN account o ON o.user_id = u.user_id
ORDER BY u.user_id LIMIT 10";

const INSERT_USER: &str = "
INSERT INTO \"LiteLLM_UserTable\" (user_id, sso_user_id, user_email, user_alias, user_role, models, metadata,
                                   max_budget, budget_duration, budget_reset_at, tpm_limit, rpm_limit)
VALUES ($1->>'user_id', $1->>'sso_user_id', $1->>'user_email', $1->>'user_alias', $1->>'user_role',
        coalesce($1->>'models', '[]'), $1->>'metadata', $1->>'max_budget', $1->>'budget_duration',
        unixepoch('now', 'subsec') + ($1->>'budget_seconds'), $1->>'tpm_limit', $1->>'rpm_limit')";

const INSERT_ACCOUNT: &str = "
INSERT INTO account (id, issuer, subject, user_id, role, allowance)
VALUES ($2->>'id', $2->>'issuer', $2->>'subject', $1->>'user_id', $2->>'role', $2->>'allowance');
INSERT INTO audit (account_id, event, detail)
SELECT $2->>'id', value->>'event', value->>'detail' FROM json_each($3) RETURNING id";

/// What is null stays.
const UPDATE_USER: &str = "
SELECT user_role FROM \"LiteLLM_UserTable\" WHERE user_id = $1->>'user_id';
UPDATE \"LiteLLM_UserTable\" SET sso_user_id = coalesce($1->>'sso_user_id', sso_user_id),
       user_email = coalesce($1->>'user_email', user_email), user_alias = coalesce($1->>'user_alias', user_alias),
       user_role = coalesce($1->>'user_role', user_role)
WHERE user_id = $1->>'user_id'";

/// What is null stays.
const UPDATE_ALLOWANCE: &str = "
UPDATE \"LiteLLM_UserTable\" SET models = coalesce($2->>'models', models),
       max_budget = coalesce($2->>'max_budget', max_budget),
       budget_duration = coalesce($2->>'budget_duration', budget_duration),
       budget_reset_at = coalesce(unixepoch('now', 'subsec') + ($2->>'budget_seconds'), budget_reset_at),
       tpm_limit = coalesce($2->>'tpm_limit', tpm_limit), rpm_limit = coalesce($2->>'rpm_limit', rpm_limit)
WHERE user_id = $1";

const UPDATE_ACCOUNT: &str = "
UPDATE account SET role = coalesce($2, role),
       lowered_at = CASE WHEN $3 THEN unixepoch('now', 'subsec') ELSE lowered_at END,
       allowance = coalesce($4, allowance), email_refused = $5
WHERE id = $1";

const CREATE_SESSION: &str = "
INSERT INTO session (id, account_id, kind, nonce, secret_id, token, expires_at, current)
VALUES ($1, $2, $3, $4, $5, $6, unixepoch('now', 'subsec') + $7, 1);
INSERT INTO \"LiteLLM_VerificationToken\" (token, key_name, key_alias, user_id, expires, metadata, created_by)
VALUES ($8->>'token', $8->>'key_name', $8->>'key_alias', $8->>'user_id',
        unixepoch('now', 'subsec') + ($8->>'life_seconds'), $8->>'metadata', 'vestibule');
INSERT INTO audit (account_id, event, detail) VALUES ($2, 'session_made', $9)";

const EXTEND_SESSION: &str = "
UPDATE session SET expires_at = unixepoch('now', 'subsec') + $2 WHERE id = $1;
INSERT INTO audit (account_id, event, detail) SELECT account_id, 'session_renewed', $3 FROM session WHERE id = $1;
UPDATE \"LiteLLM_VerificationToken\" SET expires = unixepoch('now', 'subsec') + $2
WHERE token = (SELECT token FROM session WHERE id = $1) RETURNING token";

const RETIRE_SESSION: &str = "
UPDATE session SET current = 0, retire_at = unixepoch('now', 'subsec') + $2,
       expires_at = unixepoch('now', 'subsec') + $2
WHERE id = $1;
UPDATE \"LiteLLM_VerificationToken\" SET expires = unixepoch('now', 'subsec') + $2
WHERE token = (SELECT token FROM session WHERE id = $1) RETURNING token";

const END_SESSION: &str = "
DELETE FROM \"LiteLLM_VerificationToken\" WHERE token = (SELECT token FROM session WHERE id = $1);
DELETE FROM session WHERE id = $1";

/// Sessions that are over. A blocked key stays, because its block keeps a user out and would go with it.
pub(super) const OVER: &str = "
SELECT s.id FROM session s WHERE s.expires_at < unixepoch('now', 'subsec')
AND NOT (s.current AND EXISTS (SELECT 1 FROM \"LiteLLM_VerificationToken\" b WHERE b.token = s.token AND b.blocked))";

/// `$1` issuer, `$2` subject, `$3` code. Once a user, code and minute.
pub(super) const TURNED_AWAY: &str = "
INSERT INTO audit (account_id, event, detail)
SELECT (SELECT id FROM account WHERE issuer = $1 AND subject = $2), 'refused',
       json_object('code', $3, 'issuer', $1, 'subject', $2)
WHERE NOT EXISTS (SELECT 1 FROM audit l WHERE l.at > unixepoch('now', 'subsec') - 60 AND l.event = 'refused'
                  AND l.detail->>'code' = $3 AND l.detail->>'issuer' = $1 AND l.detail->>'subject' = $2)";

/// `$1` the token: whose key it is, as LiteLLM would judge it.
pub(super) const HOLDER: &str = "
SELECT k.user_id, u.user_role, u.user_email, k.key_name, k.token, k.expires - unixepoch('now', 'subsec') AS left_seconds,
       coalesce(k.blocked, 0) OR coalesce(json_type(u.metadata, '$.scim_active') = 'false', 0) AS blocked
FROM \"LiteLLM_VerificationToken\" k JOIN \"LiteLLM_UserTable\" u ON u.user_id = k.user_id
WHERE k.token = $1";

/// `$1` the `user_id`.
pub(super) const EVENTS: &str =
    "SELECT l.event FROM audit l JOIN account a ON a.id = l.account_id WHERE a.user_id = $1 ORDER BY l.id";
