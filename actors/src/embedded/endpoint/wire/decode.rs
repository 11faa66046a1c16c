//! From a framed packet to what it says.
//!
//! The crate takes packets apart; what it does not check is checked here: the flags of the fixed header, a zero byte in
//! a text, packet id 0, what may stand in a topic, and which packets a client may send at all.

use bytes::Bytes;
use mqtt_protocol_core::mqtt::ArcPayload;
use mqtt_protocol_core::mqtt::connection::RawPacket;
use mqtt_protocol_core::mqtt::packet::{Property, Qos, SubEntry, v3_1_1, v5_0};
use mqtt_protocol_core::mqtt::result_code::{DisconnectReasonCode, MqttError};

use super::packets::{Code, Connect, Fault, Incoming, Publish, Subscribe, Version, Will};

pub(super) const CONNECT: u8 = 1;
const PUBLISH: u8 = 3;
const PUBACK: u8 = 4;
const SUBSCRIBE: u8 = 8;
const UNSUBSCRIBE: u8 = 10;
const PINGREQ: u8 = 12;
const DISCONNECT: u8 = 14;

/// Payloads up to this size are copied, so that they do not keep the whole packet.
const COPY_UP_TO: usize = 1024;

type Decoded = Result<Incoming, Fault>;

/// What the crate could not read, as an answer.
pub(super) fn fault_of(error: MqttError) -> Fault {
    let (code, what) = match error {
        MqttError::PacketTooLarge => (Code::PACKET_TOO_LARGE, "the packet is larger than allowed"),
        MqttError::ProtocolError => (Code::PROTOCOL_ERROR, "the packet breaks the protocol"),
        MqttError::ClientIdentifierNotValid => (Code::CLIENT_ID_INVALID, "the client id is not valid UTF-8"),
        MqttError::BadUserNameOrPassword => (Code::BAD_LOGIN, "user name or password are malformed"),
        MqttError::UnsupportedProtocolVersion => (Code::UNSUPPORTED_VERSION, "the version of MQTT is not supported"),
        _ => (Code::MALFORMED, "the packet is malformed"),
    };
    Fault::new(code, what)
}

/// Something else came before the CONNECT.
pub(super) fn no_connect() -> Fault {
    Fault::new(Code::PROTOCOL_ERROR, "the first packet is not a CONNECT")
}

/// The version that a CONNECT asks for.
///
/// # Errors
/// With the code for a version that is not spoken here when it is MQTT at all, else as malformed.
pub(super) fn version(raw: &RawPacket) -> Result<Version, Fault> {
    if raw.packet_type() != CONNECT {
        return Err(no_connect());
    }
    match raw.data_as_slice() {
        [0, 4, b'M', b'Q', b'T', b'T', 4, ..] => Ok(Version::V3),
        [0, 4, b'M', b'Q', b'T', b'T', 5, ..] => Ok(Version::V5),
        [0, 4, b'M', b'Q', b'T', b'T', _, ..] | [0, 6, b'M', b'Q', b'I', b's', b'd', b'p', _, ..] => {
            Err(Fault::new(Code::UNSUPPORTED_VERSION, "the version of MQTT is not supported"))
        }
        _ => Err(Fault::new(Code::MALFORMED, "the CONNECT does not name MQTT")),
    }
}

/// What a packet says.
pub(super) fn decode(raw: &RawPacket, version: Version) -> Decoded {
    let flags = match raw.packet_type() {
        PUBLISH => raw.flags(),
        SUBSCRIBE | UNSUBSCRIBE => 0b0010,
        _ => 0,
    };
    if raw.flags() != flags {
        return Err(Fault::new(Code::MALFORMED, "reserved flags are set in the fixed header"));
    }
    match (raw.packet_type(), version) {
        (CONNECT, Version::V3) => connect_v3(&parsed(raw.parse_exact(v3_1_1::Connect::parse))?),
        (CONNECT, Version::V5) => connect_v5(&parsed(raw.parse_exact(v5_0::Connect::parse))?),
        (PUBLISH, Version::V3) => publish_v3(raw),
        (PUBLISH, Version::V5) => publish_v5(raw),
        (PUBACK, Version::V3) => Ok(Incoming::PubAck(parsed(raw.parse_exact(v3_1_1::Puback::parse))?.packet_id())),
        (PUBACK, Version::V5) => Ok(Incoming::PubAck(parsed(raw.parse_exact(v5_0::Puback::parse))?.packet_id())),
        (SUBSCRIBE, Version::V3) => subscribe_v3(&parsed(raw.parse_exact(v3_1_1::Subscribe::parse))?),
        (SUBSCRIBE, Version::V5) => subscribe_v5(&parsed(raw.parse_exact(v5_0::Subscribe::parse))?),
        (UNSUBSCRIBE, Version::V3) => {
            let packet = parsed(raw.parse_exact(v3_1_1::Unsubscribe::parse))?;
            unsubscribe(packet.packet_id(), packet.entries().iter().map(|filter| filter.as_str()))
        }
        (UNSUBSCRIBE, Version::V5) => {
            let packet = parsed(raw.parse_exact(v5_0::Unsubscribe::parse))?;
            unsubscribe(packet.packet_id(), packet.entries().iter().map(|filter| filter.as_str()))
        }
        (PINGREQ, _) => match raw.remaining_length() {
            0 => Ok(Incoming::Ping),
            _ => Err(Fault::new(Code::MALFORMED, "a PINGREQ has no content")),
        },
        (DISCONNECT, Version::V3) => match raw.remaining_length() {
            0 => Ok(Incoming::Disconnect { code: Code::SUCCESS, session_expiry: None }),
            _ => Err(Fault::new(Code::MALFORMED, "a DISCONNECT has no content")),
        },
        (DISCONNECT, Version::V5) => disconnect_v5(&parsed(raw.parse_exact(v5_0::Disconnect::parse))?),
        _ => Err(Fault::new(Code::PROTOCOL_ERROR, "a client does not send this packet here")),
    }
}

fn parsed<T>(result: Result<T, MqttError>) -> Result<T, Fault> {
    result.map_err(fault_of)
}

fn text(text: &str) -> Result<String, Fault> {
    if text.contains('\0') {
        return Err(Fault::new(Code::MALFORMED, "a text has a zero byte in it"));
    }
    Ok(text.to_owned())
}

fn topic(name: &str) -> Result<String, Fault> {
    if name.contains(['+', '#']) {
        return Err(Fault::new(Code::TOPIC_INVALID, "a topic to publish to has a wildcard in it"));
    }
    if name.is_empty() {
        return Err(Fault::new(Code::PROTOCOL_ERROR, "a topic is empty"));
    }
    text(name)
}

fn connect_v3(packet: &v3_1_1::Connect) -> Decoded {
    check_connect_flags(connect_flags(&packet.to_continuous_buffer()), packet.will_flag())?;
    let clean = packet.clean_session();
    let connect = Connect {
        version: Version::V3,
        client_id: text(packet.client_id())?,
        clean,
        keep_alive: packet.keep_alive(),
        session_expiry: if clean { 0 } else { u32::MAX },
        receive_maximum: u16::MAX,
        packet_limit: u32::MAX,
        wants_auth: false,
        will: match packet.will_topic() {
            Some(name) => Some(will(name, packet.will_payload(), packet.will_qos(), 0)?),
            None => None,
        },
        user: packet.user_name().map(text).transpose()?,
        password: packet.password().map(<[u8]>::to_vec),
    };
    Ok(Incoming::Connect(Box::new(connect)))
}

fn connect_v5(packet: &v5_0::Connect) -> Decoded {
    check_connect_flags(connect_flags(&packet.to_continuous_buffer()), packet.will_flag())?;
    let mut connect = Connect {
        version: Version::V5,
        client_id: text(packet.client_id())?,
        clean: packet.clean_start(),
        keep_alive: packet.keep_alive(),
        session_expiry: 0,
        receive_maximum: u16::MAX,
        packet_limit: u32::MAX,
        wants_auth: false,
        will: None,
        user: packet.user_name().map(text).transpose()?,
        password: packet.password().map(<[u8]>::to_vec),
    };
    for property in packet.props() {
        match property {
            Property::SessionExpiryInterval(seconds) => connect.session_expiry = seconds.val(),
            Property::ReceiveMaximum(most) => connect.receive_maximum = most.val(),
            Property::MaximumPacketSize(most) => connect.packet_limit = most.val(),
            Property::AuthenticationMethod(_) | Property::AuthenticationData(_) => connect.wants_auth = true,
            _ => {}
        }
    }
    if let Some(name) = packet.will_topic() {
        let delay = packet.will_props().iter().find_map(|property| match property {
            Property::WillDelayInterval(seconds) => Some(seconds.val()),
            _ => None,
        });
        connect.will = Some(will(name, packet.will_payload(), packet.will_qos(), delay.unwrap_or(0))?);
    }
    Ok(Incoming::Connect(Box::new(connect)))
}

/// The flags of a CONNECT: behind the fixed header, the name and the version.
fn connect_flags(packet: &[u8]) -> u8 {
    let length = packet.iter().skip(1).take_while(|byte| **byte & 0x80 != 0).count() + 1;
    packet.get(1 + length + 7).copied().unwrap_or_default()
}

fn check_connect_flags(flags: u8, has_will: bool) -> Result<(), Fault> {
    let will_qos = (flags >> 3) & 0b11;
    let will_retain = flags & 0b10_0000 != 0;
    if flags & 1 != 0 || will_qos == 3 || (!has_will && (will_qos != 0 || will_retain)) {
        return Err(Fault::new(Code::MALFORMED, "the flags of the CONNECT contradict each other"));
    }
    Ok(())
}

fn will(name: &str, payload: Option<&[u8]>, qos: Qos, delay: u32) -> Result<Will, Fault> {
    let payload = Bytes::copy_from_slice(payload.unwrap_or_default());
    Ok(Will { topic: topic(name)?, payload, qos: qos as u8, delay })
}

fn publish_v3(raw: &RawPacket) -> Decoded {
    let mqtt_protocol_core::mqtt::connection::PacketData::Publish(data) = &raw.data else {
        return Err(Fault::new(Code::MALFORMED, "the packet is malformed"));
    };
    let (packet, _) = parsed(v3_1_1::Publish::parse(raw.flags(), data.clone()))?;
    publish(packet.topic_name(), packet.qos(), packet.packet_id(), packet.dup(), packet.payload())
}

fn publish_v5(raw: &RawPacket) -> Decoded {
    let mqtt_protocol_core::mqtt::connection::PacketData::Publish(data) = &raw.data else {
        return Err(Fault::new(Code::MALFORMED, "the packet is malformed"));
    };
    let (packet, _) = parsed(v5_0::Publish::parse(raw.flags(), data.clone()))?;
    for property in packet.props() {
        match property {
            Property::TopicAlias(_) => {
                return Err(Fault::new(Code::TOPIC_ALIAS_INVALID, "topic aliases are not taken here"));
            }
            Property::SubscriptionIdentifier(_) => {
                return Err(Fault::new(Code::PROTOCOL_ERROR, "a client does not send subscription identifiers"));
            }
            _ => {}
        }
    }
    publish(packet.topic_name(), packet.qos(), packet.packet_id(), packet.dup(), packet.payload())
}

fn publish(name: &str, qos: Qos, packet_id: Option<u16>, dup: bool, payload: &ArcPayload) -> Decoded {
    match (qos, packet_id) {
        (Qos::ExactlyOnce, _) => {
            return Err(Fault::new(Code::QOS_NOT_SUPPORTED, "publishing at QoS 2 is not supported"));
        }
        (Qos::AtMostOnce, _) if dup => {
            return Err(Fault::new(Code::MALFORMED, "a message at QoS 0 is marked as sent again"));
        }
        (_, Some(0)) => return Err(Fault::new(Code::PROTOCOL_ERROR, "the packet id is 0")),
        _ => {}
    }
    Ok(Incoming::Publish(Publish { topic: topic(name)?, payload: bytes_of(payload), packet_id, dup }))
}

/// The payload without the packet around it where it is small, else as a part of the packet.
fn bytes_of(payload: &ArcPayload) -> Bytes {
    struct Owner(ArcPayload);
    impl AsRef<[u8]> for Owner {
        fn as_ref(&self) -> &[u8] {
            self.0.as_slice()
        }
    }
    match payload.len() {
        0..=COPY_UP_TO => Bytes::copy_from_slice(payload.as_slice()),
        _ => Bytes::from_owner(Owner(payload.clone())),
    }
}

fn subscribe_v3(packet: &v3_1_1::Subscribe) -> Decoded {
    if packet.entries().iter().any(|entry| entry.sub_opts().to_buffer()[0] > 2) {
        return Err(Fault::new(Code::MALFORMED, "reserved bits are set in a subscription"));
    }
    subscribe(packet.packet_id(), packet.entries())
}

fn subscribe_v5(packet: &v5_0::Subscribe) -> Decoded {
    if packet.props().iter().any(|property| matches!(property, Property::SubscriptionIdentifier(_))) {
        let what = "subscription identifiers are not supported";
        return Err(Fault::new(Code::IDENTIFIERS_NOT_SUPPORTED, what));
    }
    if packet.entries().iter().any(|entry| entry.topic_filter().starts_with("$share/")) {
        return Err(Fault::new(Code::SHARED_NOT_SUPPORTED, "shared subscriptions are not supported"));
    }
    subscribe(packet.packet_id(), packet.entries())
}

fn subscribe(packet_id: u16, entries: &[SubEntry]) -> Decoded {
    check_filters(packet_id, entries.iter().map(SubEntry::topic_filter))?;
    let filters = entries.iter().map(|entry| (entry.topic_filter().to_owned(), entry.sub_opts().qos() as u8)).collect();
    Ok(Incoming::Subscribe(Subscribe { packet_id, filters }))
}

fn unsubscribe<'p>(packet_id: u16, filters: impl Iterator<Item = &'p str> + Clone) -> Decoded {
    check_filters(packet_id, filters.clone())?;
    Ok(Incoming::Unsubscribe { packet_id, filters: filters.map(str::to_owned).collect() })
}

fn check_filters<'p>(packet_id: u16, mut filters: impl Iterator<Item = &'p str>) -> Result<(), Fault> {
    if packet_id == 0 {
        return Err(Fault::new(Code::PROTOCOL_ERROR, "the packet id is 0"));
    }
    if filters.any(|filter| filter.is_empty() || filter.contains('\0')) {
        return Err(Fault::new(Code::MALFORMED, "a topic filter is empty or has a zero byte in it"));
    }
    Ok(())
}

fn disconnect_v5(packet: &v5_0::Disconnect) -> Decoded {
    let session_expiry = packet.props().iter().flatten().find_map(|property| match property {
        Property::SessionExpiryInterval(seconds) => Some(seconds.val()),
        _ => None,
    });
    let code = Code(packet.reason_code().unwrap_or(DisconnectReasonCode::NormalDisconnection) as u8);
    Ok(Incoming::Disconnect { code, session_expiry })
}
