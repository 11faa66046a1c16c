//! What the cluster says of topics, their ids above all.
//!
//! rdkafka has no safe call for it: its metadata leaves the topic ids out. This module calls librdkafka's
//! `DescribeTopics` itself. It is the only place for that: every pointer it gets is wrapped in an owner that frees it
//! or is used before its owner goes, and nothing but plain values leaves the module.
#![allow(unsafe_code, reason = "rdkafka wraps neither DescribeTopics nor topic ids")]

use std::ffi::{CStr, CString, c_char, c_int};
use std::ptr::NonNull;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::bindings as sys;
use rdkafka::client::Client;
use rdkafka::types::RDKafkaErrorCode;
use telemill_engine::position::TopicId;
use uuid::Uuid;

/// A topic as the cluster describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Description {
    pub(super) id: TopicId,
    pub(super) partitions: i32,
    /// Whether every partition has a leader, so that it can be written and read.
    pub(super) led: bool,
}

/// Describes topics, in the order given; `None` for one that does not exist. Blocks for `timeout` at most.
pub(super) fn describe<C: ClientContext>(
    client: &Client<C>,
    names: &[&str],
    timeout: Duration,
) -> Result<Vec<Option<Description>>, RDKafkaErrorCode> {
    let names = names.iter().map(|name| CString::new(*name)).collect::<Result<Vec<_>, _>>();
    let names = names.map_err(|_| RDKafkaErrorCode::InvalidTopic)?;
    let mut pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
    let timeout_ms = c_int::try_from(timeout.as_millis()).unwrap_or(c_int::MAX);
    let client = client.native_ptr();

    // SAFETY: the pointers are to NUL-terminated strings that outlive the call, which copies them.
    let topics = unsafe { sys::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len()) };
    let topics = Owned::new(topics, sys::rd_kafka_TopicCollection_destroy)?;
    let operation = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
    // SAFETY: `client` is alive for as long as the borrowed `Client` is.
    let options = unsafe { sys::rd_kafka_AdminOptions_new(client, operation) };
    let options = Owned::new(options, sys::rd_kafka_AdminOptions_destroy)?;
    let mut text = [0; 128];
    // SAFETY: `options` is alive, and the library writes at most `text.len()` bytes into `text`.
    let set = unsafe {
        sys::rd_kafka_AdminOptions_set_request_timeout(options.get(), timeout_ms, text.as_mut_ptr(), text.len())
    };
    succeeded(set)?;
    // SAFETY: `client` is alive, as above.
    let queue = Owned::new(unsafe { sys::rd_kafka_queue_new(client) }, sys::rd_kafka_queue_destroy)?;

    // SAFETY: all four are alive; the library copies what it keeps of `topics` and `options`, and counts its own
    // reference to the queue.
    unsafe { sys::rd_kafka_DescribeTopics(client, topics.get(), options.get(), queue.get()) };
    // The request times out by itself; what is waited for beyond it is only the library's answer saying so.
    let patience = timeout_ms.saturating_add(1000);
    // SAFETY: the queue is alive. The event, when there is one, belongs to the caller.
    let event = unsafe { sys::rd_kafka_queue_poll(queue.get(), patience) };
    if event.is_null() {
        return Err(RDKafkaErrorCode::OperationTimedOut);
    }
    let event = Owned::new(event, sys::rd_kafka_event_destroy)?;
    // SAFETY: the event is alive.
    succeeded(unsafe { sys::rd_kafka_event_error(event.get()) })?;
    // SAFETY: the event is alive; the result is part of it, null when it is an answer to something else.
    let result = unsafe { sys::rd_kafka_event_DescribeTopics_result(event.get()) };
    if result.is_null() {
        return Err(RDKafkaErrorCode::BadMessage);
    }

    let mut count = 0;
    // SAFETY: the result, the array it gives and the descriptions in it live as long as `event`, which is dropped
    // after the last use of them; the array has `count` entries.
    unsafe {
        let described = sys::rd_kafka_DescribeTopics_result_topics(result, &mut count);
        let described = slice(described, count);
        names.iter().map(|name| described.iter().find(|d| named(**d, name)).map_or(Ok(None), |d| read(*d))).collect()
    }
}

/// SAFETY: `topic` must point to a live description.
unsafe fn named(topic: *const sys::rd_kafka_TopicDescription_t, name: &CStr) -> bool {
    // SAFETY: the name is a NUL-terminated string that is part of the description.
    unsafe { CStr::from_ptr(sys::rd_kafka_TopicDescription_name(topic)) == name }
}

/// SAFETY: `topic` must point to a live description.
unsafe fn read(topic: *const sys::rd_kafka_TopicDescription_t) -> Result<Option<Description>, RDKafkaErrorCode> {
    // SAFETY: everything read here is part of the description; a missing error is a null that the library accepts.
    unsafe {
        let error = sys::rd_kafka_error_code(sys::rd_kafka_TopicDescription_error(topic));
        match RDKafkaErrorCode::from(error) {
            RDKafkaErrorCode::NoError => {}
            RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic => {
                return Ok(None);
            }
            other => return Err(other),
        }
        let id = sys::rd_kafka_TopicDescription_topic_id(topic);
        let high = sys::rd_kafka_Uuid_most_significant_bits(id) as u64;
        let low = sys::rd_kafka_Uuid_least_significant_bits(id) as u64;
        let mut count = 0;
        let partitions = sys::rd_kafka_TopicDescription_partitions(topic, &mut count);
        let partitions = slice(partitions, count);
        let led = partitions.iter().all(|partition| !sys::rd_kafka_TopicPartitionInfo_leader(*partition).is_null());
        let partitions = i32::try_from(count).unwrap_or(i32::MAX);
        Ok(Some(Description { id: TopicId(Uuid::from_u64_pair(high, low)), partitions, led }))
    }
}

/// SAFETY: `first` must be null or point to `count` values that outlive `'a`.
unsafe fn slice<'a, T>(first: *mut *const T, count: usize) -> &'a [*const T] {
    if first.is_null() || count == 0 {
        return &[];
    }
    // SAFETY: as the caller promises.
    unsafe { std::slice::from_raw_parts(first, count) }
}

fn succeeded(code: sys::rd_kafka_resp_err_t) -> Result<(), RDKafkaErrorCode> {
    match RDKafkaErrorCode::from(code) {
        RDKafkaErrorCode::NoError => Ok(()),
        other => Err(other),
    }
}

/// A pointer that is freed by `destroy`.
struct Owned<T>(NonNull<T>, unsafe extern "C" fn(*mut T));

impl<T> Owned<T> {
    fn new(pointer: *mut T, destroy: unsafe extern "C" fn(*mut T)) -> Result<Self, RDKafkaErrorCode> {
        NonNull::new(pointer).map(|pointer| Owned(pointer, destroy)).ok_or(RDKafkaErrorCode::CriticalSystemResource)
    }

    fn get(&self) -> *mut T {
        self.0.as_ptr()
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: the pointer came from the library together with its destructor, and is freed once, here.
        unsafe { (self.1)(self.0.as_ptr()) }
    }
}
