pub mod grant;
pub mod identity;
pub mod peer;
pub mod refusal;
pub mod session;
pub mod trust;
