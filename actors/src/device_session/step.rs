//! What a device's session does with a record, a command, and the passing of time.

use std::sync::Arc;

use telemill_engine::clock::LogTime;
use telemill_engine::device_id::DeviceId;
use telemill_engine::faults;
use telemill_engine::keyed::{Effects, Input, Keyed, Now, read_session};
use telemill_engine::record::{EventId, Kind, Reason, Record};
use telemill_engine::stage::StageError;

use super::queue::Queued;
use super::session::{Connected, Session, SessionV1};
use super::{COMMANDS, DeviceSession, EXPIRED, PRESENCE, command, presence};

/// The device is offline and the command may not wait.
const OFFLINE: Reason = Reason("offline");
/// The command's time had passed when it was read.
const TOO_LATE: Reason = Reason("expired");
/// Too many commands wait for the device already.
const QUEUE_FULL: Reason = Reason("queue_full");

impl Keyed for DeviceSession {
    type Session = Session;
    const STATE_VERSION: u8 = 2;

    fn read_earlier(version: u8, bytes: &[u8]) -> Result<Session, String> {
        match version {
            1 => read_session::<SessionV1>(bytes).map(Session::from),
            _ => Err(format!("session form {version} is not known to this version, which reads 1 and 2")),
        }
    }

    fn open(&self, _: &DeviceId, _: Option<EventId>, _: Now<'_>) -> Session {
        Session::default()
    }

    fn step(
        &self,
        device: &DeviceId,
        session: &mut Session,
        input: Input<'_>,
        now: Now<'_>,
        out: &mut Effects,
    ) -> Result<(), StageError> {
        faults::point("device_session.step");
        match input {
            Input::Record(record) => {
                // A record that had to wait its turn still happened when it was received.
                let now = Now { wall: record.received_at, ..now };
                match record.kind {
                    Kind::Command => return self.command(device, session, record, now, out),
                    // About the device, not from it.
                    Kind::Mark | Kind::Presence | Kind::Alert => out.forward(),
                    _ if record.sent.will => {
                        // Not the device's own word: it is said for it because it is gone.
                        if session.is_online() {
                            show(device, session, Connected::Offline, now, out);
                        }
                        out.forward();
                    }
                    Kind::Data | Kind::Hello | Kind::Other(_) => match self.is_duplicate(session, record) {
                        // Whoever repeats itself is there.
                        true => {
                            self.heard(device, session, record, now, out);
                            out.drop_record(Reason::DUPLICATE);
                        }
                        false => {
                            self.count(session, record);
                            self.heard(device, session, record, now, out);
                            out.forward();
                        }
                    },
                }
            }
            Input::Timer => self.timer(device, session, now, out),
            Input::Forgotten => forgotten(device, session, now, out),
            // This stage keeps no journal.
            Input::Journal(_) => {}
        }
        Ok(())
    }

    fn restored(&self, session: &Session, out: &mut Effects) {
        if let Some(presence) = session.presence() {
            out.presence(presence);
        }
        if session.is_online() {
            out.wake_at(self.silent_at(session));
        } else if let Some(queue) = &session.queue {
            out.wake_at(queue.wake);
        }
    }

    fn may_passivate(&self, session: &Session, _: Now<'_>) -> bool {
        !session.is_online() && session.queue.is_none()
    }
}

impl DeviceSession {
    /// When the device is offline if nothing more is heard of it.
    fn silent_at(&self, session: &Session) -> LogTime {
        session.heard_at + self.offline_after
    }

    /// Whether the device had sent it before; from here on it has. A keep-alive has no identity.
    fn is_duplicate(&self, session: &mut Session, record: &Record) -> bool {
        let identity = self.identity.as_ref().filter(|_| record.kind != Kind::Hello);
        identity.is_some_and(|identity| identity.has_seen(&mut session.seen, record))
    }

    /// What the record says is news.
    fn count(&self, session: &mut Session, record: &Record) {
        if record.kind == Kind::Hello {
            session.hello += 1;
        } else {
            session.data += 1;
            let kept = record.payload.len() <= self.last_payload;
            session.last_payload = if kept { Arc::from(&*record.payload) } else { Arc::default() };
        }
    }

    fn heard(&self, device: &DeviceId, session: &mut Session, record: &Record, now: Now<'_>, out: &mut Effects) {
        session.opened_by(record.id);
        if session.connected == Connected::Unknown {
            session.first_seen = now.wall;
        }
        session.last_seen = now.wall;
        session.heard_at = now.log;
        if !session.is_online() {
            show(device, session, Connected::Online, now, out);
            // Only now: later records move `heard_at`, and the timer looks at it when it comes.
            out.wake_at(self.silent_at(session));
            for queued in session.queue.take().into_iter().flat_map(|queue| queue.into_commands()) {
                match queued.expires_at <= now.wall {
                    true => expired(device, queued, out),
                    false => send(device, session, &queued, out),
                }
            }
        }
    }

    fn command(
        &self,
        device: &DeviceId,
        session: &mut Session,
        record: &Record,
        now: Now<'_>,
        out: &mut Effects,
    ) -> Result<(), StageError> {
        let expires_at = command::expires_at(record)?;
        if let Some(at) = expires_at.filter(|at| *at <= now.wall) {
            let late = now.wall.since(at).as_millis();
            return Err(StageError::reject(TOO_LATE, format!("the command expired {late} ms before it was read")));
        }
        session.opened_by(record.id);
        let queued = |expires_at| Queued {
            id: record.id,
            received_at: record.received_at,
            expires_at,
            body: record.payload.clone(),
        };
        if session.is_online() {
            send(device, session, &queued(now.wall), out);
            return Ok(());
        }
        let Some(expires_at) = expires_at else {
            return Err(StageError::reject(OFFLINE, "the device is offline and the command may not wait"));
        };
        let queue = session.queue.get_or_insert_default();
        if queue.push(queued(expires_at)).is_err() {
            let detail = "the commands that wait for the device are at their limit in number or bytes";
            return Err(StageError::reject(QUEUE_FULL, detail));
        }
        if let Some(wake) = queue.schedule(now.wall, now.log) {
            out.wake_at(wake);
        }
        Ok(())
    }

    fn timer(&self, device: &DeviceId, session: &mut Session, now: Now<'_>, out: &mut Effects) {
        if session.is_online() {
            match self.silent_at(session) {
                at if at <= now.log => show(device, session, Connected::Offline, now, out),
                at => out.wake_at(at),
            }
        } else if let Some(queue) = &mut session.queue {
            let too_late = queue.take_expired(now.wall);
            match queue.schedule(now.wall, now.log) {
                Some(wake) => out.wake_at(wake),
                None => session.queue = None,
            }
            too_late.into_iter().for_each(|command| expired(device, command, out));
        }
    }
}

/// Puts the device on- or offline and says so.
fn show(device: &DeviceId, session: &mut Session, connected: Connected, now: Now<'_>, out: &mut Effects) {
    session.connected = connected;
    session.since = now.wall;
    session.sequence += 1;
    out.emit(PRESENCE, presence::event(device, session));
    if let Some(presence) = session.presence() {
        out.presence(presence);
    }
}

fn send(device: &DeviceId, session: &mut Session, command: &Queued, out: &mut Effects) {
    session.commands += 1;
    out.emit(COMMANDS, command::for_device(device, command));
}

/// Nobody goes on believing that the device is online, and commands that wait for it do not just vanish.
fn forgotten(device: &DeviceId, session: &mut Session, now: Now<'_>, out: &mut Effects) {
    if session.is_online() {
        show(device, session, Connected::Offline, now, out);
    }
    for queued in session.queue.take().into_iter().flat_map(|queue| queue.into_commands()) {
        expired(device, queued, out);
    }
}

fn expired(device: &DeviceId, command: Queued, out: &mut Effects) {
    let record = Record::new(command.id, device.clone(), Kind::Command, command.body, command.received_at);
    out.emit(EXPIRED, record);
}
