//! What has to be asked of the cluster and told to it, on a thread of its own: where partitions begin, what is safe,
//! how far behind reading is, and whether the topics are still the ones that they were.
//!
//! Every call blocks for a bounded time; none of them holds up reading or the group membership.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, KafkaResult};
use telemill_engine::source::{ResumeAt, SourceError};

use super::begin::{self, BeginError, Ready};
use super::cluster::{self, IdentityError};
use super::commit;
use super::contexts::Complaints;
use super::group::Member;
use super::shared::{Asked, Shared};
use super::wait::unpark_me;
use super::watch::{Standing, Watch};

const COMMIT_EVERY: Duration = Duration::from_millis(500);
/// Offsets that are not committed for a week expire, also those of a topic that nothing comes through.
const COMMIT_AGAIN_EVERY: Duration = Duration::from_secs(3600);
const LOOK_EVERY: Duration = Duration::from_secs(5);
const CHECK_TOPICS_EVERY: Duration = Duration::from_secs(10);
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(500);
/// A broker that has just started may not know every topic yet.
const MISSING_TIMES: u32 = 2;

/// Keeps the source's affairs until it is stopped; the result is that of the last commit.
pub(super) fn run(member: Arc<Member>, shared: &Shared, complaints: &Complaints) -> KafkaResult<()> {
    let now = Instant::now();
    let mut keeper = Keeper {
        member: &member,
        shared,
        complaints,
        asked: Vec::new(),
        ready: Vec::new(),
        watch: Watch::default(),
        missing: 0,
        begin: now,
        commit: now + COMMIT_EVERY,
        commit_again: now + COMMIT_AGAIN_EVERY,
        look: now + LOOK_EVERY,
        check_topics: now + CHECK_TOPICS_EVERY,
    };
    while !shared.is_stopped() {
        keeper.turn();
        let next = keeper.next_turn();
        thread::park_timeout(next.saturating_duration_since(Instant::now()));
    }
    commit::all(&member, shared, false)
}

struct Keeper<'a> {
    member: &'a Member,
    shared: &'a Shared,
    complaints: &'a Complaints,
    /// Questions that the engine has not answered.
    asked: Vec<Asked>,
    /// Partitions whose beginning is to be found out.
    ready: Vec<Ready>,
    watch: Watch,
    /// How often in a row a topic was missing.
    missing: u32,
    begin: Instant,
    commit: Instant,
    commit_again: Instant,
    look: Instant,
    check_topics: Instant,
}

impl Keeper<'_> {
    fn turn(&mut self) {
        self.hear_answers();
        let now = Instant::now();
        if !self.ready.is_empty() && now >= self.begin {
            self.find_beginnings();
        }
        if now >= self.commit {
            let again = now >= self.commit_again;
            match commit::all(self.member, self.shared, again) {
                Ok(()) if again => self.commit_again = now + COMMIT_AGAIN_EVERY,
                Ok(()) => {}
                // What is safe stays to be committed; what is not ours any more is gone from the books.
                Err(error) => self.complain(&error, "offsets are not committed"),
            }
            self.commit = Instant::now() + COMMIT_EVERY;
        }
        if now >= self.look {
            match self.watch.look(self.member, self.shared) {
                Ok(Standing::Well) => self.complaints.is_well(),
                Ok(Standing::Doubted) => self.complaints.doubt(),
                Ok(Standing::Stalled(what)) => self.shared.fail(SourceError::Unavailable(what)),
                Err(error) => self.complain(&error, "the ends of the topics are not known"),
            }
            self.look = Instant::now() + LOOK_EVERY;
        }
        if now >= self.check_topics {
            self.check_topics();
            self.check_topics = Instant::now() + CHECK_TOPICS_EVERY;
        }
    }

    fn next_turn(&self) -> Instant {
        let next = self.commit.min(self.look).min(self.check_topics);
        if self.ready.is_empty() { next } else { next.min(self.begin) }
    }

    fn hear_answers(&mut self) {
        self.asked.extend(self.shared.take_asked());
        let waker = unpark_me();
        let mut cx = Context::from_waker(&waker);
        let ready = &mut self.ready;
        self.asked.retain_mut(|asked| match Future::poll(Pin::new(&mut asked.replied), &mut cx) {
            Poll::Pending => true,
            // Nobody will answer: the engine is going, or the partitions are.
            Poll::Ready(Err(_)) => false,
            Poll::Ready(Ok(mut answers)) => {
                ready.extend(asked.partitions.iter().map(|(partition, generation)| {
                    let answer = answers.iter_mut().find(|(answered, _)| answered == partition);
                    let resume_at = answer.map_or(ResumeAt::Committed, |(_, resume_at)| {
                        std::mem::replace(resume_at, ResumeAt::Committed)
                    });
                    Ready { partition: *partition, generation: *generation, resume_at }
                }));
                false
            }
        });
        ready.retain(|ready| self.shared.is_current(ready.partition, ready.generation));
    }

    fn find_beginnings(&mut self) {
        match begin::plans(self.member, self.shared, &self.ready) {
            Ok(plans) => {
                self.ready.clear();
                for (partition, plan) in plans {
                    self.shared.plan(partition, plan);
                }
            }
            Err(BeginError::Unavailable(error)) => {
                self.complain(&error, "where to begin is not known");
                self.begin = Instant::now() + TRY_AGAIN_AFTER;
            }
            Err(BeginError::Broken(why)) => {
                self.ready.clear();
                self.shared.fail(SourceError::Broken(why));
            }
        }
    }

    fn check_topics(&mut self) {
        let missing = std::mem::take(&mut self.missing);
        match cluster::check_identity(self.member, &self.shared.setup) {
            Ok(()) => {}
            Err(IdentityError::Unavailable(code)) => {
                self.complain(&KafkaError::MetadataFetch(code), "the topics could not be checked");
            }
            Err(IdentityError::Missing(_)) if missing + 1 < MISSING_TIMES => self.missing = missing + 1,
            Err(changed) => self.shared.fail(SourceError::Broken(changed.to_string())),
        }
    }

    fn complain(&self, error: &KafkaError, what: &str) {
        self.complaints.hear(error, what);
    }
}
