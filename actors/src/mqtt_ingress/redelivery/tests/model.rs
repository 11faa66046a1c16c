//! A broker, and an ingress that loses its connection or its life at any moment.
//!
//! The broker is Mosquitto 2.0.11 at its worst: it uses up ids for messages that it drops, sends more than its window,
//! leaves acknowledgements unread, and, killed, goes on from an older copy of itself and gives ids out again.

use std::collections::{HashMap, HashSet, VecDeque};

use proptest::prelude::*;

use super::super::super::acks::{AT_ONCE, AckLedger};
use super::*;

/// How many messages the broker has under way at most.
const WINDOW: usize = 8000;

/// What the broker has of the session.
#[derive(Clone, Default)]
struct Session {
    /// How many ids it has given out.
    used: u64,
    /// Sent and not acknowledged, and not sent, in order.
    inflight: VecDeque<usize>,
    queue: VecDeque<usize>,
}

#[derive(Clone)]
struct Message {
    /// What the broker counted when it gave out the id.
    number: u64,
    hash: u64,
    /// As what it was produced last in this life of the ingress; 0: not.
    delivery: u64,
    /// The log has it.
    is_safe: bool,
    /// The last connection on which it came.
    connection: u32,
}

impl Message {
    fn id(&self) -> u16 {
        ((self.number - 1) % CYCLE + 1) as u16
    }
}

struct World {
    broker: Session,
    saved: Session,
    messages: Vec<Message>,
    hashes: u64,
    /// Sent and not read, with the DUP flag; acknowledgements that were not read.
    wire: VecDeque<(usize, bool)>,
    acks: VecDeque<u16>,

    table: RedeliveryTable,
    ledger: AckLedger,
    /// Numbered and not handed out, and handed out and not safe.
    held: VecDeque<usize>,
    flying: VecDeque<usize>,
    log: Vec<(u64, usize)>,
    safe: u64,
    connection: u32,
    /// The message that was produced last under each id.
    by_id: Vec<Option<usize>>,
    /// What came on this connection, by its running id; and the oldest of the last one that was not acknowledged.
    came: HashMap<u64, usize>,
    owed: Option<usize>,
    /// The broker is what it was when the connection before was up, and the first message of this one was near enough: what
    /// comes again is known.
    is_certain: bool,
    is_first: bool,
    /// The broker was killed, and the log cannot tell yet.
    was_killed: bool,
    logged: HashSet<u64>,
    recognised: usize,
}

impl World {
    fn new(hashes: u64) -> Self {
        World {
            broker: Session::default(),
            saved: Session::default(),
            messages: Vec::new(),
            hashes,
            wire: VecDeque::new(),
            acks: VecDeque::new(),
            table: cyclic(),
            ledger: AckLedger::default(),
            held: VecDeque::new(),
            flying: VecDeque::new(),
            log: Vec::new(),
            safe: 0,
            connection: 1,
            by_id: vec![None; CYCLE as usize + 1],
            came: HashMap::new(),
            owed: None,
            is_certain: true,
            is_first: true,
            was_killed: false,
            logged: HashSet::new(),
            recognised: 0,
        }
    }

    // The broker.

    fn publish(&mut self, count: usize) {
        for _ in 0..count {
            self.broker.used += 1;
            let (number, hash) = (self.broker.used, self.broker.used % self.hashes);
            self.broker.queue.push_back(self.messages.len());
            self.messages.push(Message { number, hash, delivery: 0, is_safe: false, connection: 0 });
        }
    }

    fn send(&mut self, count: usize) {
        let room = WINDOW.saturating_sub(self.broker.inflight.len());
        for n in self.broker.queue.drain(..count.min(room).min(self.broker.queue.len())) {
            self.broker.inflight.push_back(n);
            self.wire.push_back((n, false));
        }
    }

    fn read_acks(&mut self, count: usize) {
        for id in self.acks.drain(..count.min(self.acks.len())) {
            let place = self.broker.inflight.iter().position(|n| self.messages[*n].id() == id);
            self.broker.inflight.remove(place.expect("what is acknowledged is in flight"));
        }
    }

    /// A connection is accepted on the resumed session.
    fn accept(&mut self) {
        self.wire = self.broker.inflight.iter().map(|n| (*n, true)).collect();
    }

    fn kill(&mut self) {
        self.broker = self.saved.clone();
        (self.is_certain, self.was_killed) = (false, true);
    }

    // The ingress.

    fn read(&mut self, count: usize) -> Result<(), TestCaseError> {
        for (n, dup) in self.wire.drain(..count.min(self.wire.len())).collect::<Vec<_>>() {
            let (id, hash) = (self.messages[n].id(), self.messages[n].hash);
            let running_id = self.table.arrive(id, dup);
            self.came.insert(running_id, n);
            if std::mem::take(&mut self.is_first) {
                let near = |owed: usize| self.messages[owed].number <= self.messages[n].number + CYCLE / 2;
                self.is_certain &= self.owed.is_some_and(near);
            }
            let known = self.table.recognise(id, hash);
            let message = &self.messages[n];
            let expected = match message.delivery {
                0 => None,
                delivery if delivery > self.safe => Some(Known::InFlight(delivery)),
                _ => Some(Known::Produced),
            };
            let must =
                self.is_certain && message.connection + 1 == self.connection && self.by_id[usize::from(id)] == Some(n);
            match known {
                Some(_) => prop_assert_eq!(known, expected, "{} with {}, DUP {}", message.number, id, dup),
                None => prop_assert!(expected.is_none() || !must, "{} is not known", message.number),
            }
            self.recognised += usize::from(known.is_some());
            self.messages[n].connection = self.connection;
            let waits_for = match known {
                Some(Known::Produced) => AT_ONCE,
                Some(Known::InFlight(delivery)) => delivery,
                None => {
                    let delivery = self.table.produce(id, hash);
                    self.messages[n].delivery = delivery;
                    self.by_id[usize::from(id)] = Some(n);
                    self.held.push_back(n);
                    delivery
                }
            };
            self.ledger.push(id, running_id, waits_for);
        }
        Ok(())
    }

    fn hand_out(&mut self, count: usize) {
        self.flying.extend(self.held.drain(..count.min(self.held.len())));
    }

    /// So many more are in the log; what that allows to be acknowledged is.
    fn make_safe(&mut self, count: usize) {
        for n in self.flying.drain(..count.min(self.flying.len())).collect::<Vec<_>>() {
            self.enter(n);
            self.safe = self.safe.max(self.messages[n].delivery);
        }
        self.table.acknowledge(self.safe);
        self.acks.extend(self.ledger.release(self.safe));
    }

    fn enter(&mut self, n: usize) {
        let message = &mut self.messages[n];
        let other = !std::mem::replace(&mut message.is_safe, true);
        self.log.push((message.delivery, n));
        if !self.logged.insert(message.number) && other {
            self.was_killed = false;
        }
    }

    /// The connection ends, the broker having read so many of the acknowledgements.
    fn cut(&mut self, acks_read: usize) {
        self.read_acks(acks_read);
        (self.wire, self.acks) = (VecDeque::new(), VecDeque::new());
        let ledger = std::mem::take(&mut self.ledger);
        self.table.disconnected(ledger.oldest());
        self.connection += 1;
        self.owed = ledger.oldest().map(|oldest| self.came[&oldest]);
        self.came.clear();
        (self.is_certain, self.is_first) = (true, true);
        if let Some(first) = self.held.front() {
            self.table.take_back(self.messages[*first].delivery);
        }
        for n in self.held.drain(..) {
            self.messages[n].delivery = 0;
        }
    }

    /// The process ends, and another begins: of what was on its way some is in the log.
    fn die(&mut self, acks_read: usize) {
        self.cut(acks_read);
        for n in self.flying.drain(..).collect::<Vec<_>>() {
            if n % 3 == 0 {
                self.enter(n);
            } else {
                self.messages[n].delivery = 0;
            }
        }
        for (delivery, n) in &self.log {
            self.messages[*n].delivery = *delivery;
        }
        let newest = self.log.iter().max().copied();
        let highest = newest.map_or(0, |(delivery, _)| delivery);
        let known = |(delivery, n): &(u64, usize)| (*delivery, self.messages[*n].id(), self.messages[*n].hash);
        self.table = cyclic();
        self.table.recall(self.log.iter().map(known).collect(), highest);
        self.safe = highest;
        self.owed = newest.map(|(_, n)| n);
        // What comes again late may be out of place in the log; that it is known is said by tests of its own.
        self.is_certain = false;
    }
}

#[derive(Debug, Clone)]
enum Step {
    Publish(usize),
    Drop(u64),
    Send(usize),
    ReadAcks(usize),
    Read(usize),
    HandOut(usize),
    MakeSafe(usize),
    Save,
    Cut(End),
}

#[derive(Debug, Clone)]
struct End {
    acks_read: usize,
    dies: bool,
    kills_broker: bool,
    /// Connections that the broker accepts, and of which the ingress sees nothing.
    unseen: usize,
}

fn count() -> impl Strategy<Value = usize> {
    prop_oneof![1usize..20, 20usize..3000, Just(usize::MAX)]
}

fn step(drops: std::ops::Range<u64>, may_die: bool) -> impl Strategy<Value = Step> {
    let end = (count(), any::<bool>(), prop::bool::weighted(0.3), prop_oneof![4 => Just(0usize), 1 => 1usize..3]);
    let end = end.prop_map(move |(acks_read, dies, kills_broker, unseen)| {
        Step::Cut(End { acks_read, dies: dies && may_die, kills_broker, unseen })
    });
    prop_oneof![
        4 => prop_oneof![1usize..20, 20usize..3000].prop_map(Step::Publish),
        2 => drops.prop_map(Step::Drop),
        6 => count().prop_map(Step::Send),
        2 => count().prop_map(Step::ReadAcks),
        6 => count().prop_map(Step::Read),
        4 => count().prop_map(Step::HandOut),
        4 => count().prop_map(Step::MakeSafe),
        2 => Just(Step::Save),
        3 => end,
    ]
}

fn live(steps: Vec<Step>, hashes: u64) -> Result<World, TestCaseError> {
    let mut world = World::new(hashes);
    for step in steps {
        match step {
            Step::Publish(count) => world.publish(count),
            Step::Drop(count) => world.broker.used += count,
            Step::Send(count) => world.send(count),
            Step::ReadAcks(count) => world.read_acks(count),
            Step::Read(count) => world.read(count)?,
            Step::HandOut(count) => world.hand_out(count),
            Step::MakeSafe(count) => world.make_safe(count),
            Step::Save => world.saved = world.broker.clone(),
            Step::Cut(End { acks_read, dies, kills_broker, unseen }) => {
                // Killed both, they give no way to tell ids that were given out twice.
                if dies && !kills_broker && !world.was_killed && unseen == 0 {
                    world.die(acks_read);
                } else {
                    world.cut(acks_read);
                }
                if kills_broker {
                    world.kill();
                }
                for _ in 0..unseen {
                    world.accept();
                    world.send(usize::MAX);
                    world.cut(0);
                }
                world.accept();
            }
        }
    }
    Ok(world)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn in_the_life_of_a_process_a_message_is_known_only_if_it_was_produced(
        steps in proptest::collection::vec(step(0..140_000, false), 1..60),
        hashes in 1u64..3,
    ) {
        live(steps, hashes)?;
    }

    #[test]
    fn over_restarts_a_message_is_known_only_if_it_was_produced(
        steps in proptest::collection::vec(step(0..300, true), 1..60),
        hashes in 1u64..3,
    ) {
        live(steps, hashes)?;
    }
}
