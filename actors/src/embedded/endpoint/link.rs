//! One connection: a task that reads, answers, sends commands, and watches over its client.
//!
//! All of it in turns, so that nothing waits for anything else: reading does not wait for acknowledgements (they come
//! from the intake), and pings are answered while PUBACKs are held back. Nothing is read while the intake is full, while
//! the client is owed too many acknowledgements, or while it does not take what is sent to it; its keep-alive stands
//! meanwhile. Bounded: one read, what it owes, and [`UNSENT`] bytes on their way out.

use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use telemill_engine::faults;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::debug;

use super::intake::{Draft, Level};
use super::keep_alive::KeepAlive;
use super::machine::{Event, Machine};
use super::peer::Peer;
use super::seat::Seat;
use super::shared::Shared;
use super::wire::{Code, Fault, Publish, Subscribe};

/// What is read at once.
const CHUNK: usize = 16 << 10;
/// How much may wait to be sent to a client before it is read no further.
const UNSENT: usize = 256 << 10;
/// How long a client may take nothing of what is sent to it.
const STALLED: Duration = Duration::from_secs(30);
/// How long the last words may take.
const FAREWELL: Duration = Duration::from_secs(5);
/// A client of 3.1.1 cannot be told how many messages it may have unacknowledged; it is read up to so many times that.
const UNTOLD: usize = 4;

/// Why a connection ended. The word stands in logs and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The client said farewell.
    Left,
    /// The client is gone without a farewell.
    Lost(&'static str),
    /// The client was sent away.
    Sent(Code),
}

impl End {
    fn word(self) -> &'static str {
        match self {
            End::Left => "left",
            End::Lost(why) => why,
            End::Sent(code) => code.word(),
        }
    }
}

/// A connection.
pub(crate) struct Link<S> {
    io: S,
    from: SocketAddr,
    shared: Arc<Shared>,
    peer: Arc<Peer>,
    machine: Machine,
    events: Vec<Event>,
    drafts: Vec<Draft>,
    /// How much of the machine's output is sent already.
    sent: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Link<S> {
    /// Of a client that has said nothing yet.
    pub(crate) fn new(io: S, from: SocketAddr, shared: Arc<Shared>) -> Self {
        Link {
            io,
            from,
            peer: Arc::new(Peer::new()),
            machine: Machine::new(shared.bounds),
            shared,
            events: Vec::new(),
            drafts: Vec::new(),
            sent: 0,
        }
    }

    /// Serves the client until one of both ends it. `certified`: the names in its certificate, where TLS asked for one.
    pub(crate) async fn run(mut self, certified: Vec<String>) {
        if let Some(mut seat) = self.open(certified).await {
            let end = self.serve(&mut seat).await;
            self.shared.meters.disconnected(end.word()).increment(1);
            debug!(
                code = "mqtt_endpoint::disconnected", topology = %self.shared.topology, stage = %self.shared.stage,
                client = ?seat.client(), from = %self.from, reason = end.word(), "a client is gone"
            );
            // Before the last words, which may take their time: another connection may wait for the place.
            seat.leave(!matches!(end, End::Left | End::Sent(Code::SHUTTING_DOWN)));
        }
        self.farewell().await;
    }

    /// Waits for the CONNECT, and decides.
    async fn open(&mut self, certified: Vec<String>) -> Option<Seat> {
        let deadline = Instant::now() + self.shared.limits.connect_within;
        loop {
            match timeout_at(deadline, self.turn(true)).await {
                Ok(Ok(Turn::Read)) => {}
                Ok(Ok(Turn::Wrote)) => continue,
                Ok(Ok(Turn::End) | Err(_)) => return self.refused("no_connect"),
                Err(_) => return self.refused("slow_connect"),
            }
            for event in std::mem::take(&mut self.events) {
                match event {
                    Event::Connect(connect) => {
                        // Boxed: it is over soon, and would take its room as long as the connection lasts.
                        let admitted = Box::pin(Seat::take(*connect, &certified, &self.peer, &self.shared)).await;
                        return match admitted {
                            Ok((seat, terms)) => {
                                self.machine.open(&terms.as_terms(&self.shared), &mut self.events);
                                Some(seat)
                            }
                            Err(code) => {
                                self.machine.refuse(code);
                                self.shared.meters.refused(code).increment(1);
                                self.refused(code.word())
                            }
                        };
                    }
                    Event::Failed(fault) => {
                        self.shared.meters.refused(fault.code).increment(1);
                        return self.refused(fault.what);
                    }
                    _ => {}
                }
            }
        }
    }

    fn refused(&self, reason: &'static str) -> Option<Seat> {
        debug!(
            code = "mqtt_endpoint::refused", topology = %self.shared.topology, stage = %self.shared.stage,
            from = %self.from, reason, "a connection was not let in"
        );
        None
    }

    async fn serve(&mut self, seat: &mut Seat) -> End {
        let mut reading = self.shared.intake.reading();
        let mut keep_alive = KeepAlive::new(seat.keep_alive(), Instant::now());
        let mut unsent_since: Option<Instant> = None;
        let mut paused_since: Option<Instant> = None;
        let mut has_commands = true;
        seat.begin();
        loop {
            if let Some(end) = self.handle(seat).await {
                return end;
            }
            let orders = self.peer.orders();
            if orders.safe > 0 {
                faults::point("mqtt_endpoint.before_ack");
            }
            self.machine.release(orders.safe);
            if let Some(code) = orders.leave {
                self.machine.close(code);
                return End::Sent(code);
            }
            has_commands |= orders.commands;
            if has_commands && self.unsent() < UNSENT {
                seat.send_commands(&mut self.machine);
                has_commands = false;
            }
            if self.machine.is_closed() {
                return End::Sent(Code::PACKET_TOO_LARGE);
            }

            let now = Instant::now();
            let all_read = *reading.borrow_and_update();
            let read = all_read && self.unsent() < UNSENT && self.machine.owed() < self.window();
            keep_alive.set_reading(read, now);
            self.measure_pause(&mut paused_since, read, now);
            unsent_since = (self.unsent() > 0).then(|| unsent_since.unwrap_or(now));
            let silent_at = keep_alive.deadline();
            let stalled_at = unsent_since.map(|since| since + STALLED);

            let peer = self.peer.clone();
            tokio::select! {
                // What has come is read before its sender is taken for gone.
                biased;
                () = peer.woken() => {}
                turn = self.turn(read) => match turn {
                    Ok(Turn::Read) => keep_alive.heard(Instant::now()),
                    Ok(Turn::Wrote) => unsent_since = None,
                    Ok(Turn::End) => return End::Lost("closed"),
                    Err(_) => return End::Lost("broken"),
                },
                () = sleep_until(silent_at) => {
                    self.machine.close(Code::KEEP_ALIVE_TIMEOUT);
                    return End::Sent(Code::KEEP_ALIVE_TIMEOUT);
                }
                () = sleep_until(stalled_at) => return End::Lost("stalled"),
                () = changed(&mut reading) => {}
            }
        }
    }

    /// How many messages may be owed an acknowledgement before the client is read no further. One of version 5 keeps its
    /// own window below, or is sent away.
    fn window(&self) -> usize {
        UNTOLD * usize::from(self.shared.bounds.receive_maximum)
    }

    fn unsent(&mut self) -> usize {
        self.machine.out().len() - self.sent
    }

    fn measure_pause(&self, since: &mut Option<Instant>, read: bool, now: Instant) {
        match (*since, read) {
            (None, false) => *since = Some(now),
            (Some(began), true) => {
                self.shared.meters.paused_ms.increment((now - began).as_millis() as u64);
                *since = None;
            }
            _ => {}
        }
    }

    /// Deals with everything that was read. The end, if it is that.
    async fn handle(&mut self, seat: &mut Seat) -> Option<End> {
        if self.events.is_empty() {
            return None;
        }
        let mut events = std::mem::take(&mut self.events);
        let mut end = None;
        for event in events.drain(..) {
            match event {
                Event::Publish(publish) => end = self.publish(publish, seat),
                Event::Acked(packet_id) => seat.settle(packet_id, true),
                Event::Subscribe(subscribe) => self.subscribe(subscribe, seat).await,
                Event::Unsubscribe { packet_id, filters } => {
                    let codes = seat.unsubscribe(&filters).await;
                    self.machine.unsuback(packet_id, &codes);
                }
                Event::Rejected(code) => self.shared.meters.rejected(code.word()).increment(1),
                Event::Left { with_will, session_expiry } => {
                    seat.last_word(session_expiry);
                    end = Some(if with_will { End::Lost("left_with_will") } else { End::Left });
                }
                Event::Failed(fault) => end = Some(self.failed(fault, seat)),
                Event::Connect(_) => {}
            }
            if end.is_some() {
                break;
            }
        }
        self.events = events;
        self.events.clear();
        self.put();
        end
    }

    fn put(&mut self) {
        self.shared.intake.put(&mut self.drafts, &self.peer, self.shared.now());
    }

    fn failed(&self, fault: Fault, seat: &Seat) -> End {
        debug!(
            code = "mqtt_endpoint::fault", topology = %self.shared.topology, stage = %self.shared.stage,
            client = ?seat.client(), from = %self.from, fault = fault.what, "a client broke the protocol"
        );
        End::Sent(fault.code)
    }

    fn publish(&mut self, publish: Publish, seat: &Seat) -> Option<End> {
        let Shared { meters, .. } = &*self.shared;
        match publish.packet_id {
            Some(_) => meters.received_qos1.increment(1),
            None => meters.received_qos0.increment(1),
        }
        if publish.dup {
            meters.redelivered.increment(1);
        }
        if !seat.access().may_publish(&self.shared.routes, &publish.topic) {
            meters.rejected(Code::NOT_AUTHORIZED.word()).increment(1);
            let what = "a device publishes only to its own topics";
            let fault = self.machine.reject(publish.packet_id, Code::NOT_AUTHORIZED, what);
            return fault.map(|fault| self.failed(fault, seat));
        }
        if publish.packet_id.is_none() && self.shared.intake.level() != Level::Open {
            meters.flooded.increment(1);
            return None;
        }
        faults::point("mqtt_endpoint.received");
        self.drafts.push(self.shared.draft(publish));
        None
    }

    async fn subscribe(&mut self, subscribe: Subscribe, seat: &mut Seat) {
        // What came before it must not wait for the disk.
        self.put();
        let codes = seat.subscribe(&subscribe.filters).await;
        self.machine.suback(subscribe.packet_id, &codes);
    }

    /// Sends what there is to send, and reads, if `read`; whichever is possible first.
    async fn turn(&mut self, read: bool) -> io::Result<Turn> {
        std::future::poll_fn(|cx| self.poll_turn(cx, read)).await
    }

    fn poll_turn(&mut self, cx: &mut Context<'_>, read: bool) -> Poll<io::Result<Turn>> {
        if self.unsent() > 0 {
            let unsent = self.machine.out().get(self.sent..).unwrap_or_default();
            if let Poll::Ready(written) = Pin::new(&mut self.io).poll_write(cx, unsent) {
                self.sent += written?;
                if self.unsent() == 0 {
                    self.sent = 0;
                    let out = self.machine.out();
                    out.clear();
                    // Thousands of idle connections must not each keep what one busy moment took.
                    out.shrink_to(CHUNK / 16);
                    if let Poll::Ready(flushed) = Pin::new(&mut self.io).poll_flush(cx) {
                        flushed?;
                    }
                }
                return Poll::Ready(Ok(Turn::Wrote));
            }
        }
        if !read {
            return Poll::Pending;
        }
        let mut chunk = [MaybeUninit::uninit(); CHUNK];
        let mut chunk = ReadBuf::uninit(&mut chunk);
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut chunk))?;
        if chunk.filled().is_empty() {
            return Poll::Ready(Ok(Turn::End));
        }
        self.machine.feed(chunk.filled(), &mut self.events);
        Poll::Ready(Ok(Turn::Read))
    }

    /// Sends the last words, and closes.
    async fn farewell(&mut self) {
        let _ = timeout(FAREWELL, async {
            while self.unsent() > 0 && self.turn(false).await.is_ok() {}
            std::future::poll_fn(|cx| Pin::new(&mut self.io).poll_shutdown(cx)).await
        })
        .await;
    }
}

enum Turn {
    Wrote,
    Read,
    /// The client has closed the connection.
    End,
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

async fn changed(reading: &mut watch::Receiver<bool>) {
    if reading.changed().await.is_err() {
        // Without the intake nothing changes any more; the connection is told to leave by other ways.
        std::future::pending::<()>().await;
    }
}
