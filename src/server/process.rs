//! Limits of the process that are set before anything is served.

use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};

/// Descriptors that a request in flight takes: the client's and LiteLLM's connection.
const DESCRIPTORS_A_REQUEST: u64 = 2;
/// Descriptors for the rest: listeners, the database, runtimes, logs.
const DESCRIPTORS_BESIDE: u64 = 64;

/// Raises the limit of descriptors as far as it may be raised, and says so where that is less than `connections` need.
/// Many systems give 1024 to begin with and allow far more.
pub fn raise_descriptors(connections: usize) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let limit = if raised.is_ok() { maximum } else { current };
    let needed = (connections as u64).saturating_mul(DESCRIPTORS_A_REQUEST).saturating_add(DESCRIPTORS_BESIDE);
    if let Some(limit) = limit.filter(|limit| *limit < needed) {
        tracing::warn!(
            limit,
            needed,
            "the system allows fewer open files than `limits.connections` may need; beyond it new connections wait. \
             Raise LimitNOFILE, or lower `limits.connections`"
        );
    }
}

/// Keeps the memory, in which secrets are, out of core files and away from other processes of the same user.
pub fn keep_memory_private() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    if setrlimit(Resource::Core, none).is_err() || set_dumpable_behavior(DumpableBehavior::NotDumpable).is_err() {
        tracing::warn!("core files could not be turned off; one would hold secrets");
    }
}
