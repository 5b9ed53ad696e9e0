//! LiteLLM's `DATABASE_URL`. It is written for Prisma, whose parameters other drivers do not know.

/// The parameters that mean the same to other drivers as to Prisma. The rest (`schema`, `connection_limit`, `pgbouncer`,
/// `sslpassword`, …) are taken out: a value among them may be a secret that a driver would log as not understood.
const PARAMETERS: [&str; 10] =
    ["sslmode", "sslrootcert", "host", "hostaddr", "port", "dbname", "user", "password", "application_name", "options"];

/// The address with the parameters that every driver knows, and the schema that it names.
pub fn split(url: &str) -> (String, Option<String>) {
    let Some((base, query)) = url.split_once('?') else { return (url.to_owned(), None) };
    let pairs = || query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let schema = pairs().find(|(name, _)| name.eq_ignore_ascii_case("schema")).map(|(_, schema)| schema.to_owned());
    let kept: Vec<_> = query
        .split('&')
        .filter(|pair| PARAMETERS.contains(&pair.split_once('=').map_or(*pair, |(name, _)| name)))
        .collect();
    let address = if kept.is_empty() { base.to_owned() } else { format!("{base}?{}", kept.join("&")) };
    (address, schema.filter(|schema| !schema.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_of_prisma_are_left_out() {
        let (address, schema) = split("postgresql://u:p@h:1/d?schema=public&sslmode=require&sslpassword=x");
        assert_eq!((address.as_str(), schema.as_deref()), ("postgresql://u:p@h:1/d?sslmode=require", Some("public")));
        assert_eq!(split("postgresql://h/d?schema="), ("postgresql://h/d".to_owned(), None));
        assert_eq!(split("postgresql://h/d"), ("postgresql://h/d".to_owned(), None));
    }
}
