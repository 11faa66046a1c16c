//! What of a batch goes to the log: its records in pages, one for each partition, and its marks.

use std::sync::Arc;

use telemill_engine::clock::Timestamp;
use telemill_engine::position::Partition;
use telemill_engine::record::EventId;

use crate::embedded::log::frame::{self, FrameHeaders};
use crate::embedded::log::{Append, Page, Topic};
use crate::log::mark::Alive;

/// In the order in which they are to be appended.
pub(super) enum Item {
    /// Records of a topic, by its index.
    Page {
        topic: usize,
        append: Append,
    },
    Mark {
        id: EventId,
        alive: Alive,
    },
}

/// Gathers a batch.
pub(super) struct Pages {
    topics: Vec<Arc<Topic>>,
    /// The pages in the making, by topic and partition.
    open: Vec<Vec<Option<Page>>>,
    /// Whose they are, in the order in which they were begun.
    begun: Vec<(usize, Partition)>,
    items: Vec<Item>,
}

impl Pages {
    pub(super) fn new(topics: Vec<Arc<Topic>>) -> Self {
        let open = topics.iter().map(|topic| (0..topic.partitions()).map(|_| None).collect()).collect();
        Pages { topics, open, begun: Vec::new(), items: Vec::new() }
    }

    /// Adds a record that the log takes now, to a partition that its topic has.
    pub(super) fn record(
        &mut self,
        (topic, partition): (usize, Partition),
        now: Timestamp,
        (key, headers, value): (Option<&[u8]>, &FrameHeaders, &[u8]),
    ) {
        let open = &mut self.open[topic][partition as usize];
        let full = open.take_if(|page| page.is_full_for(frame::size(key, headers, value)));
        let page = open.get_or_insert_with(|| {
            if full.is_none() {
                self.begun.push((topic, partition));
            }
            Page::new(now)
        });
        page.push(key, headers, value);
        if let Some(page) = full {
            self.items.push(item(&self.topics, topic, partition, page));
        }
    }

    /// Adds a mark, behind all that came before.
    pub(super) fn mark(&mut self, id: EventId, alive: Alive) {
        self.close();
        self.items.push(Item::Mark { id, alive });
    }

    /// Ends the batch.
    pub(super) fn finish(&mut self) -> Vec<Item> {
        self.close();
        std::mem::take(&mut self.items)
    }

    fn close(&mut self) {
        for (topic, partition) in self.begun.drain(..) {
            if let Some(page) = self.open[topic][partition as usize].take() {
                self.items.push(item(&self.topics, topic, partition, page));
            }
        }
    }
}

fn item(topics: &[Arc<Topic>], topic: usize, partition: Partition, page: Page) -> Item {
    Item::Page { topic, append: Append { topic: topics[topic].clone(), partition, page } }
}
