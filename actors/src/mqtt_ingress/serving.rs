//! One connection of a slot: reads, subscribes, acknowledges, pings, marks.
//!
//! One task does all of it, in turns, so that nothing waits for anything else: reading does not wait for
//! acknowledgements (they are left with the intake), acknowledging does not wait for the broker's window (each turn
//! begins with what has become safe, in one write), and pings go out whether or not there is room to read.

use std::time::Duration;

use rumqttc::{Packet, PubAck, Publish, QoS, SubAck, Subscribe, SubscribeFilter, SubscribeReasonCode, Unsubscribe};
use telemill_engine::clock::Timestamp;
use telemill_engine::faults;
use telemill_engine::record::Origin;
use tokio::time::{Instant, Interval, MissedTickBehavior};

use super::acks::{AT_ONCE, AckLedger};
use super::arrival::Arrival;
use super::intake::{Item, Orders};
use super::redelivery::Known;
use super::session::Beginning;
use super::slot::{Down, Slot};
use crate::ingress::Mark;
use crate::ingress::pulse::Pulse;
use crate::mqtt::link::{Link, LinkError};

/// Marks are a second apart.
const MARK_EVERY: Duration = Duration::from_secs(1);
/// What is read in one turn: so many packets, and no further one behind so many bytes.
const TURN_PACKETS: usize = 256;
const TURN_BYTES: usize = 1 << 20;
/// How long what comes next may gather, when a turn has taken all that there was: devices publish one by one, and a turn
/// for each would cost several times what the message does.
const GATHER: Duration = Duration::from_millis(1);

const SUBSCRIBE_ID: u16 = 1;
const UNSUBSCRIBE_ID: u16 = 2;

/// A connection of a slot.
pub(super) struct Serving<'s> {
    slot: &'s mut Slot,
    link: Link,
    beginning: Beginning,
    ledger: AckLedger,
    pulse: Pulse,
    /// The filters that wait for their SUBACK.
    subscribing: Vec<String>,
    unsubscribing: bool,
    /// The session has what it should have: from here on silence of a device is its own.
    serves: bool,
    arrived: Vec<Item>,
}

impl<'s> Serving<'s> {
    pub(super) fn new(slot: &'s mut Slot, link: Link, beginning: Beginning) -> Self {
        let pulse = Pulse::new(slot.connection.keep_alive, Instant::now());
        Serving {
            slot,
            link,
            beginning,
            ledger: AckLedger::default(),
            pulse,
            subscribing: Vec::new(),
            unsubscribing: false,
            serves: false,
            arrived: Vec::new(),
        }
    }

    /// Serves until the connection fails; returns `Ok` when it was told to close, and has.
    pub(super) async fn run(mut self) -> Result<(), Down> {
        self.subscribe().await?;
        let mut ping = every(self.slot.connection.keep_alive / 4);
        let mut mark = every(MARK_EVERY);
        let mut gather_until = None;
        loop {
            let orders = self.slot.look();
            self.acknowledge(orders.safe).await?;
            if orders.closing {
                return Ok(self.link.leave().await?);
            }
            tokio::select! {
                () = self.slot.intake.woken() => {}
                first = self.link.read(), if orders.room && gather_until.is_none() => {
                    let read = self.read_turn(first);
                    // Also when the connection failed behind them: they were numbered as productions.
                    if self.arrived.len() > 2 && faults::mutant("swap_two") {
                        self.arrived.swap(0, 1);
                    }
                    // What is produced in a new slot-session is looked for there after a crash: it is written down first.
                    let confirmed = if read.is_ok() { self.confirm().await } else { Ok(()) };
                    self.slot.intake.put(&mut self.arrived);
                    faults::point("mqtt_ingress.handed_on");
                    gather_until = read?.then(|| Instant::now() + GATHER);
                    confirmed?;
                }
                () = until(gather_until), if gather_until.is_some() => {
                    gather_until = None;
                }
                _ = ping.tick() => {
                    if orders.room && self.pulse.is_silent(Instant::now()) {
                        return Err(Down::Silent(self.slot.connection.keep_alive * 3 / 2));
                    }
                    self.link.send([Packet::PingReq]).await?;
                }
                _ = mark.tick() => self.mark(&orders),
            }
        }
    }

    /// Asks for what the session lacks, and lets go of what it has too much.
    async fn subscribe(&mut self) -> Result<(), Down> {
        let changes = self.slot.session.changes();
        if changes.is_empty() {
            return self.confirm().await;
        }
        self.slot.session.before_changes(&changes).await?;
        faults::point("mqtt_ingress.before_subscribe");
        let mut packets = Vec::new();
        if !changes.unsubscribe.is_empty() {
            packets.push(Packet::Unsubscribe(Unsubscribe { pkid: UNSUBSCRIBE_ID, topics: changes.unsubscribe }));
            self.unsubscribing = true;
        }
        if !changes.subscribe.is_empty() {
            let filter = |filter: &String| SubscribeFilter::new(filter.clone(), QoS::AtLeastOnce);
            let filters = changes.subscribe.iter().map(filter).collect();
            packets.push(Packet::Subscribe(Subscribe { pkid: SUBSCRIBE_ID, filters }));
            self.subscribing = changes.subscribe;
        }
        Ok(self.link.send(packets).await?)
    }

    /// Writes down that the session has what it should have, once it is so.
    async fn confirm(&mut self) -> Result<(), Down> {
        if self.serves || self.unsubscribing || !self.subscribing.is_empty() {
            return Ok(());
        }
        faults::point("mqtt_ingress.before_confirm");
        self.slot.session.confirmed().await?;
        faults::point("mqtt_ingress.after_confirm");
        self.serves = true;
        self.slot.intake.serves();
        self.slot.broker.back();
        self.pulse.serves(Instant::now(), self.slot.clock.now());
        Ok(())
    }

    /// Sends what has become safe, all of it in one write.
    async fn acknowledge(&mut self, safe: u64) -> Result<(), LinkError> {
        let mut acks = self.ledger.release(safe).map(|packet_id| Packet::PubAck(PubAck::new(packet_id))).peekable();
        match acks.peek() {
            Some(_) => {
                faults::point("mqtt_ingress.before_ack");
                self.link.send(acks).await?;
                faults::point("mqtt_ingress.after_ack");
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Takes the first packet and what has come behind it; whether that was all.
    fn read_turn(&mut self, first: Result<Packet, LinkError>) -> Result<bool, Down> {
        let now = self.slot.clock.now();
        self.pulse.heard(Instant::now());
        let (mut packets, mut bytes) = (0, 0);
        let mut packet = first;
        loop {
            bytes += self.receive(packet?, now)?;
            packets += 1;
            if packets == TURN_PACKETS || bytes >= TURN_BYTES {
                return Ok(false);
            }
            match self.link.read_now() {
                Some(next) => packet = next,
                None => return Ok(true),
            }
        }
    }

    fn receive(&mut self, packet: Packet, now: Timestamp) -> Result<usize, Down> {
        match packet {
            Packet::Publish(publish) => {
                let bytes = publish.topic.len() + publish.payload.len();
                self.publish(publish, now)?;
                return Ok(bytes);
            }
            Packet::SubAck(ack) if ack.pkid == SUBSCRIBE_ID => self.granted(&ack)?,
            Packet::UnsubAck(ack) if ack.pkid == UNSUBSCRIBE_ID => self.unsubscribing = false,
            Packet::PingResp => {}
            other => return Err(Down::Protocol(format!("{other:?}"))),
        }
        Ok(0)
    }

    fn granted(&mut self, ack: &SubAck) -> Result<(), Down> {
        let granted = |code: &SubscribeReasonCode| *code == SubscribeReasonCode::Success(QoS::AtLeastOnce);
        for (index, filter) in self.subscribing.iter().enumerate() {
            if !ack.return_codes.get(index).is_some_and(granted) {
                return Err(Down::NotGranted(filter.clone()));
            }
        }
        self.subscribing.clear();
        if self.beginning == Beginning::Doubtful {
            tracing::warn!(
                code = "mqtt::session_renewed", topology = %self.slot.topology, stage = %self.slot.stage,
                broker = %self.slot.connection.address(),
                "this slot's session may be another one than before; what is redelivered from before is not recognised"
            );
            self.beginning = Beginning::First;
            self.slot.renew_session();
        }
        Ok(())
    }

    fn publish(&mut self, publish: Publish, now: Timestamp) -> Result<(), Down> {
        if publish.qos == QoS::ExactlyOnce {
            return Err(Down::Protocol("a message at QoS 2, where QoS 1 was granted".to_owned()));
        }
        if self.beginning == Beginning::Doubtful {
            // Before the SUBACK only a session that was subscribed before has anything to send.
            self.beginning = Beginning::Resumed;
            self.slot.settle(true);
        }
        faults::point("mqtt_ingress.received");
        let slot = &mut *self.slot;
        let packet_id = publish.pkid;
        slot.table.arrive(packet_id);
        if publish.retain && !slot.accept_retained {
            slot.meters.ignored_retained.increment(1);
            self.ledger.push(packet_id, AT_ONCE);
            return Ok(());
        }
        let payload_hash = slot.inspector.hash(&publish);
        if publish.dup && !faults::mutant("skip_redelivery_check") {
            let resumed = self.beginning == Beginning::Resumed;
            match slot.table.recognise(packet_id, payload_hash).filter(|_| resumed) {
                Some(known) => {
                    slot.meters.redelivered_recognised.increment(1);
                    let waits_for = if let Known::InFlight(delivery) = known { delivery } else { AT_ONCE };
                    self.ledger.push(packet_id, waits_for);
                    return Ok(());
                }
                None => slot.meters.redelivered_produced.increment(1),
            }
        }
        let mut item = match slot.inspector.inspect(publish, now) {
            Arrival::Fit(record) => Item::Record(record),
            Arrival::Unfit(rejected) => Item::Rejected(rejected),
            Arrival::Unmatched => {
                slot.meters.ignored_unmatched.increment(1);
                self.ledger.push(packet_id, AT_ONCE);
                return Ok(());
            }
        };
        let delivery = slot.table.produce(packet_id, payload_hash);
        item.set_origin(Origin {
            slot: slot.number,
            slot_session: slot.session.id(),
            delivery,
            packet_id,
            payload_hash,
        });
        self.ledger.push(packet_id, if faults::mutant("acknowledge_early") { AT_ONCE } else { delivery });
        self.arrived.push(item);
        Ok(())
    }

    /// A second has passed.
    fn mark(&mut self, orders: &Orders) {
        let now = self.slot.clock.now();
        let oldest = self.ledger.oldest();
        if let Some(span) = self.pulse.beat(Instant::now(), now, self.serves, orders.room, oldest) {
            let id = self.slot.inspector.next_id(now);
            let (slot, slot_session) = (self.slot.number, self.slot.session.id());
            self.slot.intake.put_mark(Mark { id, slot, slot_session, span });
        }
    }
}

async fn until(time: Option<Instant>) {
    if let Some(time) = time {
        tokio::time::sleep_until(time).await;
    }
}

fn every(period: Duration) -> Interval {
    let mut interval = tokio::time::interval_at(Instant::now() + period, period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}
