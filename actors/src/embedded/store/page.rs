//! The messages of a device's history as they stand in rows: each alone, or in a page with those of the same second that came
//! before and behind it in one batch (`docs/formats.md`, "Embedded device store and checkpoints").
//!
//! A device that sends often, or sends what it has gathered, so costs a row for each of its batches and not for each message.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use telemill_engine::device_id::DeviceId;
use telemill_engine::record::EventId;
use ulid::Ulid;
use xxhash_rust::xxh3::xxh3_64;

use super::Refusal;
use super::entry::history_key;
use crate::embedded::disk::Row;
use crate::embedded::prefixed::{PAGE_FULL, split_prefixed};

/// What a page begins with. Messages are JSON, which never begins so, but for bodies that nobody has looked at.
const PAGE: u8 = 2;
/// Of the event id and the length before a message.
const FIXED: usize = 16 + 4;

/// A message, and the event that it tells of.
pub(super) type Message = (EventId, Bytes);

/// The rows of a device's messages of one second, which came in one batch.
pub(super) fn rows<M: AsRef<[u8]>>(device: &DeviceId, secs: u64, messages: &[(EventId, M)]) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut rest = messages;
    while let [(id, message), others @ ..] = rest {
        let message = message.as_ref();
        let mut bytes = 1 + FIXED + message.len();
        let more = others.iter().take_while(|(_, other)| {
            bytes += FIXED + other.as_ref().len();
            bytes <= PAGE_FULL
        });
        let (these, behind) = rest.split_at(1 + more.count());
        rest = behind;
        // Alone it is copied: it may be a slice of a page of the log, all of which it would keep in memory. What looks like a
        // page is put into one.
        let is_alone = these.len() == 1 && message.first() != Some(&PAGE);
        let value = if is_alone { Bytes::copy_from_slice(message) } else { page(these) };
        // The hash is the page's, so that it never takes the place of a message, or of another page.
        rows.push((history_key(device, secs, *id, &value), value));
    }
    rows
}

fn page<M: AsRef<[u8]>>(messages: &[(EventId, M)]) -> Bytes {
    let size: usize = messages.iter().map(|(_, message)| FIXED + message.as_ref().len()).sum();
    let mut page = BytesMut::with_capacity(1 + size);
    page.put_u8(PAGE);
    for (id, message) in messages {
        let message = message.as_ref();
        page.put_u128(id.0.0);
        page.put_u32(message.len() as u32);
        page.put_slice(message);
    }
    page.freeze()
}

/// The messages in a row.
pub(super) fn read(key: &[u8], row: Bytes) -> Result<Vec<Message>, Refusal> {
    if row.first() != Some(&PAGE) {
        let id = key.len().checked_sub(16 + 8).and_then(|at| key[at..].first_chunk());
        let id = id.ok_or_else(|| unreadable("the key of a message"))?;
        return Ok(vec![(EventId(Ulid(u128::from_be_bytes(*id))), row)]);
    }
    let mut rest = row.slice(1..);
    let mut messages = Vec::new();
    while !rest.is_empty() {
        messages.push(next(&mut rest).ok_or_else(|| unreadable("a page"))?);
    }
    Ok(messages)
}

fn next(rest: &mut Bytes) -> Option<Message> {
    let id = EventId(Ulid(rest.try_get_u128().ok()?));
    Some((id, split_prefixed(rest)?))
}

/// How many messages a row has; one whose end is not there does not count.
pub(super) fn count(row: &Bytes) -> u64 {
    if row.first() != Some(&PAGE) {
        return 1;
    }
    let mut rest = row.slice(1..);
    std::iter::from_fn(|| next(&mut rest)).count() as u64
}

/// Brings the messages of one second into their order, each once: a page may have what stands elsewhere, too, where
/// something wrote it again.
pub(super) fn sort(messages: &mut Vec<Message>) {
    let hash = |message: &Bytes| xxh3_64(message);
    messages.sort_by(|(id, message), (other_id, other)| id.cmp(other_id).then_with(|| hash(message).cmp(&hash(other))));
    messages.dedup();
}

fn unreadable(what: &str) -> Refusal {
    Refusal::Unreadable(format!("{what} in the history has a form that this program does not know"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u64) -> EventId {
        EventId(Ulid(number.into()))
    }

    fn written(messages: &[Message]) -> Vec<Row> {
        rows(&"d".parse().unwrap(), 7, messages)
    }

    #[test]
    fn the_written_form_is_fixed() {
        let messages = [(id(1), Bytes::from_static(b"{}")), (id(2), Bytes::from_static(b"[1]"))];
        let rows = written(&messages);
        let [(key, page)] = &rows[..] else { panic!("one row: {rows:?}") };
        let expect = [&[2][..], &[0; 15], &[1, 0, 0, 0, 2], b"{}", &[0; 15], &[2, 0, 0, 0, 3], b"[1]"].concat();
        assert_eq!(page, &expect);
        assert_eq!(key, &history_key(&"d".parse().unwrap(), 7, id(1), &expect));
        assert_eq!((read(key, page.clone()).unwrap(), count(page)), (messages.to_vec(), 2));
    }

    #[test]
    fn a_message_alone_stands_as_it_is() {
        let message = (id(1), Bytes::from_static(b"{}"));
        let rows = written(std::slice::from_ref(&message));
        assert_eq!(rows, [(history_key(&"d".parse().unwrap(), 7, id(1), b"{}"), message.1.clone())]);
        assert_eq!((read(&rows[0].0, rows[0].1.clone()).unwrap(), count(&rows[0].1)), (vec![message], 1));
    }

    #[test]
    fn a_message_that_looks_like_a_page_is_in_one() {
        let message = (id(1), Bytes::from_static(b"\x02{}"));
        let (key, row) = written(std::slice::from_ref(&message)).remove(0);
        assert_eq!((count(&row), read(&key, row).unwrap()), (1, vec![message]));
    }

    #[test]
    fn what_does_not_fit_is_the_next_row() {
        let large = Bytes::from(vec![b'1'; PAGE_FULL / 3]);
        let messages: Vec<Message> = (0..5).map(|number| (id(number), large.clone())).collect();
        let rows = written(&messages);
        assert_eq!(rows.iter().map(|(_, row)| count(row)).collect::<Vec<_>>(), [2, 2, 1]);
        let read: Vec<Message> = rows.into_iter().flat_map(|(key, row)| read(&key, row).unwrap()).collect();
        assert_eq!(read, messages);
    }

    #[test]
    fn a_second_is_in_order_and_has_each_message_once() {
        let [a, b] = [Bytes::from_static(b"1"), Bytes::from_static(b"2")];
        let mut messages = vec![(id(2), a.clone()), (id(1), b.clone()), (id(2), a.clone()), (id(1), a.clone())];
        sort(&mut messages);
        let mut first = [(id(1), a.clone()), (id(1), b)];
        first.sort_by_key(|(_, message)| xxh3_64(message));
        assert_eq!(messages, [&first[..], &[(id(2), a)]].concat());
    }

    #[test]
    fn a_page_that_is_cut_is_refused() {
        let messages = [(id(1), Bytes::from_static(b"{}")), (id(2), Bytes::from_static(b"[1]"))];
        let (key, page) = written(&messages).remove(0);
        for cut in (2..page.len()).filter(|cut| *cut != 1 + FIXED + 2) {
            assert!(read(&key, page.slice(..cut)).is_err(), "{cut}");
        }
        assert!(read(b"short", Bytes::from_static(b"{}")).is_err());
    }
}
