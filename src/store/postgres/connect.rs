//! From a database URL to connection options that PgBouncer in transaction mode can live with.

use std::str::FromStr;

use secrecy::ExposeSecret;
use sqlx::postgres::{PgConnectOptions, PgSslMode};

use crate::config::{Database, Litellm};

/// The options, or in words why there are none. The words hold nothing of the URL.
pub(super) fn options(database: &Database, litellm: &Litellm) -> Result<PgConnectOptions, String> {
    let url = litellm.database_url.expose_secret();
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        return Err("the database URL does not begin with `postgresql://`".to_owned());
    }
    // The driver's own words could repeat a part of the URL.
    let mut options = PgConnectOptions::from_str(url).map_err(|_| "the database URL can't be read".to_owned())?;
    if options.get_application_name().is_none() {
        options = options.application_name("vestibule");
    }
    if let Some(ca_file) = &database.ca_file {
        options = options.ssl_root_cert(ca_file);
        // Who names an authority wants the server checked against it; the driver checks in these modes alone.
        if !matches!(options.get_ssl_mode(), PgSslMode::VerifyCa | PgSslMode::VerifyFull) {
            options = options.ssl_mode(PgSslMode::VerifyFull);
        }
    }
    // PgBouncer in transaction mode knows neither this start-up parameter nor statements prepared under a name.
    Ok(options.extra_float_digits(None).statement_cache_capacity(0))
}
