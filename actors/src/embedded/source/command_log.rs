//! Commands go through the embedded log: appended to the topic of commands that a source reads.

use std::sync::Arc;

use async_trait::async_trait;
use telemill_engine::ports::{Command, CommandLog, PortError};
use telemill_engine::record::Kind;

use crate::embedded::log::frame::{self, FrameHeaders};
use crate::embedded::log::{Append, Appender, Log, LogError, Page, Topic};
use crate::log::command::value;
use crate::log::headers::HeaderWriter;
use crate::log::murmur2::partition_of;

pub(super) struct EmbeddedCommandLog {
    pub(super) log: Arc<Log>,
    pub(super) topic: Arc<Topic>,
}

#[async_trait]
impl CommandLog for EmbeddedCommandLog {
    async fn append(&self, command: Command) -> Result<(), PortError> {
        let key = command.device.as_str().as_bytes();
        let headers: FrameHeaders = HeaderWriter::default().identity(command.id, command.accepted_at, &Kind::Command);
        let value = value(&command);
        let bytes = frame::size(Some(key), &headers, &value);
        if bytes as u64 > self.topic.max_message() {
            let name = &self.topic.name;
            return Err(PortError(format!("a command of {bytes} bytes is more than topic `{name}` takes")));
        }
        let mut page = Page::new(command.accepted_at);
        page.push(Some(key), &headers, &value);
        let partition = partition_of(key, self.topic.partitions());
        let (log, topic) = (self.log.clone(), self.topic.clone());
        let written = self.log.disk().write(move |tx| {
            let mut appender = Appender::new(&log, tx);
            appender.append(Append { topic, partition, page })?;
            appender.finish();
            Ok::<_, LogError>(())
        });
        Ok(written.await?)
    }
}
