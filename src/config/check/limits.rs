//! Limits, drain, log and audit.

use std::time::Duration;

use crate::config::check::values::{Zero, duration, number};
use crate::config::problem::{KeyPath, literal, nearest};
use crate::config::raw::{RawAudit, RawDrain, RawLimits, RawLog, RawLogPerson};
use crate::config::report::Report;
use crate::config::{Audit, Drain, Limits, LogConfig, LogFormat};
use crate::http1::TARGET_BYTES_MAX;

/// hyper panics on a `max_buf_size` below this.
const HEADER_BYTES_MIN: usize = 8192;
const HEADER_BYTES_MAX: usize = 1024 * 1024;
const TARGET_BYTES_MIN: usize = 256;
const HEADERS_MIN: usize = 16;
/// A client faster than this needs no limit.
const BODY_RATE_MAX: u64 = 1024 * 1024;
/// Room for about 16,000 users whose headers take 250 bytes.
const IDENTITY_CACHE_BYTES: u64 = 16 * 1024 * 1024;
/// A cache that holds no entry would read every request's headers anew.
const IDENTITY_CACHE_BYTES_MIN: u64 = 64 * 1024;
const IDENTITY_CACHE_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;
const COUNT_MAX: usize = 1_000_000;
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Every limit of the front door and of the way up.
pub(super) fn limits(raw: RawLimits, report: &mut Report) -> Limits {
    let seconds = Duration::from_secs;
    let none = Zero::Refused;
    let limits = Limits {
        header_bytes: number(
            "limits.header_bytes",
            raw.header_bytes,
            65_536,
            HEADER_BYTES_MIN..=HEADER_BYTES_MAX,
            report,
        ),
        headers: number("limits.headers", raw.headers, 100, HEADERS_MIN..=10_000, report),
        target_bytes: number(
            "limits.target_bytes",
            raw.target_bytes,
            8192,
            TARGET_BYTES_MIN..=TARGET_BYTES_MAX,
            report,
        ),
        body_bytes: number("limits.body_bytes", raw.body_bytes, 0, 0..=u64::MAX, report),
        header_timeout: duration("limits.header_timeout", raw.header_timeout, seconds(10), none, report),
        body_timeout: duration("limits.body_timeout", raw.body_timeout, seconds(30), none, report),
        body_rate: number("limits.body_rate", raw.body_rate, 240, 0..=BODY_RATE_MAX, report),
        send_timeout: duration("limits.send_timeout", raw.send_timeout, seconds(60), Zero::Allowed, report),
        keep_alive_timeout: duration("limits.keep_alive_timeout", raw.keep_alive_timeout, seconds(75), none, report),
        connections: number("limits.connections", raw.connections, 10_000, 1..=COUNT_MAX, report),
        in_flight_per_person: number("limits.in_flight_per_person", raw.in_flight_per_person, 0, 0..=COUNT_MAX, report),
        in_flight: number("limits.in_flight", raw.in_flight, 0, 0..=COUNT_MAX, report),
        identity_cache_bytes: number(
            "limits.identity_cache_bytes",
            raw.identity_cache_bytes,
            IDENTITY_CACHE_BYTES,
            IDENTITY_CACHE_BYTES_MIN..=IDENTITY_CACHE_BYTES_MAX,
            report,
        ),
        upstream_connect_timeout: {
            duration("limits.upstream_connect_timeout", raw.upstream_connect_timeout, seconds(2), none, report)
        },
        upstream_first_byte_timeout: {
            duration("limits.upstream_first_byte_timeout", raw.upstream_first_byte_timeout, seconds(600), none, report)
        },
        upstream_read_timeout: {
            let default = seconds(600);
            duration("limits.upstream_read_timeout", raw.upstream_read_timeout, default, Zero::Allowed, report)
        },
        upstream_idle_timeout: {
            let default = Duration::from_millis(1500);
            duration("limits.upstream_idle_timeout", raw.upstream_idle_timeout, default, none, report)
        },
        upstream_idle_connections: {
            number("limits.upstream_idle_connections", raw.upstream_idle_connections, 64, 0..=COUNT_MAX, report)
        },
    };
    if limits.target_bytes > limits.header_bytes {
        let message = "`limits.target_bytes` is more than `limits.header_bytes`, which counts the target too";
        report.error("limits.target_bytes", message, "lower the one, or raise the other");
    }
    limits
}

/// How an ending goes.
pub(super) fn drain(raw: RawDrain, report: &mut Report) -> Drain {
    Drain {
        delay: duration("drain.delay", raw.delay, Duration::from_secs(5), Zero::Allowed, report),
        timeout: duration("drain.timeout", raw.timeout, Duration::from_secs(25), Zero::Allowed, report),
    }
}

/// What is logged.
pub(super) fn log(raw: RawLog, report: &mut Report) -> LogConfig {
    let level = raw.level.unwrap_or_else(|| "info".to_owned());
    for part in level.split(',').map(str::trim) {
        let (target, wanted) = part.split_once('=').unwrap_or(("vestibule", part));
        let is_target =
            !target.is_empty() && target.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_:".contains(&byte));
        if !is_target || !LEVELS.contains(&wanted) {
            let key = KeyPath::parse("log.level");
            let hint = nearest(wanted, LEVELS).filter(|near| *near != wanted);
            let hint = hint.map_or_else(String::new, |near| format!("did you mean `{near}`? "));
            let remedy = format!(
                "{hint}levels are `error`, `warn`, `info`, `debug`, `trace`; by target: `info,vestibule::identity=debug`"
            );
            report.error(&key, format!("`{key}` has no such level: {}", literal(part)), remedy);
            break;
        }
    }
    LogConfig {
        level,
        format: raw.format.unwrap_or(LogFormat::Auto),
        person_in_clear: raw.person == Some(RawLogPerson::Id),
    }
}

/// How long the audit is kept.
pub(super) fn audit(raw: RawAudit, report: &mut Report) -> Audit {
    let default = Duration::from_hours(90 * 24);
    Audit { retention: duration("audit.retention", raw.retention, default, Zero::Allowed, report) }
}
