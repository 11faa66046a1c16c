//! Reads what the writer keeps: the last state and the history of a device, and its updates as they are published.

use std::cmp::Reverse;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use redis::{Cmd, FromRedisValue, cmd, from_redis_value};
use telemill_engine::device_id::DeviceId;
use telemill_engine::envelope;
use telemill_engine::ports::{DeviceStore, LastState, PortError, Updates};
use telemill_engine::record::EventId;

use crate::device_store::updates::{Receiver, channel};
use crate::redis::Link;

/// The store as the API reads it.
pub(super) struct Devices {
    link: Arc<Link>,
}

impl Devices {
    pub(super) fn new(link: Arc<Link>) -> Self {
        Devices { link }
    }

    async fn query<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, PortError> {
        let value = self.link.query(command).await.map_err(|failure| PortError(failure.to_string()))?;
        let unexpected =
            |error| PortError(format!("redis at {} answered something else: {error}", self.link.address()));
        from_redis_value(value).map_err(unexpected)
    }

    /// Members with their scores, highest score first.
    async fn newest(&self, key: &str, from: u64, to: u64, limit: i64) -> Result<Vec<(Vec<u8>, f64)>, PortError> {
        let mut command = cmd("ZREVRANGEBYSCORE");
        command.arg(key).arg(to).arg(from).arg("WITHSCORES").arg("LIMIT").arg(0).arg(limit);
        self.query(&command).await
    }
}

#[async_trait]
impl DeviceStore for Devices {
    async fn last_state(&self, device: &DeviceId) -> Result<Option<LastState>, PortError> {
        let mut command = cmd("HMGET");
        command.arg(format!("device:last_state:{device}")).arg("payload").arg("timestamp");
        let (payload, timestamp): (Option<Vec<u8>>, Option<u64>) = self.query(&command).await?;
        Ok(payload.zip(timestamp).map(|(payload, timestamp)| LastState { payload: payload.into(), timestamp }))
    }

    async fn history(&self, device: &DeviceId, from: u64, to: u64, limit: usize) -> Result<Vec<Bytes>, PortError> {
        if limit == 0 || from > to {
            return Ok(Vec::new());
        }
        let key = format!("device:history:{device}");
        let mut found = self.newest(&key, from, to, i64::try_from(limit).unwrap_or(i64::MAX)).await?;
        // The store orders equal scores by their bytes. Where the limit cuts through a second, all of that second is
        // needed to tell which of it are the newest.
        if let Some(oldest) = found.last().map(|(_, score)| *score as u64).filter(|_| found.len() == limit) {
            found.retain(|(_, score)| *score as u64 > oldest);
            found.extend(self.newest(&key, oldest, oldest, -1).await?);
        }
        let mut messages: Vec<_> = found.into_iter().map(|(message, score)| keyed(message.into(), score)).collect();
        messages.sort_by_key(|(newest, _)| Reverse(*newest));
        messages.truncate(limit);
        Ok(messages.into_iter().rev().map(|(_, message)| message).collect())
    }

    async fn updates(&self, device: &DeviceId) -> Result<Updates, PortError> {
        let name = format!("device-updates:{device}");
        let mut heard = self.link.subscribe(&name).await.map_err(|failure| PortError(failure.to_string()))?;
        let lost = format!("redis at {}: the connection that heard `{name}` was lost", self.link.address());
        let (sender, receiver) = channel();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    message = heard.next() => match message {
                        Some(message) => sender.send(message),
                        None => break sender.end(lost),
                    },
                    () = sender.closed() => break,
                }
            }
        });
        let next = |mut receiver: Receiver| async move { receiver.next().await.map(|next| (next, receiver)) };
        Ok(stream::unfold(receiver, next).boxed())
    }
}

/// A message with what it is ordered by. One that carries no event id comes first in its second.
fn keyed(message: Bytes, score: f64) -> ((u64, Option<EventId>), Bytes) {
    let id = envelope::read(&message, true).ok().and_then(|envelope| envelope.event_id);
    ((score as u64, id), message)
}
