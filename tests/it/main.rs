//! vestibule as a black box: the real binary on real sockets, with a real PostgreSQL behind it.
//!
//! `tests/run` starts that PostgreSQL and calls this; one file for each area of claims.

#[cfg(test)]
mod admin;
#[cfg(test)]
mod browser;
#[cfg(test)]
mod check;
#[cfg(test)]
mod cli;
#[cfg(test)]
mod client_keys;
#[cfg(test)]
mod clocks;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod demo;
#[cfg(test)]
mod differential;
#[cfg(test)]
mod documents;
#[cfg(test)]
mod drain;
#[cfg(test)]
mod explain;
#[cfg(test)]
mod failover;
#[cfg(test)]
mod forward;
#[cfg(test)]
mod gateways;
#[cfg(test)]
mod herd;
#[cfg(test)]
mod identity;
#[cfg(test)]
mod life;
#[cfg(test)]
mod litellm;
#[cfg(test)]
mod operator;
#[cfg(test)]
mod outages;
#[cfg(test)]
mod probe;
#[cfg(test)]
mod reload;
#[cfg(test)]
mod rules;
#[cfg(test)]
mod secrets;
#[cfg(test)]
mod sign_ins;
#[cfg(test)]
mod soak;
#[cfg(test)]
mod spoofing;
#[cfg(test)]
mod store;
#[cfg(test)]
mod support;
#[cfg(test)]
mod trust;
#[cfg(test)]
mod ui;
#[cfg(test)]
mod verify;
#[cfg(test)]
mod wire;
