//! The way to the dead letters, and what a record becomes on it.

use std::sync::{Arc, Mutex, PoisonError};

use crate::ack::{AckGuard, AckListener, Guards, Outcome};
use crate::batch::Batch;
use crate::record::{DeadReason, Reason, Record};

use super::given_up::{GivenUpBefore, source_of};
use super::mailbox::MailboxSender;

/// The way to the dead letters.
#[derive(Clone, Default)]
pub struct DeadLetters {
    sender: Option<MailboxSender>,
    pub(super) before: Arc<GivenUpBefore>,
}

impl DeadLetters {
    /// The way to a dead-letter stage's mailbox.
    pub fn to(sender: MailboxSender) -> Self {
        DeadLetters { sender: Some(sender), before: Arc::default() }
    }

    /// Whether there is such a way. Only the dead-letter stage itself has none.
    pub fn exist(&self) -> bool {
        self.sender.is_some()
    }

    /// Hands records over; `guards` resolve when they are durable there.
    pub async fn bury(&self, records: Vec<Record>, guards: Guards) {
        debug_assert!(records.iter().all(|r| r.dead.is_some()), "a dead letter says why");
        if let Some(sender) = &self.sender {
            // A closed mailbox drops the guards: not delivered, so the source reads the records again.
            let _gone = sender.send(Batch::new(0, records, guards)).await;
        }
    }

    /// Hands records over and waits until they are durable. False: they are not, and will not be.
    pub async fn bury_and_wait(&self, records: Vec<Record>) -> bool {
        let (told, outcome) = tokio::sync::oneshot::channel();
        let guard = AckGuard::new(0, Arc::new(Tell(Mutex::new(Some(told)))));
        self.bury(records, guard.into()).await;
        outcome.await == Ok(Outcome::Delivered)
    }
}

struct Tell(Mutex<Option<tokio::sync::oneshot::Sender<Outcome>>>);

impl AckListener for Tell {
    fn resolved(&self, _: u64, outcome: Outcome) {
        let sender = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(sender) = sender {
            // The one who asked may have been cancelled; then nobody needs the answer.
            let _ = sender.send(outcome);
        }
    }
}

/// A record with the reason of its death.
pub(crate) fn dead(record: &Record, stage: &Arc<str>, reason: Reason, detail: &str, attempts: u32) -> Record {
    let source = source_of(record);
    let why = DeadReason { reason, detail: detail.into(), stage: stage.clone(), attempts, source };
    Record { dead: Some(Arc::new(why)), ..record.clone() }
}

/// A dead letter that is larger than its topic takes, with as many of its bytes as such topics take as a rule, then with
/// none: one that nobody takes would hold up all others for ever, and the record itself stays where the letter says that
/// it came from. Nothing for one that came from no log, or has nothing left to cut.
pub(super) fn shortened(letter: &Record) -> Option<Record> {
    const BEGINNING: usize = 64 << 10;
    let why = letter.dead.as_ref().filter(|_| letter.position.is_some())?;
    let value = letter.message.as_ref().unwrap_or(&letter.payload);
    if value.is_empty() {
        return None;
    }
    let left = if value.len() > BEGINNING { BEGINNING } else { 0 };
    let cut = format!("{}; the dead letters take no {} bytes: the first {left}", why.detail, value.len());
    let why = DeadReason { detail: cut.into(), ..(**why).clone() };
    let value = value.slice(..left);
    let message = letter.message.as_ref().map(|_| value.clone());
    Some(Record { payload: value, message, dead: Some(Arc::new(why)), ..letter.clone() })
}
