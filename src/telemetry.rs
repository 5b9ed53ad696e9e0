//! What vestibule says of itself: log lines and metrics. No person is ever in a label.

pub mod logs;
pub mod metrics;
