//! What a client says and what it is answered, whichever of the two versions it speaks.

use std::fmt;

use bytes::Bytes;

/// The version of MQTT that a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// 3.1.1.
    V3,
    /// 5.0.
    V5,
}

/// A reason code of MQTT 5: the same number means the same in every packet that can carry it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Code(pub(crate) u8);

impl Code {
    pub(crate) const SUCCESS: Code = Code(0x00);
    pub(crate) const UNSPECIFIED: Code = Code(0x80);
    pub(crate) const MALFORMED: Code = Code(0x81);
    pub(crate) const PROTOCOL_ERROR: Code = Code(0x82);
    pub(crate) const UNSUPPORTED_VERSION: Code = Code(0x84);
    pub(crate) const CLIENT_ID_INVALID: Code = Code(0x85);
    pub(crate) const BAD_LOGIN: Code = Code(0x86);
    pub(crate) const NOT_AUTHORIZED: Code = Code(0x87);
    pub(crate) const SERVER_UNAVAILABLE: Code = Code(0x88);
    pub(crate) const SERVER_BUSY: Code = Code(0x89);
    pub(crate) const SHUTTING_DOWN: Code = Code(0x8b);
    pub(crate) const BAD_AUTHENTICATION_METHOD: Code = Code(0x8c);
    pub(crate) const KEEP_ALIVE_TIMEOUT: Code = Code(0x8d);
    pub(crate) const TAKEN_OVER: Code = Code(0x8e);
    pub(crate) const FILTER_INVALID: Code = Code(0x8f);
    pub(crate) const TOPIC_INVALID: Code = Code(0x90);
    pub(crate) const RECEIVE_MAXIMUM: Code = Code(0x93);
    pub(crate) const TOPIC_ALIAS_INVALID: Code = Code(0x94);
    pub(crate) const PACKET_TOO_LARGE: Code = Code(0x95);
    pub(crate) const QUOTA_EXCEEDED: Code = Code(0x97);
    pub(crate) const QOS_NOT_SUPPORTED: Code = Code(0x9b);
    pub(crate) const SHARED_NOT_SUPPORTED: Code = Code(0x9e);
    pub(crate) const IDENTIFIERS_NOT_SUPPORTED: Code = Code(0xa1);
    pub(crate) const NO_SUBSCRIPTION: Code = Code(0x11);

    pub(crate) fn is_error(self) -> bool {
        self.0 >= 0x80
    }

    /// A stable word for logs and metrics.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Code::SUCCESS => "success",
            Code::MALFORMED => "malformed",
            Code::PROTOCOL_ERROR => "protocol_error",
            Code::UNSUPPORTED_VERSION => "unsupported_version",
            Code::CLIENT_ID_INVALID => "client_id",
            Code::BAD_LOGIN => "bad_login",
            Code::NOT_AUTHORIZED => "not_authorized",
            Code::SERVER_UNAVAILABLE => "unavailable",
            Code::SERVER_BUSY => "busy",
            Code::SHUTTING_DOWN => "shutting_down",
            Code::BAD_AUTHENTICATION_METHOD => "authentication_method",
            Code::KEEP_ALIVE_TIMEOUT => "keep_alive",
            Code::TAKEN_OVER => "taken_over",
            Code::FILTER_INVALID => "filter",
            Code::TOPIC_INVALID => "topic",
            Code::RECEIVE_MAXIMUM => "receive_maximum",
            Code::TOPIC_ALIAS_INVALID => "topic_alias",
            Code::PACKET_TOO_LARGE => "packet_too_large",
            Code::QUOTA_EXCEEDED => "quota",
            Code::QOS_NOT_SUPPORTED => "qos",
            Code::SHARED_NOT_SUPPORTED => "shared_subscription",
            Code::IDENTIFIERS_NOT_SUPPORTED => "subscription_identifier",
            _ => "unspecified",
        }
    }
}

/// A packet of a client, well-formed.
#[derive(Debug)]
pub(crate) enum Incoming {
    Connect(Box<Connect>),
    Publish(Publish),
    PubAck(u16),
    Subscribe(Subscribe),
    Unsubscribe { packet_id: u16, filters: Vec<String> },
    Ping,
    Disconnect { code: Code, session_expiry: Option<u32> },
}

/// A CONNECT.
pub(crate) struct Connect {
    pub(crate) version: Version,
    pub(crate) client_id: String,
    /// Clean session, or clean start.
    pub(crate) clean: bool,
    /// In seconds; 0 for none.
    pub(crate) keep_alive: u16,
    /// How long the session outlives its connection, in seconds. In 3.1.1: 0 with a clean session, else for ever.
    pub(crate) session_expiry: u32,
    /// How many publishes the client takes before it acknowledges.
    pub(crate) receive_maximum: u16,
    /// The largest packet that the client takes.
    pub(crate) packet_limit: u32,
    /// It asks for an exchange of AUTH packets.
    pub(crate) wants_auth: bool,
    pub(crate) will: Option<Will>,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<Vec<u8>>,
}

impl fmt::Debug for Connect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Neither user nor password: a user name may be a token.
        f.debug_struct("Connect")
            .field("version", &self.version)
            .field("client_id", &self.client_id)
            .field("clean", &self.clean)
            .field("keep_alive", &self.keep_alive)
            .field("session_expiry", &self.session_expiry)
            .field("will", &self.will)
            .finish_non_exhaustive()
    }
}

/// What is to be published when the client is gone without a farewell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Will {
    pub(crate) topic: String,
    pub(crate) payload: Bytes,
    pub(crate) qos: u8,
    /// For how many seconds it is held back.
    pub(crate) delay: u32,
}

/// A PUBLISH.
#[derive(Debug)]
pub(crate) struct Publish {
    pub(crate) topic: String,
    pub(crate) payload: Bytes,
    /// None at QoS 0.
    pub(crate) packet_id: Option<u16>,
    pub(crate) dup: bool,
}

/// A SUBSCRIBE.
#[derive(Debug)]
pub(crate) struct Subscribe {
    pub(crate) packet_id: u16,
    /// Filter and wanted quality of service.
    pub(crate) filters: Vec<(String, u8)>,
}

/// Why a client cannot be served any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) code: Code,
    /// What was wrong, in fixed words: nothing of the client's stands in it.
    pub(crate) what: &'static str,
}

impl Fault {
    pub(crate) fn new(code: Code, what: &'static str) -> Self {
        Fault { code, what }
    }
}

/// What an accepted client is told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms<'a> {
    pub(crate) session_present: bool,
    /// Where we chose it.
    pub(crate) client_id: Option<&'a str>,
    /// Where it is not what the client asked for.
    pub(crate) session_expiry: Option<u32>,
    pub(crate) receive_maximum: u16,
    pub(crate) packet_limit: u32,
}
