//! SQL text by which a person is kept out of LiteLLM, let in again, and their keys ended.
//!
//! LiteLLM refuses a key whose row says `blocked`, and every key of a user whose `metadata.scim_active` is false
//! (`auth/user_api_key_auth.py`; since 1.90). Keys are locked in the order of their tokens.

use crate::litellm::tables::{NOW, Tables};

impl Tables {
    /// Sets `metadata.scim_active` of the user `$1` to false; gives back what it was, as JSON text, and no row where
    /// there is nothing to do.
    pub fn switch_user_off(&self) -> String {
        format!(
            "UPDATE {user} u SET metadata = jsonb_set(u.metadata, '{{scim_active}}', 'false'), updated_at = {NOW} \
             FROM (SELECT o.user_id, o.metadata->'scim_active' AS was FROM {user} o WHERE o.user_id = $1 \
             AND jsonb_typeof(o.metadata) = 'object' FOR UPDATE) old WHERE u.user_id = old.user_id \
             AND old.was IS DISTINCT FROM 'false'::jsonb RETURNING old.was::text",
            user = self.user
        )
    }

    /// Gives `metadata.scim_active` of the user `$1` back what it was, `$2` as JSON text or NULL for nothing; no row
    /// where somebody has changed it since.
    pub fn switch_user_on(&self) -> String {
        format!(
            "UPDATE {user} u SET metadata = CASE WHEN $2::jsonb IS NULL THEN u.metadata - 'scim_active' \
             ELSE jsonb_set(u.metadata, '{{scim_active}}', $2::jsonb) END, updated_at = {NOW} \
             WHERE u.user_id = $1 AND u.metadata->'scim_active' = 'false'::jsonb",
            user = self.user
        )
    }

    /// Whether there is a row of the user `$1`, and whether it is switched off.
    pub fn look_at_user(&self) -> String {
        format!(
            "SELECT u.user_role, u.user_email, coalesce(u.metadata->'scim_active' = 'false'::jsonb, false) AS scim_off \
             FROM {user} u WHERE u.user_id = $1",
            user = self.user
        )
    }

    /// Blocks the keys of the user `$1` that aren't, but for those whose tokens the relation has; gives back the tokens
    /// with what `blocked` was.
    pub fn block_keys(&self, but_for: &str) -> String {
        format!(
            "UPDATE {key} k SET blocked = true, updated_at = {NOW} FROM (SELECT o.token, o.blocked FROM {key} o \
             WHERE o.user_id = $1 AND o.blocked IS NOT TRUE AND NOT EXISTS (SELECT FROM {but_for} b WHERE b.token = o.token) \
             ORDER BY o.token FOR UPDATE) old WHERE k.token = old.token RETURNING old.token, old.blocked",
            key = self.key
        )
    }

    /// Gives `blocked` of the user `$1`'s keys back what it was: `$2` is JSON, a list of `token` and `was`. A key that
    /// somebody has let work since, or that has another owner, is left alone.
    pub fn unblock_keys(&self) -> String {
        format!(
            "UPDATE {key} k SET blocked = b.was, updated_at = {NOW} \
             FROM jsonb_to_recordset($2::jsonb) AS b(token text, was boolean) \
             WHERE k.token = b.token AND k.user_id = $1 AND k.blocked",
            key = self.key
        )
    }

    /// Expires keys now. `from` names a relation with a column `token`.
    pub fn end_keys(&self, from: &str) -> String {
        format!(
            "UPDATE {key} k SET expires = {NOW}, updated_at = {NOW} FROM {from} WHERE k.token = {from}.token",
            key = self.key
        )
    }

    /// Gives the user `$1` another `sso_user_id`, `$3`, where it is `$2` and nobody has the other.
    pub fn move_user(&self) -> String {
        format!(
            "UPDATE {user} u SET sso_user_id = $3, updated_at = {NOW} WHERE u.user_id = $1 AND u.sso_user_id = $2 \
             AND NOT EXISTS (SELECT FROM {user} o WHERE o.sso_user_id = $3)",
            user = self.user
        )
    }
}
