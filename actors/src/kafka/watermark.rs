//! How far a consumer knows its log to reach.
#![allow(unsafe_code, reason = "rdkafka wraps the question to the broker only, not rd_kafka_get_watermark_offsets")]

use std::ffi::CString;

use rdkafka::ClientContext;
use rdkafka::bindings as sys;
use rdkafka::client::Client;

/// The end of a partition that the last answer to this client's fetching named; `None` before there was one. Asks nobody.
pub(crate) fn heard_end<C: ClientContext>(client: &Client<C>, topic: &str, partition: i32) -> Option<i64> {
    let topic = CString::new(topic).ok()?;
    let (mut low, mut high) = (0, 0);
    // SAFETY: the client is alive for as long as the borrowed `Client` is, any thread may call this, the text ends with
    // NUL, and both numbers outlive the call.
    let code = unsafe {
        sys::rd_kafka_get_watermark_offsets(client.native_ptr(), topic.as_ptr(), partition, &raw mut low, &raw mut high)
    };
    (code == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR && high >= 0).then_some(high)
}
