//! What is measured, in words.

use std::fmt;

use super::{
    CONNECTIONS, IDLE_STREAMS, PERIOD_MS, RATE, RATE_CONNECTIONS, SMALL, STREAMS, Scenario,
};
use crate::bench::{
    load::{Bodies, Channel},
    wire::Protocol,
};

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(protocol) => write!(
                f,
                "Latency at {RATE}/s over {RATE_CONNECTIONS} connections, {SMALL} bytes each way: \
                 {protocol}"
            ),
            Self::Saturate(protocol, channel, bodies) => {
                write!(
                    f,
                    "Throughput of {CONNECTIONS} {}, {bodies}: {protocol}",
                    channel.streams()
                )?;
                f.write_str(channel.suffix())
            }
            Self::Stream(channel) => write!(
                f,
                "Delay of SSE events, {STREAMS} streams with one every {PERIOD_MS} ms{}",
                channel.suffix()
            ),
            Self::Idle(channel) => write!(
                f,
                "Memory of {IDLE_STREAMS} open streams that say nothing{}",
                channel.suffix()
            ),
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Chat => "chat calls (observed)",
            Self::Archive => "HTTP of no known API (framed)",
            Self::Binary => "unknown binary protocol (opaque)",
        })
    }
}

impl fmt::Display for Bodies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(bytes) => write!(f, "{bytes} bytes each way"),
            Self::Fresh(answer) => write!(f, "new histories of 170 kB, {answer} bytes back"),
            Self::Growing(answer) => {
                write!(f, "histories growing from 170 to 240 kB, {answer} bytes back")
            }
        }
    }
}

impl Channel {
    const fn streams(self) -> &'static str {
        match self {
            Self::Plain | Self::Tls | Self::Closed => "connections",
            Self::Http2 => "connections with one stream",
            Self::Http2Shared => "streams on one connection",
        }
    }

    /// What a title says of it at its end.
    pub(in crate::bench) const fn suffix(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Tls => ", over TLS",
            Self::Closed => ", over TLS that nobody opens (opaque)",
            Self::Http2 | Self::Http2Shared => ", over TLS and HTTP/2",
        }
    }
}
