//! What every log has to hold: one suite of tests, run on each of them.
//!
//! Everything is seen through the components themselves: what a router delivered, a source gives out. A log that is new
//! to the project implements [`Kind`] and is named in [`suite`]; it has to pass nothing else.

mod drive;
mod embedded;
mod kafka;
mod place;
mod ports;
mod positions;
mod reading;
mod writing;

pub use embedded::Embedded;
pub use place::{Kind, Place};

/// The tests, for each kind of log.
macro_rules! suite {
    ($($module:ident: $($test:ident),+;)+) => {
        mod on_kafka {
            $($(#[tokio::test]
            async fn $test() {
                super::$module::$test::<super::kafka::Kafka>().await;
            })+)+
        }
        mod on_the_embedded_log {
            $($(#[tokio::test]
            async fn $test() {
                super::$module::$test::<super::embedded::Embedded>().await;
            })+)+
        }
    };
}

suite! {
    writing: what_is_delivered_is_read_in_order, records_at_fault_are_named_and_their_neighbours_delivered,
        a_rebuild_writes_nothing_twice, several_rebuilds_in_a_row_write_once, what_is_submitted_again_on_purpose_is_written_again, dead_letters_keep_the_raw_bytes, batches_of_several_routers_each_keep_their_order;
    reading: topics_are_merged_by_arrival, a_mark_comes_behind_what_it_vouches_for,
        what_comes_later_is_given_out_without_being_asked_for_again, batches_name_what_came_before;
    positions: what_is_acknowledged_is_not_read_again, the_lowest_position_decides_where_to_begin,
        what_is_given_back_is_read_again, what_is_no_longer_retained_follows_the_policy,
        a_position_behind_the_end_stops_the_source, another_number_of_partitions_is_refused;
    ports: the_newest_productions_are_recalled, what_a_topology_gave_up_is_read_back, a_journal_is_read_back_from_any_offset,
        an_alert_stream_goes_on_behind_its_cursor, a_command_is_durable_when_it_is_taken;
}
