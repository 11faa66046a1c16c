//! A batch as the arguments of its script, in the layout that `apply.lua` gives.
//!
//! Costs little more than copying the messages once: no allocation a record, the tables are kept from batch to batch.
//! Devices and timestamps are sent once a batch, and the payload not at all where it is a piece of the message.

use std::fmt::Write as _;
use std::ops::Range;

use redis::{Cmd, Script};
use telemill_engine::batch::Batch;
use telemill_engine::envelope;
use telemill_engine::position::{Epoch, TopicId};
use telemill_engine::record::Record;

use crate::device_store::is_written;
use crate::redis::evalsha;

/// Makes the arguments; keeps its tables for the next batch.
#[derive(Debug, Default)]
pub(super) struct Arguments {
    /// Open addressing: 0, or 1 + an index into `devices`. As many as a power of two.
    table: Vec<u32>,
    /// For each device the index of its first record in the batch.
    devices: Vec<u32>,
    stamps: Vec<u64>,
    topics: Vec<Topic>,
    /// For each payload that stands apart the index of its record in the batch.
    apart: Vec<u32>,
    places: Vec<u8>,
    spans: Vec<u8>,
    positions: Vec<u8>,
    text: String,
}

/// What a batch has of one topic.
#[derive(Debug)]
struct Topic {
    id: TopicId,
    first: (i64, u32),
    last: (i64, u32),
}

impl Arguments {
    /// The command that applies `batch`.
    pub(super) fn command(
        &mut self,
        script: &Script,
        batch: &Batch,
        guard: Option<&str>,
        epoch: Epoch,
        history_secs: u64,
    ) -> Cmd {
        let messages = self.collect(batch, guard.is_some());
        let records = self.spans.len() / 8;
        let (args, bytes) = self.size(records, messages);
        let mut command = evalsha(script, guard.as_slice(), args, bytes);
        command.arg(epoch.0).arg(history_secs);
        command.arg(self.topics.len()).arg(self.devices.len()).arg(self.stamps.len()).arg(records);
        command.arg(&self.places[..]).arg(&self.spans[..]).arg(&self.positions[..]);
        for topic in &self.topics {
            self.text.clear();
            // Writing to a string cannot fail.
            let _ = write!(self.text, "{}", topic.id);
            command.arg(self.text.as_str());
            let previous = batch.previous_in(topic.id);
            for position in [previous, Some(topic.first), Some(topic.last)] {
                self.text.clear();
                if let Some((offset, output)) = position {
                    let _ = write!(self.text, "{offset}:{output}");
                }
                command.arg(self.text.as_str());
            }
        }
        for first in &self.devices {
            command.arg(batch.records[*first as usize].device.as_str());
        }
        for stamp in &self.stamps {
            command.arg(stamp);
        }
        for record in batch.records.iter().filter(|record| is_written(record)) {
            match &record.message {
                Some(message) => command.arg(&message[..]),
                None => command.arg(&envelope::message_of(record)[..]),
            };
        }
        for index in &self.apart {
            let payload = &batch.records[*index as usize].payload[..];
            command.arg(if payload.is_empty() { b"null" } else { payload });
        }
        command
    }

    /// Fills the tables; the bytes of all messages.
    fn collect(&mut self, batch: &Batch, guarded: bool) -> usize {
        self.devices.clear();
        self.stamps.clear();
        self.topics.clear();
        self.apart.clear();
        self.places.clear();
        self.spans.clear();
        self.positions.clear();
        self.table.clear();
        self.table.resize((2 * batch.len()).next_power_of_two(), 0);
        let mut bytes = 0;
        for (index, record) in batch.records.iter().enumerate() {
            let topic = self.topic(record);
            if !is_written(record) {
                continue;
            }
            let device = self.device(batch, index);
            let stamp = self.stamp(record.received_at.as_secs());
            self.places.extend_from_slice(&device.to_le_bytes()[..3]);
            self.places.extend_from_slice(&stamp.to_le_bytes()[..3]);
            let (start, length) = match payload_in_message(record) {
                Some(range) => (range.start as u32 + 1, range.len() as u32),
                None => {
                    self.apart.push(index as u32);
                    bytes += record.payload.len() + 4;
                    (0, self.apart.len() as u32 - 1)
                }
            };
            self.spans.extend_from_slice(&start.to_le_bytes());
            self.spans.extend_from_slice(&length.to_le_bytes());
            if guarded {
                let (offset, output) = record.position.map_or((0, 0), |p| (p.offset, p.output));
                self.positions.push(topic);
                self.positions.extend_from_slice(&offset.to_le_bytes());
                self.positions.extend_from_slice(&output.to_le_bytes());
            }
            // One that is still to be made is the payload and what stands around it.
            bytes += record.message.as_ref().map_or(record.payload.len() + 256, |message| message.len());
        }
        bytes
    }

    /// The number of the record's topic, from 1; 0 without a position. Takes the position into account.
    fn topic(&mut self, record: &Record) -> u8 {
        let Some(position) = record.position else { return 0 };
        let at = (position.offset, position.output);
        let found = self.topics.iter_mut().position(|topic| topic.id == position.topic);
        let index = found.unwrap_or_else(|| {
            self.topics.push(Topic { id: position.topic, first: at, last: at });
            self.topics.len() - 1
        });
        let topic = &mut self.topics[index];
        topic.first = topic.first.min(at);
        topic.last = topic.last.max(at);
        u8::try_from(index + 1).expect("a source merges far fewer than 255 topics")
    }

    /// The number of the record's device, from 0.
    fn device(&mut self, batch: &Batch, index: usize) -> u32 {
        let device = &batch.records[index].device;
        let mask = self.table.len() - 1;
        let mut at = device.hash64() as usize & mask;
        loop {
            match self.table[at] {
                0 => {
                    self.devices.push(index as u32);
                    self.table[at] = self.devices.len() as u32;
                    return self.table[at] - 1;
                }
                taken if batch.records[self.devices[taken as usize - 1] as usize].device == *device => {
                    return taken - 1;
                }
                _ => at = (at + 1) & mask,
            }
        }
    }

    /// The number of a timestamp, from 0. They come in runs, so only the newest is looked at.
    fn stamp(&mut self, secs: u64) -> u32 {
        if self.stamps.last() != Some(&secs) {
            self.stamps.push(secs);
        }
        self.stamps.len() as u32 - 1
    }

    /// How many arguments there are, and about how many bytes.
    fn size(&self, records: usize, messages: usize) -> (usize, usize) {
        const PER_TOPIC: usize = 128;
        const PER_DEVICE: usize = 32;
        const PER_STAMP: usize = 12;
        let blobs = self.places.len() + self.spans.len() + self.positions.len();
        let small =
            PER_TOPIC * self.topics.len() + PER_DEVICE * self.devices.len() + PER_STAMP * self.stamps.len() + 64;
        let args = 9 + 4 * self.topics.len() + self.devices.len() + self.stamps.len() + records + self.apart.len();
        (args, blobs + small + messages)
    }
}

/// Where in its message the payload lies, if it is a piece of it.
fn payload_in_message(record: &Record) -> Option<Range<usize>> {
    let message = record.message.as_ref()?;
    let start = (record.payload.as_ptr() as usize).checked_sub(message.as_ptr() as usize)?;
    let end = start + record.payload.len();
    (!record.payload.is_empty() && end <= message.len()).then_some(start..end)
}
