//! A router's topic as the log of alert transitions that every stream is a cursor on.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::StreamExt;
use rdkafka::message::Message;
use telemill_engine::ports::{AlertEntries, AlertEntry, AlertLog, FollowError, PortError};
use telemill_engine::record::Kind;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;

use crate::kafka::connection::KafkaConnection;
use crate::kafka::reader::{ReadError, Reader};
use crate::kafka::topics::EnsuredTopic;
use crate::kafka::wire::record_from_message;
use crate::log::cursor::LogCursor;

/// How many entries wait for a reader that is slow; then the log is read no further.
const AHEAD: usize = 64;

pub(super) struct KafkaAlertLog {
    connection: KafkaConnection,
    stage: Arc<str>,
    topic: EnsuredTopic,
}

type Entries = mpsc::Sender<Result<AlertEntry, PortError>>;

impl KafkaAlertLog {
    pub(super) fn new(connection: &KafkaConnection, stage: &Arc<str>, topic: &EnsuredTopic) -> Self {
        KafkaAlertLog { connection: connection.clone(), stage: stage.clone(), topic: topic.clone() }
    }
}

#[async_trait]
impl AlertLog for KafkaAlertLog {
    async fn follow(&self, after: Option<&str>) -> Result<AlertEntries, FollowError> {
        let cursor = |after| LogCursor::behind(after, self.topic.id, self.topic.partitions);
        let cursor = after.map(cursor).transpose()?;
        let (entries, stream) = mpsc::channel(AHEAD);
        let (started, begun) = oneshot::channel();
        let (connection, stage, topic) = (self.connection.clone(), self.stage.clone(), self.topic.clone());
        // A thread of its own for as long as the stream is read: the client blocks, and takes its time to close.
        let work = move || match begin(&connection, &stage, &topic, cursor) {
            Ok((reader, cursor)) => {
                if started.send(Ok(())).is_ok() {
                    follow(&reader, &stage, cursor, &entries);
                }
            }
            Err(error) => {
                let _ = started.send(Err(error));
            }
        };
        let spawned = std::thread::Builder::new().name("alert stream".to_owned()).spawn(work);
        spawned.map_err(|error| PortError(format!("cannot read the alert log: {error}")))?;
        let begun = begun.await.map_err(|_| PortError("reading the alert log failed".to_owned()))?;
        begun.map_err(PortError::from)?;
        Ok(ReceiverStream::new(stream).boxed())
    }
}

fn begin(
    connection: &KafkaConnection,
    stage: &str,
    topic: &EnsuredTopic,
    cursor: Option<LogCursor>,
) -> Result<(Reader, LogCursor), ReadError> {
    let reader = Reader::open(connection, stage)?;
    let cursor = match cursor {
        Some(cursor) => cursor,
        None => {
            let end = |partition| reader.bounds(&topic.name, partition).map(|(_, end)| end);
            LogCursor { topic: topic.id, next: (0..topic.partitions).map(end).collect::<Result<_, _>>()? }
        }
    };
    reader.assign(&topic.name, (0..).zip(cursor.next.iter().copied()))?;
    Ok((reader, cursor))
}

/// Hands entries out until nobody reads them any more.
fn follow(reader: &Reader, stage: &Arc<str>, mut cursor: LogCursor, entries: &Entries) {
    while !entries.is_closed() {
        let entry = match reader.poll() {
            Ok(None) => continue,
            Ok(Some(message)) => {
                let Some(next) = usize::try_from(message.partition()).ok().and_then(|p| cursor.next.get_mut(p)) else {
                    continue;
                };
                *next = message.offset() + 1;
                match record_from_message(&message, cursor.topic, stage).record {
                    Ok(record) if record.kind == Kind::Alert => {
                        Ok(AlertEntry { cursor: cursor.to_string(), body: record.payload })
                    }
                    // Others may write here, too.
                    _ => continue,
                }
            }
            Err(error) => Err(error.into()),
        };
        let ends = entry.is_err();
        if entries.blocking_send(entry).is_err() || ends {
            return;
        }
    }
}
