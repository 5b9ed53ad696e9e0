//! The statements of `open` in Postgres, made once from the two schema names. Every name is qualified, so that the search path
//! does not matter.

use crate::litellm::tables::Tables;
use crate::store::steps::Statements;

/// The statements for LiteLLM's tables in one schema, and ours in another, whose name is quoted already.
pub(super) fn statements(litellm_schema: &str, own: &str) -> Statements {
    let litellm = Tables::in_schema(litellm_schema);
    let read = read(&litellm, own);
    Statements {
        read_locked: format!("{read} FOR UPDATE OF a"),
        read,
        find: find(&litellm, own),
        create_account: create_account(&litellm, own),
        adopt: format!(
            "INSERT INTO {own}.account (id, issuer, subject, user_id) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING \
             RETURNING id"
        ),
        insert_user: litellm.insert_user("$1"),
        update_user: litellm.update_user(),
        update_allowance: Tables::update_allowance,
        update_account: format!(
            "UPDATE {own}.account SET role = coalesce($2, role), \
             lowered_at = CASE WHEN $3 THEN clock_timestamp() ELSE lowered_at END, \
             allowance = coalesce($4, allowance), email_refused = $5 WHERE id = $1"
        ),
        create_session: format!(
            "WITH s AS (INSERT INTO {own}.session (id, account_id, kind, nonce, secret_id, token, expires_at, current) \
             VALUES ($1, $2, $3, $4, $5, $6, now() + make_interval(secs => $7), true)), \
             l AS (INSERT INTO {own}.audit (account_id, event, detail) VALUES ($2, 'session_made', $9::jsonb)) {}",
            litellm.insert_key("$8")
        ),
        extend_session: format!(
            "WITH s AS (UPDATE {own}.session SET expires_at = now() + make_interval(secs => $2) WHERE id = $1 \
             RETURNING token, account_id), l AS (INSERT INTO {own}.audit (account_id, event, detail) \
             SELECT account_id, 'session_renewed', $3::jsonb FROM s) {} RETURNING k.token",
            litellm.expire_key("$2", "s")
        ),
        retire_session: format!(
            "WITH s AS (UPDATE {own}.session SET current = false, retire_at = now() + make_interval(secs => $2), \
             expires_at = now() + make_interval(secs => $2) WHERE id = $1 RETURNING token) {} RETURNING k.token",
            litellm.expire_key("$2", "s")
        ),
        end_session: format!(
            "WITH s AS (DELETE FROM {own}.session WHERE id = $1 RETURNING token) {}",
            litellm.delete_keys("s")
        ),
        forget_session: format!("DELETE FROM {own}.session WHERE id = $1"),
        audit: format!(
            "INSERT INTO {own}.audit (account_id, actor, event, detail) SELECT $1, $2, e.event, e.detail \
             FROM jsonb_to_recordset($3::jsonb) AS e(event text, detail jsonb)"
        ),
        litellm,
    }
}

/// The two look-ups of other rows run only where something would be written.
fn read(litellm: &Tables, own: &str) -> String {
    format!(
        "SELECT a.id AS account_id, a.user_id, a.role, a.allowance, a.email_refused, \
         a.blocked_at IS NOT NULL AS account_blocked, \
         extract(epoch FROM clock_timestamp() - a.lowered_at)::float8 AS lowered_seconds, \
         u.user_id IS NOT NULL AS has_user, u.user_role, u.user_email, u.user_alias, u.sso_user_id, \
         coalesce(u.metadata->'scim_active' = 'false'::jsonb, false) AS scim_off, \
         CASE WHEN $3::text IS NULL OR lower(u.user_email) = lower($3::text) THEN false ELSE EXISTS (SELECT FROM {user} o \
         WHERE lower(o.user_email) = lower($3::text) AND o.user_id <> a.user_id) END AS email_taken, \
         CASE WHEN u.sso_user_id IS NOT NULL THEN false ELSE EXISTS (SELECT FROM {user} o \
         WHERE o.sso_user_id = a.subject) END AS sso_taken, \
         s.id AS session_id, s.nonce, s.secret_id, s.token, \
         extract(epoch FROM clock_timestamp() - s.created_at)::float8 AS age_seconds, \
         extract(epoch FROM s.expires_at - clock_timestamp())::float8 AS left_seconds, \
         k.token IS NOT NULL AS has_key, coalesce(k.blocked, false) AS key_blocked, \
         coalesce(k.user_id = a.user_id, false) AS key_own, \
         extract(epoch FROM k.expires - (clock_timestamp() AT TIME ZONE 'UTC'))::float8 AS key_left_seconds, \
         {ui} AS ui FROM {own}.account a \
         LEFT JOIN {user} u ON u.user_id = a.user_id \
         LEFT JOIN {own}.session s ON s.account_id = a.id AND s.current AND s.kind = 'api' \
         LEFT JOIN {key} k ON k.token = s.token \
         WHERE a.issuer = $1 AND a.subject = $2",
        user = litellm.user,
        key = litellm.key,
        ui = ui_sessions(litellm, own)
    )
}

/// The account's browsers, as JSON text: those whose keys LiteLLM takes.
fn ui_sessions(litellm: &Tables, own: &str) -> String {
    format!(
        "(SELECT json_agg(json_build_object('id', i.id, 'nonce', encode(i.nonce, 'base64'), 'secret_id', i.secret_id, \
         'token', i.token, 'left_seconds', extract(epoch FROM i.expires_at - clock_timestamp())::float8))::text \
         FROM {own}.session i JOIN {key} j ON j.token = i.token WHERE i.account_id = a.id AND i.kind = 'ui' AND i.current \
         AND i.expires_at > now() AND j.user_id = a.user_id AND NOT coalesce(j.blocked, false))",
        key = litellm.key
    )
}

fn find(litellm: &Tables, own: &str) -> String {
    format!(
        "SELECT t.id_taken, u.user_id, u.user_role, o.id IS NOT NULL AS owned, u.user_id = $1 AS by_user_id, \
         coalesce(u.sso_user_id = $2, false) AS by_sso_user_id, \
         coalesce(lower(u.user_email) = lower($3::text), false) AS by_email, \
         coalesce(u.metadata->'scim_active' = 'false'::jsonb, false) AS scim_off \
         FROM (SELECT EXISTS (SELECT FROM {own}.account WHERE user_id = $1) AS id_taken) t \
         LEFT JOIN {user} u ON u.user_id = $1 OR u.sso_user_id = $2 OR lower(u.user_email) = lower($3::text) \
         LEFT JOIN {own}.account o ON o.user_id = u.user_id ORDER BY u.user_id LIMIT 10",
        user = litellm.user
    )
}

/// All of it depends on the user row: nothing is written, and no row returned, when another transaction was faster.
fn create_account(litellm: &Tables, own: &str) -> String {
    format!(
        "WITH u AS ({insert_user}), \
         a AS (INSERT INTO {own}.account (id, issuer, subject, user_id, role, allowance) \
         SELECT r.id, r.issuer, r.subject, u.user_id, r.role, r.allowance \
         FROM jsonb_to_record($2::jsonb) AS r(id text, issuer text, subject text, role text, allowance text), u \
         RETURNING id) \
         INSERT INTO {own}.audit (account_id, event, detail) SELECT a.id, e.event, e.detail \
         FROM a, jsonb_to_recordset($3::jsonb) AS e(event text, detail jsonb) RETURNING id",
        insert_user = litellm.insert_user("$1")
    )
}
