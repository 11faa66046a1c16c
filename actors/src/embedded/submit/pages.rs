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

#[cfg(test)]
mod tests {
    use telemill_engine::context::{TopicDecl, Topics};
    use telemill_services::unique_name;
    use ulid::Ulid;

    use super::*;
    use crate::embedded::disk::Disk;
    use crate::embedded::log::Log;

    /// What the items are: the topic, the partition and the number of records, or a mark.
    fn shape(items: &[Item]) -> Vec<Option<(usize, Partition, u32)>> {
        let one = |item: &Item| match item {
            Item::Page { topic, append } => Some((*topic, append.partition, append.page.records())),
            Item::Mark { .. } => None,
        };
        items.iter().map(one).collect()
    }

    #[tokio::test]
    async fn each_partition_has_a_page_and_marks_end_all_of_them() {
        let dir = std::env::temp_dir().join(unique_name("pages"));
        let log = Log::of(&Disk::open(&dir, 0).await.unwrap());
        let decl = |name: &str| TopicDecl { name: name.to_owned(), partitions: 2, ..Topics::default().defaults };
        let mut pages = Pages::new(log.ensure(&[decl("a"), decl("b")]).await.unwrap());
        let headers = FrameHeaders::default();
        let now = Timestamp(1);
        let put = |pages: &mut Pages, place, bytes: usize| {
            pages.record(place, now, (None, &headers, &vec![b'x'; bytes]));
        };
        for place in [(0, 1), (1, 0), (0, 1), (0, 0)] {
            put(&mut pages, place, 1);
        }
        let alive = Alive { slot: 0, slot_session: Ulid(1), since: 0, time: 1 };
        pages.mark(EventId(Ulid(1)), alive);
        put(&mut pages, (0, 1), 1);
        assert_eq!(shape(&pages.finish()), [Some((0, 1, 2)), Some((1, 0, 1)), Some((0, 0, 1)), None, Some((0, 1, 1))]);

        // Two of them do not fit in one page; the order within a partition stays.
        for (place, bytes) in [((0, 0), 10_000), ((0, 1), 1), ((0, 0), 10_000), ((0, 0), 2_500), ((0, 0), 25_000)] {
            put(&mut pages, place, bytes);
        }
        let expect = [Some((0, 0, 1)), Some((0, 0, 2)), Some((0, 0, 1)), Some((0, 1, 1))];
        assert_eq!(shape(&pages.finish()), expect);
        assert!(pages.finish().is_empty());
        drop((pages, log));
        let _ = std::fs::remove_dir_all(&dir);
    }
}
