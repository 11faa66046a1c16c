//! Where a record stands in the ledger, as a number that goes through the client and comes back with its report.

use super::ledger::ItemKey;

/// Where a record stands in the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) item: ItemKey,
    pub(super) topic: usize,
    pub(super) index: usize,
}

const INDEX_BITS: u32 = 20;
const TOPIC_BITS: u32 = 12;
/// Stands for the topic of the marks.
pub(super) const MARKS: usize = (1 << TOPIC_BITS) - 1;
/// The most topics that one producer writes.
pub(crate) const MAX_TOPICS: usize = MARKS;
/// The most records in one batch.
pub(crate) const MAX_BATCH: usize = 1 << INDEX_BITS;

const _: () = assert!(usize::BITS == 64, "a place is packed into 64 bits");

impl Place {
    pub(super) fn pack(self) -> usize {
        debug_assert!(self.topic <= MARKS && self.index < MAX_BATCH, "checked where batches and topics are taken");
        (self.item.0 as usize) << (TOPIC_BITS + INDEX_BITS) | self.topic << INDEX_BITS | self.index
    }

    pub(super) fn unpack(packed: usize) -> Place {
        Place {
            item: ItemKey((packed >> (TOPIC_BITS + INDEX_BITS)) as u32),
            topic: packed >> INDEX_BITS & MARKS,
            index: packed & (MAX_BATCH - 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_survives_the_client() {
        let check = |item, topic, index| {
            let place = Place { item: ItemKey(item), topic, index };
            assert_eq!(Place::unpack(place.pack()), place);
        };
        check(0, 0, 0);
        check(u32::MAX, MARKS, MAX_BATCH - 1);
        check(7, 3, 511);
    }
}
