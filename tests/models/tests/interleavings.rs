//! Runs every model (`telemill_models::models`).

use telemill_models::models::{acks, book, mailboxes};

macro_rules! models {
    ($($module:ident: $($model:ident),+;)+) => {
        $($(#[test] fn $model() { $module::$model(); })+)+
    };
}

models! {
    acks: the_worst_of_all_owners_is_heard_once, a_delivery_is_heard_once_and_from_the_last;
    book: no_outcome_is_left_behind, a_quiet_partition_has_nothing_left_to_acknowledge,
        what_is_out_is_waited_for_beyond_its_book, an_ended_sequence_is_not_heard;
    mailboxes: everything_that_is_sent_is_received, closing_frees_those_who_wait,
        nothing_gets_in_behind_a_close, the_end_comes_behind_the_last_delivery;
}
