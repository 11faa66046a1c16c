//! Opening a shard: checkpoint, journals, then the log.

use std::sync::Arc;

use async_trait::async_trait;

use crate::checkpoint::{CheckpointMeta, Scope, StateStore, StoreError};
use crate::clock::Timestamp;
use crate::faults;
use crate::keyed::{Input, Now};
use crate::ports::{Journal, PortError, Ports};
use crate::position::{Cursor, Partition, Position};
use crate::record::Record;
use crate::runtime::cell::StageCommon;
use crate::runtime::directory::Directory;
use crate::runtime::mailbox::Mailbox;
use crate::runtime::outlet::Wires;
use crate::stage::BuildError;

use super::ahead::Ahead;
use super::checkpoint::{Checkpointer, META_VERSION};
use super::clock::LogClock;
use super::group::Group;
use super::outbox::Outbox;
use super::passive::Passive;
use super::silence::Silence;
use super::step::{At, Hosted, Sessions, Tally};
use super::table::{SessionTable, Slot};
use super::wheel::Wheel;
use super::{AckBook, ShardCell, codec};

/// The journals of a shard's stages, by stage.
type Journals = Vec<(String, Arc<dyn Journal>)>;

/// Why a shard could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Something that it needs is not there now.
    #[error("{0}")]
    Unavailable(String),
    /// It cannot be opened, however often it is tried.
    #[error("{0}")]
    Broken(String),
}

impl From<StoreError> for OpenError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(why) => OpenError::Unavailable(why),
            // What it has now is to be read.
            rolled_back @ StoreError::RolledBack { .. } => OpenError::Unavailable(rolled_back.to_string()),
            other => OpenError::Broken(other.to_string()),
        }
    }
}

impl ShardCell {
    /// Opens the shard of a partition from its checkpoint. Also gives the cursor up to which it has everything.
    /// `partitions`: how many there are, of which this one gets its share of what is bounded for all.
    pub async fn open(
        group: Group,
        partition: Partition,
        partitions: u32,
        mailbox: Mailbox,
        directory: Directory,
    ) -> Result<(ShardCell, Cursor), OpenError> {
        let common = group.stages[0].common.clone();
        let cx = &common.cx;
        let scope = Scope { topology: cx.topology.clone(), source: group.source.clone(), partition };
        let meta = cx.store.open(&scope, cx.epoch).await?.unwrap_or_default();
        faults::point("shard.fenced");
        if meta.version > META_VERSION {
            let version = meta.version;
            let why = format!("checkpoint {scope} has form {version}; this version reads up to {META_VERSION}");
            return Err(OpenError::Broken(why));
        }
        let clock = LogClock::restored(group.time, cx.clock.clone(), meta.log_time, &meta.marks);
        let mut sessions = Sessions {
            table: SessionTable::new(group.stages.len()),
            wheel: Wheel::new(meta.log_time),
            stages: hosts(&group).await?,
            entry: group.entry.clone(),
            cursor: meta.cursor.clone(),
            last_mark: meta.last_mark,
            directory: directory.clone(),
            retries: Default::default(),
            given_up: Vec::new(),
            scratch: Default::default(),
            turn: 0,
            silence: Silence::default(),
            ahead: Ahead::new(meta.journals.clone()),
        };
        // A stage that the checkpoint does not know starts its sessions afresh; one that is gone is left out.
        let stored: Layout = group.stages.iter().map(|stage| version_of(&meta, &stage.common.cx.stage)).collect();
        let layout: Layout = sessions.stages.iter().map(|s| s.host.state_version()).enumerate().map(Some).collect();
        load_live(&*cx.store, &scope, &mut sessions, &stored, &meta).await?;
        let passive = load_passive(&*cx.store, &scope, &sessions.directory).await?;
        let is_rewritten = meta.version > 0 && (stored != layout || meta.stages.len() != layout.len());
        let journals = journals(&group, &common)?;
        let wires = sessions.stages.iter().map(|s| Wires::new(s.spec.outlets.clone(), s.spec.common.metrics.clone()));
        let checkpointer = Checkpointer::new(
            (scope, meta.number),
            cx.epoch,
            cx.store.clone(),
            journals.clone(),
            group.checkpoint_every,
            common.backoff(),
        );
        let mut shard = ShardCell {
            wires: wires.collect(),
            mailbox,
            sessions,
            clock,
            sent: AckBook::default(),
            flushes: 0,
            checkpointer,
            passive,
            max_devices: (group.limits.max_sessions / partitions.max(1) as usize).max(1),
            forgotten: Default::default(),
            leaving: None,
            layout,
            group,
        };
        // Only now: a shard that could not be opened is not dropped, so nobody would count its sessions out.
        directory.sessions_opened(shard.sessions.table.len());
        if is_rewritten {
            shard.rewrite(&stored).await?;
        }
        let number = shard.group.stages[0].common.cx.store.number(&shard.checkpointer.scope).await?;
        if number != meta.number {
            return Err(OpenError::Unavailable("the state store was rolled back meanwhile".to_owned()));
        }
        shard.read_journals(&journals, &meta).await?;
        faults::point("shard.restored");
        Ok((shard, meta.cursor))
    }

    /// The next checkpoint will say that all sessions have the present layout: so it has to write them all.
    async fn rewrite(&mut self, stored: &Layout) -> Result<(), OpenError> {
        let live: Vec<u32> = self.sessions.table.occupied().map(|(slot, _)| slot).collect();
        live.into_iter().for_each(|slot| self.sessions.table.touch(slot));
        let store = self.group.stages[0].common.cx.store.clone();
        let scope = self.checkpointer.scope.clone();
        let mut page = None;
        loop {
            let found = store.load_passive_page(&scope, page).await?;
            for (device, bytes) in found.sessions {
                if self.sessions.table.find(&device).is_some() {
                    continue;
                }
                let now = self.clock.now();
                let slot = self.sessions.restore(device, &bytes, stored, now).map_err(OpenError::Broken)?;
                self.sessions.directory.sessions_opened(1);
                self.leave(slot);
            }
            match found.next {
                Some(next) => page = Some(next),
                None => return Ok(()),
            }
        }
    }

    /// Applies the transitions that were journalled behind the checkpoint.
    async fn read_journals(
        &mut self,
        journals: &[(String, Arc<dyn Journal>)],
        meta: &CheckpointMeta,
    ) -> Result<(), OpenError> {
        let is_new = meta.version == 0;
        let mut ends = Vec::with_capacity(journals.len());
        for (stage, journal) in journals {
            let unavailable = |error: PortError| OpenError::Unavailable(error.to_string());
            let partition = self.checkpointer.partition();
            let from = meta.journals.iter().find(|(name, _)| name == stage).map_or(0, |(_, offset)| *offset);
            ends.push((stage.clone(), journal.end(partition).await.map_err(unavailable)?));
            let records = journal.read(partition, from).await.map_err(unavailable)?;
            let Some(index) = self.group.stages.iter().position(|s| *s.common.cx.stage == **stage) else { continue };
            self.bring_back(&records).await.map_err(|exit| OpenError::Broken(format!("{exit:?}")))?;
            for record in records {
                let at = At { log: self.clock.now(), wall: record.received_at, cause: None, turn: 0 };
                match self.sessions.table.find(&record.device) {
                    Some(slot) => self.sessions.apply_journal(index, slot, &record, at),
                    // No checkpoint, or it was lost: the journal is all that is known of the device.
                    None if is_new => {
                        self.sessions.directory.sessions_opened(1);
                        let slot = self.sessions.open(&record.device, at, None);
                        self.sessions.apply_journal(index, slot, &record, at);
                    }
                    None => {}
                }
                if let Some(cause) = self.sessions.stages[index].host.cause_of(&record).filter(|_| !is_new) {
                    self.sessions.ahead.keep(index, record, cause);
                }
            }
        }
        if is_new && !journals.is_empty() {
            return self.save_first(ends).await;
        }
        let cursor = &self.sessions.cursor;
        self.sessions.ahead.pass(cursor, Timestamp::default());
        Ok(())
    }

    /// Writes a checkpoint of nothing but what the journals had. Whatever is journalled from now on stands behind a
    /// checkpoint, so that a session that it tells of is known to be opened by a record that is read again.
    async fn save_first(&mut self, ends: Vec<(String, i64)>) -> Result<(), OpenError> {
        let delta = self.snapshot(ends);
        let Checkpointer { scope, epoch, store, .. } = &self.checkpointer;
        store.save(scope, *epoch, &delta).await?;
        self.passive.saved();
        Ok(())
    }
}

impl Sessions {
    /// Applies a transition of a stage's journal to a session.
    pub(super) fn apply_journal(&mut self, index: usize, slot: u32, record: &Record, at: At) {
        self.table.touch(slot);
        let Some(device) = self.table.get(slot).map(Slot::device) else { return };
        let hosted = &mut self.stages[index];
        let now = Now { log: at.log, wall: at.wall, cursor: &self.cursor, cause: Position::default() };
        let applied = hosted.host.step(slot, &device, Input::Journal(record), now, &mut self.scratch);
        if let Err(failure) = applied {
            let (topology, stage) = (&hosted.spec.common.cx.topology, &hosted.spec.common.cx.stage);
            tracing::error!(code = "journal_refused", %topology, %stage, ?failure, "a journalled transition could not be applied; it will be derived again");
        }
        if let Some(presence) = self.scratch.presence {
            self.directory.show(&device, presence);
        }
        if let Some(wake) = self.scratch.wake_at {
            self.table.set_wanted(slot, index, wake.unwrap_or(super::table::NEVER));
            self.arm(slot);
        }
        // Nothing that it said is left for the next one.
        self.scratch.clear();
    }
}

async fn hosts(group: &Group) -> Result<Vec<Hosted>, OpenError> {
    let mut hosted = Vec::with_capacity(group.stages.len());
    for spec in &group.stages {
        let host = spec.factory.build(&spec.common.cx).await.map_err(|error| match error {
            BuildError::Unavailable(why) => OpenError::Unavailable(why),
            BuildError::Impossible(why) => OpenError::Broken(why),
        })?;
        let out = spec.outlets.iter().map(|_| Outbox::default()).collect();
        hosted.push(Hosted { spec: spec.clone(), host, out, tally: Tally::default() });
    }
    Ok(hosted)
}

/// Where each stage's state stands in a stored session, and in which form.
pub(super) type Layout = Vec<Option<(usize, u8)>>;

fn version_of(meta: &CheckpointMeta, stage: &str) -> Option<(usize, u8)> {
    let place = meta.stages.iter().position(|(name, _)| name == stage)?;
    Some((place, meta.stages[place].1))
}

async fn load_live(
    store: &dyn StateStore,
    scope: &Scope,
    sessions: &mut Sessions,
    layout: &Layout,
    meta: &CheckpointMeta,
) -> Result<(), OpenError> {
    let mut page = None;
    loop {
        let found = store.load_live(scope, page).await?;
        for (device, bytes) in found.sessions {
            // A page may repeat what an earlier one had.
            if sessions.table.find(&device).is_none() {
                sessions.restore(device, &bytes, layout, meta.log_time).map_err(OpenError::Broken)?;
            }
        }
        match found.next {
            Some(next) => page = Some(next),
            None => return Ok(()),
        }
    }
}

async fn load_passive(store: &dyn StateStore, scope: &Scope, directory: &Directory) -> Result<Passive, OpenError> {
    let mut passive = Passive::default();
    let mut page = None;
    loop {
        let found = store.load_passive_page(scope, page).await?;
        for (device, bytes) in &found.sessions {
            let form = codec::decode(bytes).map_err(|why| OpenError::Broken(format!("session of {device}: {why}")))?;
            passive.add(device, form.last_seen);
            directory.passivated(device);
        }
        match found.next {
            Some(next) => page = Some(next),
            None => return Ok(passive),
        }
    }
}

fn journals(group: &Group, common: &StageCommon) -> Result<Journals, OpenError> {
    let mut journals: Journals = Vec::new();
    for stage in &group.stages {
        if let Some(sink) = &stage.journal {
            let journal = PresentJournal { ports: common.cx.ports.clone(), sink: sink.clone() };
            journal.get().map_err(|error| OpenError::Unavailable(error.to_string()))?;
            journals.push((stage.common.cx.stage.to_string(), Arc::new(journal)));
        }
    }
    Ok(journals)
}

/// The journal that a sink offers now: one that is built anew offers another, and the one before it answers no more.
struct PresentJournal {
    ports: Ports,
    sink: Arc<str>,
}

impl PresentJournal {
    fn get(&self) -> Result<Arc<dyn Journal>, PortError> {
        let missing = || PortError(format!("stage `{}` has not offered its journal yet", self.sink));
        self.ports.journal(&self.sink).ok_or_else(missing)
    }
}

#[async_trait]
impl Journal for PresentJournal {
    async fn end(&self, partition: Partition) -> Result<i64, PortError> {
        self.get()?.end(partition).await
    }

    async fn read(&self, partition: Partition, from: i64) -> Result<Vec<Record>, PortError> {
        self.get()?.read(partition, from).await
    }
}
