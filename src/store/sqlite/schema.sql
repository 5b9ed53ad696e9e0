-- LiteLLM's two tables, as far as vestibule writes them and a stand-in for LiteLLM reads them; then our own, as in
-- `store/migrations`. Times are seconds since 1970.
CREATE TABLE "LiteLLM_UserTable" (
    user_id text PRIMARY KEY,
    sso_user_id text UNIQUE,
    user_email text,
    user_alias text,
    user_role text,
    models text NOT NULL DEFAULT '[]',
    metadata text NOT NULL DEFAULT '{}',
    max_budget real,
    budget_duration text,
    budget_reset_at real,
    tpm_limit integer,
    rpm_limit integer
) STRICT;

CREATE TABLE "LiteLLM_VerificationToken" (
    token text PRIMARY KEY,
    key_name text,
    key_alias text,
    user_id text,
    expires real,
    blocked integer,
    metadata text NOT NULL DEFAULT '{}',
    created_by text
) STRICT;

CREATE TABLE account (
    id text PRIMARY KEY,
    issuer text NOT NULL,
    subject text NOT NULL,
    user_id text NOT NULL UNIQUE,
    role text,
    lowered_at real,
    allowance text,
    email_refused text,
    blocked_at real,
    UNIQUE (issuer, subject)
) STRICT;

CREATE TABLE session (
    id text PRIMARY KEY,
    account_id text NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    kind text NOT NULL,
    nonce blob NOT NULL,
    secret_id text NOT NULL,
    token text NOT NULL UNIQUE,
    created_at real NOT NULL DEFAULT (unixepoch('now', 'subsec')),
    expires_at real NOT NULL,
    current integer NOT NULL,
    retire_at real
) STRICT;
CREATE UNIQUE INDEX session_current_api ON session (account_id, kind) WHERE current AND kind = 'api';

CREATE TABLE audit (
    id integer PRIMARY KEY AUTOINCREMENT,
    at real NOT NULL DEFAULT (unixepoch('now', 'subsec')),
    account_id text,
    actor text NOT NULL DEFAULT 'vestibule',
    event text NOT NULL,
    detail text NOT NULL DEFAULT '{}'
) STRICT;
