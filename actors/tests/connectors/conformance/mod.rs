//! One suite a contract, generic over a small harness: whatever implements the contract passes it, and nothing else.

pub(crate) mod ingress;
pub(crate) mod records;
pub(crate) mod state;
pub(crate) mod store;
