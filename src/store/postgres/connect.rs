//! Connection options from a database URL, such that PgBouncer in transaction mode accepts them.

use std::str::FromStr;

use secrecy::ExposeSecret;
use sqlx::postgres::{PgConnectOptions, PgSslMode};

use crate::config::{Database, Litellm};

/// The options, or a message that says why there are none and does not repeat any of the URL.
pub(super) fn options(database: &Database, litellm: &Litellm) -> Result<PgConnectOptions, String> {
    let url = litellm.database_url.expose_secret();
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        return Err("the database URL does not begin with `postgresql://`".to_owned());
    }
    // The driver's own message could repeat a part of the URL.
    let mut options = PgConnectOptions::from_str(url).map_err(|_| "the database URL can't be read".to_owned())?;
    if options.get_application_name().is_none() {
        options = options.application_name("vestibule");
    }
    if let Some(ca_file) = &database.ca_file {
        options = options.ssl_root_cert(ca_file);
        // With an authority configured the server is to be checked against it, which the driver does in these modes only.
        if !matches!(options.get_ssl_mode(), PgSslMode::VerifyCa | PgSslMode::VerifyFull) {
            options = options.ssl_mode(PgSslMode::VerifyFull);
        }
    }
    // PgBouncer in transaction mode knows neither this start-up parameter nor statements prepared under a name.
    Ok(options.extra_float_digits(None).statement_cache_capacity(0))
}
