//! What we say, as bytes.

use mqtt_protocol_core::mqtt::ArcPayload;
use mqtt_protocol_core::mqtt::IntoPayload;
use mqtt_protocol_core::mqtt::packet::{
    AssignedClientIdentifier, MaximumPacketSize, MaximumQos, Property, Qos, ReceiveMaximum, SessionExpiryInterval,
    SharedSubscriptionAvailable, SubscriptionIdentifierAvailable, v3_1_1, v5_0,
};
use mqtt_protocol_core::mqtt::result_code::{
    ConnectReasonCode, ConnectReturnCode, DisconnectReasonCode, MqttError, PubackReasonCode, SubackReasonCode,
    SubackReturnCode, UnsubackReasonCode,
};

use super::packets::{Code, Terms, Version};

/// A packet of ours that the crate would not build.
type Encoded = Result<Vec<u8>, MqttError>;

pub(super) fn accepted(version: Version, terms: &Terms<'_>) -> Encoded {
    match version {
        Version::V3 => {
            let packet = v3_1_1::Connack::builder()
                .session_present(terms.session_present)
                .return_code(ConnectReturnCode::Accepted)
                .build()?;
            Ok(packet.to_continuous_buffer())
        }
        Version::V5 => {
            let mut properties: Vec<Property> = vec![
                ReceiveMaximum::new(terms.receive_maximum)?.into(),
                MaximumQos::new(1)?.into(),
                MaximumPacketSize::new(terms.packet_limit)?.into(),
                SubscriptionIdentifierAvailable::new(0)?.into(),
                SharedSubscriptionAvailable::new(0)?.into(),
            ];
            if let Some(id) = terms.client_id {
                properties.push(AssignedClientIdentifier::new(id)?.into());
            }
            if let Some(seconds) = terms.session_expiry {
                properties.push(SessionExpiryInterval::new(seconds)?.into());
            }
            let packet = v5_0::Connack::builder()
                .session_present(terms.session_present)
                .reason_code(ConnectReasonCode::Success)
                .props(properties)
                .build()?;
            Ok(packet.to_continuous_buffer())
        }
    }
}

/// The answer to a CONNECT that is not accepted; none where the standard wants silence.
pub(super) fn refused(version: Option<Version>, code: Code) -> Encoded {
    if version == Some(Version::V5) {
        let code = ConnectReasonCode::try_from(code.0).unwrap_or(ConnectReasonCode::UnspecifiedError);
        let packet = v5_0::Connack::builder().session_present(false).reason_code(code).build()?;
        return Ok(packet.to_continuous_buffer());
    }
    let code = match code {
        Code::UNSUPPORTED_VERSION => ConnectReturnCode::UnacceptableProtocolVersion,
        Code::CLIENT_ID_INVALID => ConnectReturnCode::IdentifierRejected,
        Code::SERVER_UNAVAILABLE | Code::SERVER_BUSY | Code::QUOTA_EXCEEDED | Code::SHUTTING_DOWN => {
            ConnectReturnCode::ServerUnavailable
        }
        Code::BAD_LOGIN => ConnectReturnCode::BadUserNameOrPassword,
        Code::NOT_AUTHORIZED => ConnectReturnCode::NotAuthorized,
        // A CONNECT that is malformed is not answered in 3.1.1.
        _ => return Ok(Vec::new()),
    };
    let packet = v3_1_1::Connack::builder().session_present(false).return_code(code).build()?;
    Ok(packet.to_continuous_buffer())
}

pub(super) fn puback(version: Version, packet_id: u16, code: Code) -> Encoded {
    match version {
        Version::V3 => Ok(v3_1_1::Puback::builder().packet_id(packet_id).build()?.to_continuous_buffer()),
        Version::V5 if code == Code::SUCCESS => {
            Ok(v5_0::Puback::builder().packet_id(packet_id).build()?.to_continuous_buffer())
        }
        Version::V5 => {
            let code = PubackReasonCode::try_from(code.0).unwrap_or(PubackReasonCode::UnspecifiedError);
            Ok(v5_0::Puback::builder().packet_id(packet_id).reason_code(code).build()?.to_continuous_buffer())
        }
    }
}

/// One code a filter: a granted quality of service, or why not.
pub(super) fn suback(version: Version, packet_id: u16, codes: &[Code]) -> Encoded {
    match version {
        Version::V3 => {
            let codes = codes.iter().map(|code| match code.0 {
                0 => SubackReturnCode::SuccessMaximumQos0,
                1 => SubackReturnCode::SuccessMaximumQos1,
                _ => SubackReturnCode::Failure,
            });
            let packet = v3_1_1::Suback::builder().packet_id(packet_id).return_codes(codes.collect()).build()?;
            Ok(packet.to_continuous_buffer())
        }
        Version::V5 => {
            let of = |code: &Code| SubackReasonCode::try_from(code.0).unwrap_or(SubackReasonCode::UnspecifiedError);
            let packet =
                v5_0::Suback::builder().packet_id(packet_id).reason_codes(codes.iter().map(of).collect()).build()?;
            Ok(packet.to_continuous_buffer())
        }
    }
}

pub(super) fn unsuback(version: Version, packet_id: u16, codes: &[Code]) -> Encoded {
    match version {
        Version::V3 => Ok(v3_1_1::Unsuback::builder().packet_id(packet_id).build()?.to_continuous_buffer()),
        Version::V5 => {
            let of = |code: &Code| UnsubackReasonCode::try_from(code.0).unwrap_or(UnsubackReasonCode::UnspecifiedError);
            let packet =
                v5_0::Unsuback::builder().packet_id(packet_id).reason_codes(codes.iter().map(of).collect()).build()?;
            Ok(packet.to_continuous_buffer())
        }
    }
}

pub(super) fn pong(version: Version) -> Encoded {
    match version {
        Version::V3 => Ok(v3_1_1::Pingresp::new().to_continuous_buffer()),
        Version::V5 => Ok(v5_0::Pingresp::new().to_continuous_buffer()),
    }
}

/// A farewell; 3.1.1 has none for a server.
pub(super) fn disconnect(version: Version, code: Code) -> Encoded {
    match version {
        Version::V3 => Ok(Vec::new()),
        Version::V5 => {
            let code = DisconnectReasonCode::try_from(code.0).unwrap_or(DisconnectReasonCode::UnspecifiedError);
            Ok(v5_0::Disconnect::builder().reason_code(code).build()?.to_continuous_buffer())
        }
    }
}

/// A message to the client: at QoS 1 with a packet id, else at QoS 0.
pub(super) fn publish(version: Version, topic: &str, payload: &[u8], packet_id: Option<u16>, dup: bool) -> Encoded {
    let qos = if packet_id.is_some() { Qos::AtLeastOnce } else { Qos::AtMostOnce };
    let payload: ArcPayload = payload.into_payload();
    match version {
        Version::V3 => {
            let packet = v3_1_1::Publish::builder().topic_name(topic)?.qos(qos).dup(dup).payload(payload);
            let packet = packet.packet_id(packet_id).build()?;
            Ok(packet.to_continuous_buffer())
        }
        Version::V5 => {
            let packet = v5_0::Publish::builder().topic_name(topic)?.qos(qos).dup(dup).payload(payload);
            let packet = packet.packet_id(packet_id).build()?;
            Ok(packet.to_continuous_buffer())
        }
    }
}
