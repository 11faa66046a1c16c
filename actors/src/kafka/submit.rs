//! From batches to the producer: in order, with back-pressure, whatever becomes of the call.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use rdkafka::message::OwnedHeaders;
use telemill_engine::batch::Batch;
use telemill_engine::faults;
use telemill_engine::sink::{Completion, Submitted};
use tokio::sync::oneshot;

use super::handover::Earlier;
use super::ledger::{BatchKey, ItemKey};
use super::place::MAX_BATCH;
use super::producer::{Producer, ProducerView};
use super::reports::SendError;
use crate::log::form::{Form, Written};

/// How many batches a Kafka sink takes at once.
pub(crate) const WINDOW: usize = 8;
const CLOSE: Duration = Duration::from_secs(10);

/// Sends batches in the order of submission.
pub(crate) struct Submitter<F> {
    producer: Producer,
    form: F,
    earlier: Earlier,
    /// Batches that are not sent to the end, the first in parts. More than one only when a call was cancelled.
    backlog: VecDeque<Begun>,
}

struct Begun {
    batch: Arc<Batch>,
    key: BatchKey,
    next: usize,
    run: Option<ItemKey>,
    sent: usize,
}

impl<F: Form<OwnedHeaders>> Submitter<F> {
    pub(crate) fn new(producer: Producer, form: F, earlier: Earlier) -> Self {
        Submitter { producer, form, earlier, backlog: VecDeque::new() }
    }

    pub(crate) fn view(&self) -> ProducerView {
        self.producer.view()
    }

    /// Sends a batch; waits while the client's queue is full. A call that is cancelled meanwhile loses nothing: the next
    /// one goes on where it stopped.
    pub(crate) async fn submit(&mut self, batch: Arc<Batch>) -> Completion {
        if batch.len() > MAX_BATCH {
            let why = format!("a batch of {} records is more than {MAX_BATCH}", batch.len());
            return std::future::ready(Submitted::Fatal(why)).boxed();
        }
        let (answer, answered) = oneshot::channel();
        faults::point("kafka.before_send");
        let begun = self.producer.ledger().begin(answer);
        if let Ok(key) = begun {
            self.earlier.batch_begins();
            self.backlog.push_back(Begun { batch, key, next: 0, run: None, sent: 0 });
            self.send_backlog().await;
            faults::point("kafka.sent");
        }
        let closed = || Submitted::Fatal("the producer was closed".to_owned());
        let answered = async move {
            let answer = answered.await.unwrap_or_else(|_| closed());
            faults::point("kafka.delivered");
            answer
        };
        answered.boxed()
    }

    /// Sends what is left, then lets go of the connection.
    pub(crate) async fn close(&mut self) {
        let sent = tokio::time::timeout(CLOSE, self.send_backlog()).await;
        if sent.is_err() {
            tracing::warn!(code = "kafka_close", "closed with records that were never sent");
        }
        self.producer.close(CLOSE).await;
    }

    async fn send_backlog(&mut self) {
        while let Some(mut begun) = self.backlog.pop_front() {
            if self.send(&mut begun) {
                continue;
            }
            // Back in place before anything can cancel the call.
            self.backlog.push_front(begun);
            self.producer.room().await;
        }
    }

    /// Sends the rest of a batch as far as there is room; false when there was not enough.
    fn send(&mut self, begun: &mut Begun) -> bool {
        let Submitter { producer, form, earlier, .. } = self;
        while let Some(record) = begun.batch.records.get(begun.next) {
            if faults::nth_mutant("apply_twice", 500)
                && let Written::Record(again) = form.write(record)
            {
                let run = *begun.run.get_or_insert_with(|| producer.ledger().open_run(begun.key));
                begun.sent += usize::from(producer.send(run, begun.next, again).is_ok());
            }
            match form.write(record) {
                Written::Record(outgoing) => {
                    let run = *begun.run.get_or_insert_with(|| producer.ledger().open_run(begun.key));
                    if let Some((partition, offset)) = earlier.take(outgoing.topic, record.id) {
                        producer.ledger().found(run, outgoing.topic, partition, offset);
                    } else if faults::nth_mutant("drop_one", 500) {
                        // The mistake of this mutant.
                    } else {
                        match producer.send(run, begun.next, outgoing) {
                            Ok(()) => begun.sent += 1,
                            Err(SendError::Full) => return false,
                            Err(SendError::Unfit(reason, detail)) => {
                                producer.ledger().reject(begun.key, begun.next, reason, detail);
                            }
                            Err(SendError::Broken(why)) => {
                                producer.freeze(&why);
                                return true;
                            }
                        }
                    }
                }
                Written::Mark(alive) => {
                    if producer.carries_marks() {
                        let mut ledger = producer.ledger();
                        if let Some(run) = begun.run.take() {
                            ledger.close_run(run, std::mem::take(&mut begun.sent));
                        }
                        ledger.mark(begun.key, record.id, alive);
                    }
                }
                Written::Nothing => {}
                Written::Unfit(reason, detail) => producer.ledger().reject(begun.key, begun.next, reason, detail),
            }
            begun.next += 1;
        }
        let mut ledger = producer.ledger();
        if let Some(run) = begun.run.take() {
            ledger.close_run(run, begun.sent);
        }
        ledger.close_batch(begun.key);
        let due = ledger.has_due_mark();
        drop(ledger);
        if due {
            producer.write_marks();
        }
        true
    }
}

#[cfg(test)]
mod tests;
