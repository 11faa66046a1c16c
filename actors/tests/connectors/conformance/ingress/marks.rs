//! Marks: for which time the ingress vouches that a device that spoke would have been heard.

use serde::Deserialize;
use telemill_engine::clock::{Clock, Timestamp};
use telemill_engine::record::{Kind, Record};
use telemill_engine::source::Source;
use ulid::Ulid;

use super::device::Version;
use super::{Harness, connected, serving};
use crate::mqtt_support::Ingress;

/// A mark, as `docs/formats.md` has it.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mark {
    slot: u16,
    slot_session: Ulid,
    since: u64,
    time: u64,
}

/// What came out of an ingress, in order.
#[derive(Debug, Default)]
pub(crate) struct TimeLine {
    marks: Vec<Mark>,
    /// The sessions that the records name, one by one.
    sessions: Vec<Ulid>,
    now: Timestamp,
}

impl TimeLine {
    /// Takes note of what comes next: time does not go back, from record to record and from span to span, and a mark
    /// stands behind all that arrived before its time. (Where nobody sets the clock back.)
    pub(crate) fn follow(&mut self, records: &[Record]) {
        for record in records {
            assert!(record.received_at >= self.now, "{record:?} behind {:?}", self.now);
            self.now = record.received_at;
            if record.kind == Kind::Mark {
                let mark: Mark = serde_json::from_slice(&record.payload).unwrap();
                assert_eq!((record.device.as_str(), record.received_at.0), ("mark", mark.time));
                assert!(mark.since < mark.time, "{mark:?}");
                assert!(
                    self.marks.last().is_none_or(|last| last.time <= mark.since),
                    "{mark:?} after {:?}",
                    self.marks
                );
                self.marks.push(mark);
            }
            self.sessions.extend(record.origin.map(|origin| origin.slot_session));
        }
    }

    /// Reads and acknowledges until there are so many marks and records.
    async fn read<S: Source>(&mut self, ingress: &mut Ingress<S>, marks: usize, records: usize) {
        while self.marks.len() < marks || self.sessions.len() < records {
            let batch = ingress.batch(100).await;
            ingress.acknowledge(batch.tag).await;
            self.follow(&batch.records);
        }
    }
}

/// Without a gap, as long as devices can be heard and what they say moves; by the session that their records name.
pub(crate) async fn time_is_vouched_for_second_by_second<H: Harness>() {
    let began = Clock::system().now();
    let (harness, mut ingress) = serving::<H>().await;
    let mut device = connected(&harness, "d1", Version::V4).await;
    let mut line = TimeLine::default();
    for number in 1..=2 {
        device.publish(&harness.topic("d1", "data"), "1").await;
        line.read(&mut ingress, number, number).await;
    }
    assert!(line.marks[0].since >= began.0, "nobody listened before {began:?}: {line:?}");
    assert!(line.marks.windows(2).all(|pair| pair[0].time == pair[1].since), "{line:?}");
    for mark in &line.marks {
        // A beat may be late on a busy machine, and a break is said after three seconds.
        assert!((900..=3100).contains(&(mark.time - mark.since)), "{mark:?}");
        assert_eq!((mark.slot, mark.slot_session), (0, line.sessions[0]));
    }
}

/// The time for which the process was away is covered by none of its lives.
pub(crate) async fn no_time_is_vouched_for_while_devices_cannot_be_heard<H: Harness>() {
    let (mut harness, mut ingress) = serving::<H>().await;
    let mut line = TimeLine::default();
    line.read(&mut ingress, 1, 0).await;
    ingress.crash().await;
    harness.crash().await;
    let away = Clock::system().now();
    let mut ingress = Ingress::begin(harness.build().await).await;
    line.read(&mut ingress, 2, 0).await;
    assert!(line.marks[1].since >= away.0, "{:?}, away at {away:?}", line.marks);
}
