//! The codes that the embedded default shows, each with what `telemill explain` says about it.

use telemill_engine::codes::Explanation;

pub(crate) const EXPLANATIONS: &[Explanation] = &[
    (
        "disk_recovered",
        "The data directory could be opened again after a write that failed; writing goes on by itself.",
    ),
    (
        "disk_write_failed",
        "The file system refused a write of the data directory. Nothing of it was acknowledged; the directory is opened anew, \
         and what was not acknowledged is written again.",
    ),
    (
        "embedded::commands",
        "The topic of commands is a template with the device's id as one of its levels, such as `devices/{device_id}/commands`.",
    ),
    (
        "embedded::limits",
        "A limit of the MQTT endpoint is outside of what it can be; the message says from where to where.",
    ),
    (
        "embedded::mqtt_listen",
        "The endpoint listens on an IP address and a port, such as `127.0.0.1:1883`; port 0 takes a free one.",
    ),
    (
        "embedded::no_dir",
        "The data directory holds the log, the device store and the checkpoints: name one, such as `data/`.",
    ),
    (
        "embedded::open_endpoint",
        "An endpoint that other machines can reach has to know who connects: configure `auth` or client certificates under \
         `tls`, or listen on a loopback address.",
    ),
    (
        "history_cut",
        "The histories of all devices took more than `history_size`. What is older than the second `before` was removed from \
         every device, down to nine tenths of it; the last states stay.",
    ),
    (
        "history_weighed",
        "How much the histories of all devices take was counted by reading them: once when a writer has the directory's first \
         `history_size`, and where messages were written over what was there.",
    ),
    ("kafka_source::long_group", "The name of a group on the embedded log has at most 1024 bytes."),
    (
        "mqtt_endpoint::accept",
        "The system gave no more connections, most often for want of file descriptors (`ulimit -n`). The endpoint rests for a \
         moment and goes on; those who are connected notice nothing.",
    ),
    ("mqtt_endpoint::disconnected", "A client of the endpoint is gone; the reason is in the line."),
    (
        "mqtt_endpoint::fault",
        "A client sent what the MQTT standard forbids, and was disconnected with the standard's answer.",
    ),
    ("mqtt_endpoint::listening", "Devices can connect over MQTT, at the address in the line."),
    (
        "mqtt_endpoint::panic",
        "The task of one connection panicked. That connection is gone, and nothing of it was acknowledged early; this is a bug.",
    ),
    (
        "mqtt_endpoint::readable_passwords",
        "Devices send their passwords over a network without encryption. Add `tls:` to the connection.",
    ),
    (
        "mqtt_endpoint::refused",
        "A connection was not let in: wrong credentials, a full house, or a CONNECT that the standard forbids.",
    ),
    (
        "mqtt_endpoint::session_not_kept",
        "A client asked for a session that outlives its connection, and the disk could not take it. It was told to come back.",
    ),
    ("mqtt_endpoint::sessions_not_written", "Changes of MQTT sessions could not be written; they are written again."),
    ("mqtt_endpoint::tls", "A TLS handshake failed: most often a certificate that is missing or not trusted."),
    (
        "mqtt_endpoint::will",
        "A will that its client had asked to hold back was published, because the client did not return in time.",
    ),
    (
        "mqtt_ingress::commands_topic",
        "A topic that devices publish to is the one on which they get commands. A device would send itself commands.",
    ),
    (
        "redis_writer::bad_history_size",
        "`history_size` is the most that the histories of all devices may take together, at least 1 MiB, such as `1GiB`.",
    ),
    ("retention", "What the log keeps no longer could not be removed now; it is tried again within the minute."),
    (
        "store_sweep",
        "Expired history, or what is more than `history_size`, could not be removed now; it is tried again.",
    ),
    (
        "torn_tail",
        "The last process was cut off while it wrote. The unfinished end of the journal, of which nothing had been \
         acknowledged, was cut off.",
    ),
];
