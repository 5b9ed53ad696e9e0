//! All that is known of LiteLLM, and nothing else knows it.
//!
//! Everything here takes and gives plain values: rows, names, SQL text. Who asks the database, or LiteLLM, is elsewhere.

pub mod tables;
