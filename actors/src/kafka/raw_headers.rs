//! A message's headers as bytes.
//!
//! rdkafka's own iterator panics on a header whose name is not UTF-8, and anybody may write one into a topic. This
//! module reads them through librdkafka instead.
#![allow(unsafe_code, reason = "rdkafka gives header names as `str` only, and panics where they are not")]

use std::ffi::CStr;
use std::ptr;
use std::slice;

use rdkafka::bindings as sys;
use rdkafka::message::BorrowedMessage;
use rdkafka::types::RDKafkaErrorCode;

/// Calls `each` with name and value of every header, in order. A header without a value is left out.
pub(super) fn for_each<'a>(message: &'a BorrowedMessage<'_>, mut each: impl FnMut(&'a [u8], &'a [u8])) {
    let mut headers = ptr::null_mut();
    // SAFETY: the message is alive for as long as the borrow; the headers it gives belong to it.
    let found = unsafe { sys::rd_kafka_message_headers(message.ptr(), &mut headers) };
    if RDKafkaErrorCode::from(found) != RDKafkaErrorCode::NoError {
        return;
    }
    for index in 0.. {
        let (mut name, mut value, mut size) = (ptr::null(), ptr::null(), 0);
        // SAFETY: `headers` is alive with the message; past the last index the library says so and writes nothing.
        let found = unsafe { sys::rd_kafka_header_get_all(headers, index, &mut name, &mut value, &mut size) };
        if RDKafkaErrorCode::from(found) != RDKafkaErrorCode::NoError {
            return;
        }
        if value.is_null() {
            continue;
        }
        // SAFETY: the name is NUL-terminated and the value has `size` bytes; both live as long as the message (`'a`).
        let (name, value) =
            unsafe { (CStr::from_ptr::<'a>(name).to_bytes(), slice::from_raw_parts(value.cast::<u8>(), size)) };
        each(name, value);
    }
}
