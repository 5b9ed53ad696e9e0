-- Who is who: (issuer, subject) is a person, user_id the row in LiteLLM, once and for good.
CREATE TABLE {schema}.account (
    id text PRIMARY KEY,
    issuer text NOT NULL,
    subject text NOT NULL,
    user_id text NOT NULL UNIQUE,
    role text,                    -- the mapped role last written; NULL before the first
    lowered_at timestamptz,       -- when a role was last lowered
    allowance text,               -- what a rule last wrote of models and limits, as JSON text
    email_refused text,           -- the e-mail last kept out because another row has it
    blocked_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (issuer, subject)
);

-- The keys lent. Neither a key nor anything that gives one without the session secret is here.
CREATE TABLE {schema}.session (
    id text PRIMARY KEY,
    account_id text NOT NULL REFERENCES {schema}.account (id) ON DELETE CASCADE,
    kind text NOT NULL,
    nonce bytea NOT NULL,
    secret_id text NOT NULL,      -- which session secret made the key
    token text NOT NULL UNIQUE,   -- SHA-256 of the key: its name in LiteLLM's table
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    current boolean NOT NULL,
    retire_at timestamptz         -- a replaced session is honoured so long
);
CREATE UNIQUE INDEX session_current_api ON {schema}.session (account_id, kind) WHERE current AND kind = 'api';
CREATE INDEX session_expires_at ON {schema}.session (expires_at);
CREATE INDEX session_account_id ON {schema}.session (account_id);

-- No reference to account: what was done outlives whom it was done to.
CREATE TABLE {schema}.audit (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now(),
    account_id text,
    event text NOT NULL,
    detail jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX audit_account_id ON {schema}.audit (account_id, id);
