-- What a block did, so that lifting it undoes exactly that: who and why, LiteLLM's keys that it blocked with what they
-- said before, and `metadata.scim_active` as it was.
ALTER TABLE {schema}.account ADD COLUMN block jsonb;

-- Who did it: `vestibule`, or `operator:USER@HOST`.
ALTER TABLE {schema}.audit ADD COLUMN actor text NOT NULL DEFAULT 'vestibule';
CREATE INDEX audit_at ON {schema}.audit (at);
