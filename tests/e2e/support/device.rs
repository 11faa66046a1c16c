//! A device that numbers its messages, and repeats those that were not acknowledged when it is connected again.
//!
//! rumqttc does the protocol. What is sent, and again, is decided here: rumqttc sets no DUP, and mixes up the order of
//! what it repeats when connections end in quick succession.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rand::Rng;
use rumqttc::{
    Client, ConnectReturnCode, Connection, ConnectionError, Event, MqttOptions, Outgoing, Packet, Publish, QoS,
    Request, StateError, mqttbytes,
};

use super::DEADLINE;

/// How many messages may be unanswered.
const WINDOW: u64 = 8;
/// How often an answer is lost on its way, and the connection with it: then what was acknowledged is sent again. A kill
/// alone seldom hits the moment between the disk and the answer.
const UNHEARD: f64 = 0.01;

/// What the devices share.
pub struct Fleet {
    pub port: u16,
    /// How many messages each sends in the end.
    pub share: u64,
    /// How many each may send for now.
    pub open: AtomicU64,
    /// How many messages of all devices are acknowledged.
    pub acknowledged: AtomicU64,
    /// What the message of a number measures.
    pub temperature: fn(u64) -> f64,
}

impl Fleet {
    /// A fleet that may not send anything yet.
    pub fn new(port: u16, share: u64, temperature: fn(u64) -> f64) -> Fleet {
        Fleet { port, share, open: AtomicU64::new(0), acknowledged: AtomicU64::new(0), temperature }
    }
}

pub struct Device<'a> {
    fleet: &'a Fleet,
    id: String,
    connection: Connection,
    /// Without it the connection would end by itself.
    _client: Client,
    /// A session was begun, and it was heard.
    known: bool,
    /// All up to this number are acknowledged.
    acknowledged: u64,
    /// How often each was sent.
    sendings: Vec<u32>,
    heard: Instant,
}

impl<'a> Device<'a> {
    pub fn new(fleet: &'a Fleet, number: u64) -> Device<'a> {
        let id = format!("device-{number:02}");
        let mut options = MqttOptions::new(&id, "127.0.0.1", fleet.port);
        options.set_inflight(WINDOW as u16);
        options.set_keep_alive(Duration::from_secs(5));
        options.set_clean_session(false);
        let (client, connection) = Client::new(options, 1);
        let heard = Instant::now();
        Device { fleet, id, connection, _client: client, known: false, acknowledged: 0, sendings: Vec::new(), heard }
    }

    /// Publishes until all is acknowledged. Its id, and how often it sent each message.
    pub fn publish(mut self) -> (String, Vec<u32>) {
        while self.acknowledged < self.fleet.share {
            match self.connection.recv_timeout(DEADLINE).expect("the server answers in time") {
                Ok(event) => self.hear(event),
                Err(error) => self.lost(&error),
            }
        }
        (self.id, self.sendings)
    }

    fn hear(&mut self, event: Event) {
        if matches!(event, Event::Incoming(Packet::PubAck(_))) && rand::rng().random_bool(UNHEARD) {
            return self.cut(false);
        }
        self.count(&event);
        match event {
            Event::Incoming(Packet::ConnAck(connected)) => {
                self.heard = Instant::now();
                assert!(connected.session_present || !self.known, "{}: a session outlives its server", self.id);
                self.known = true;
                for number in self.acknowledged + 1..=self.sendings.len() as u64 {
                    self.send(number);
                }
                self.go_on();
            }
            Event::Incoming(Packet::PubAck(_)) => self.go_on(),
            _ => {}
        }
    }

    /// Counts what was sent, and what was acknowledged.
    fn count(&mut self, event: &Event) {
        match event {
            Event::Outgoing(Outgoing::Publish(id)) => {
                let mut unanswered = self.acknowledged + 1..=self.sendings.len() as u64;
                let number = unanswered.find(|number| packet_id(*number) == *id).expect("it is unanswered");
                self.sendings[number as usize - 1] += 1;
            }
            Event::Incoming(Packet::PubAck(answer)) => {
                self.heard = Instant::now();
                self.acknowledged += 1;
                assert_eq!(answer.pkid, packet_id(self.acknowledged), "{}: an answer out of order", self.id);
                self.fleet.acknowledged.fetch_add(1, Ordering::SeqCst);
            }
            _ => {}
        }
    }

    /// Sends what is new, as far as it may.
    fn go_on(&mut self) {
        let end = self.fleet.open.load(Ordering::SeqCst).min(self.acknowledged + WINDOW);
        for number in self.sendings.len() as u64 + 1..=end {
            self.sendings.push(0);
            self.send(number);
        }
    }

    /// A message that is sent again is the same, but that it says so.
    fn send(&mut self, number: u64) {
        let temperature = (self.fleet.temperature)(number);
        let payload = format!(r#"{{"seq":{number},"mid":"{}/{number}","temperature":{temperature}}}"#, self.id);
        let mut publish = Publish::new(format!("devices/{}/data", self.id), QoS::AtLeastOnce, payload);
        publish.pkid = packet_id(number);
        publish.dup = self.sendings[number as usize - 1] > 0;
        self.connection.eventloop.pending.push_back(Request::Publish(publish));
    }

    fn lost(&mut self, error: &ConnectionError) {
        let (id, acknowledged) = (&self.id, self.acknowledged);
        let is_loss = matches!(
            error,
            ConnectionError::Io(_)
                | ConnectionError::NetworkTimeout
                | ConnectionError::FlushTimeout
                // Nobody is let in whose session cannot be written, on a disk that is full.
                | ConnectionError::ConnectionRefused(ConnectReturnCode::ServiceUnavailable)
                | ConnectionError::MqttState(
                    StateError::Io(_) | StateError::ConnectionAborted | StateError::AwaitPingResp
                )
                | ConnectionError::MqttState(StateError::Deserialization(mqttbytes::Error::Io(_)))
        );
        assert!(is_loss, "{id}, {acknowledged} acknowledged: {error}");
        assert!(self.heard.elapsed() < DEADLINE, "{id}, {acknowledged} acknowledged: the server stays away: {error}");
        self.cut(true);
        thread::park_timeout(Duration::from_millis(20));
    }

    /// Ends the connection; what was not looked at yet counts, answers where they were heard.
    fn cut(&mut self, heard: bool) {
        for event in std::mem::take(&mut self.connection.eventloop.state.events) {
            if heard || matches!(event, Event::Outgoing(_)) {
                self.count(&event);
            }
        }
        self.connection.eventloop.clean();
        self.connection.eventloop.pending.clear();
    }
}

/// Each is free again when the window has gone past it.
fn packet_id(number: u64) -> u16 {
    ((number - 1) % WINDOW + 1) as u16
}
