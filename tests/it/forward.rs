//! What goes up, what comes back, and how streams and connections end.

mod connections;
mod limits;
mod refusals;
mod requests;
mod slowness;
mod streams;
mod upgrades;
mod uploads;
mod websockets;
