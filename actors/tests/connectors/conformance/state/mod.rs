//! The contract of a state store: one owner at a time, nothing by a superseded one, and what was saved is what is loaded.
//!
//! An implementation gives a [`Harness`] and names it in `state_suite!`.

pub(crate) mod checkpoints;
pub(crate) mod claims;
pub(crate) mod lasting;
pub(crate) mod slots;

use std::sync::Arc;
use std::time::Duration;

use telemill_engine::checkpoint::{Owner, StateStore};
use ulid::Ulid;

/// Longer than anything takes on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// What the suite needs of an implementation. Topologies have unique names, so stores may be shared.
pub(crate) trait Harness: Sized {
    /// A store that others may use, too.
    async fn start() -> Self;
    /// A store of its own, which keeps what it answered through [`Harness::restart`].
    async fn start_own() -> Self;
    /// The store, with the usual lease of 10 s.
    fn store(&self) -> Arc<dyn StateStore>;
    /// The same with another lease.
    fn store_with_lease(&self, lease: Duration) -> Arc<dyn StateStore>;
    /// A store with a claim on `topology` that a process of this host left behind, which is no more.
    async fn left_claimed(topology: &str) -> Self;
    /// The store ends without warning and comes back.
    async fn restart(self) -> Self;
}

/// An owner on a host where nobody can look for its process.
pub(crate) fn owner(n: u128) -> Owner {
    Owner { instance: Ulid::from_parts(1, n), host: format!("host-{n}"), pid: 1 }
}

/// Every test of the suite, for one harness.
macro_rules! state_suite {
    ($harness:ty) => {
        crate::conformance::state::state_tests! { $harness:
            claims::a_claim_may_be_repeated_and_given_up,
            claims::a_claim_that_is_renewed_is_refused_to_others,
            claims::a_claim_that_is_not_renewed_is_waited_for_and_its_owner_fenced,
            claims::a_claim_that_ran_out_is_taken_again_by_its_owner,
            claims::the_claim_of_a_process_that_is_no_more_is_taken_over_at_once,
            claims::topologies_are_claimed_apart,
            slots::a_slot_is_read_back_and_kept_from_a_superseded_owner,
            checkpoints::a_hundred_thousand_sessions_are_read_back,
            checkpoints::a_superseded_owner_saves_nothing,
            checkpoints::a_delta_goes_only_onto_the_one_before_it,
            checkpoints::scopes_are_apart,
            lasting::what_was_saved_is_there_after_a_restart,
        }
    };
}

macro_rules! state_tests {
    ($harness:ty: $($part:ident::$name:ident,)*) => {
        $(
            #[tokio::test]
            async fn $name() {
                crate::conformance::state::$part::$name::<$harness>().await;
            }
        )*
    };
}

pub(crate) use {state_suite, state_tests};
