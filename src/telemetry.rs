//! What vestibule says of itself: log lines and metrics. No user is ever in a label.

pub mod access_log;
pub mod logs;
pub mod metrics;
