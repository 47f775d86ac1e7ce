//! What the two sides of a bridge are told of each other before anything else.

use ::h2::{client, server};

use crate::limits::{self, Limits};

/// What a server announced first, as far as a client acts on it (RFC 9113, section 6.5.2; RFC
/// 8441, section 3). What was not announced has its default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announced {
    pub max_concurrent_streams: Option<u32>,
    pub initial_window_size: u32,
    pub max_frame_size: u32,
    pub max_header_list_size: Option<u32>,
    pub enable_connect_protocol: bool,
}

impl Default for Announced {
    fn default() -> Self {
        Self {
            max_concurrent_streams: None,
            initial_window_size: DEFAULT_WINDOW,
            max_frame_size: MIN_FRAME_BYTES,
            max_header_list_size: None,
            enable_connect_protocol: false,
        }
    }
}

impl Announced {
    /// Takes one setting over. Unknown ones mean nothing (RFC 9113, section 6.5.2).
    pub(super) fn take(&mut self, id: u16, value: u32) {
        match id {
            0x3 => self.max_concurrent_streams = Some(value),
            0x4 => self.initial_window_size = value,
            0x5 => self.max_frame_size = value,
            0x6 => self.max_header_list_size = Some(value),
            0x8 => self.enable_connect_protocol = value == 1,
            _ => {}
        }
    }

    /// How to be this server to the client, within our own bounds.
    pub(super) fn mirrored(&self, limits: &Limits) -> server::Builder {
        let streams = self
            .max_concurrent_streams
            .map_or(limits.h2_streams, |announced| announced.min(limits.h2_streams));
        let head = self
            .max_header_list_size
            .map_or(limits.h2_head_bytes, |announced| announced.min(limits.h2_head_bytes));
        // A value outside the protocol's range is upstream's own error, which its side reports.
        let frame = self.max_frame_size.clamp(MIN_FRAME_BYTES, limits.h2_frame_bytes);
        let mut builder = server::Builder::new();
        builder
            .max_concurrent_streams(streams)
            .initial_window_size(self.initial_window_size.min(limits.h2_stream_window))
            .initial_connection_window_size(limits.h2_connection_window)
            .max_frame_size(frame)
            .max_header_list_size(head)
            .max_send_buffer_size(limits::H2_SEND_BUFFER)
            .max_pending_accept_reset_streams(limits::H2_EARLY_RESETS)
            .max_local_error_reset_streams(Some(limits::H2_STREAM_ERRORS))
            .max_concurrent_reset_streams(limits::H2_RESET_STREAMS);
        if self.enable_connect_protocol {
            builder.enable_connect_protocol();
        }
        builder
    }
}

/// How to be a client to upstream.
pub(super) fn ours(limits: &Limits) -> client::Builder {
    let mut builder = client::Builder::new();
    builder
        .enable_push(false)
        .initial_window_size(limits.h2_stream_window)
        .initial_connection_window_size(limits.h2_connection_window)
        .max_header_list_size(limits.h2_head_bytes)
        .max_send_buffer_size(limits::H2_SEND_BUFFER)
        .max_local_error_reset_streams(Some(limits::H2_STREAM_ERRORS))
        .max_concurrent_reset_streams(limits::H2_RESET_STREAMS);
    builder
}

/// RFC 9113, section 6.9.2.
const DEFAULT_WINDOW: u32 = 65_535;
/// RFC 9113, section 4.2: every endpoint takes frames of this size.
const MIN_FRAME_BYTES: u32 = 16_384;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_value_of_a_setting_counts_and_unknown_ones_do_not() {
        let mut announced = Announced::default();
        for (id, value) in [(3, 7), (0xabcd, 1), (3, 9), (8, 1), (8, 0), (6, 100)] {
            announced.take(id, value);
        }
        assert_eq!(
            announced,
            Announced {
                max_concurrent_streams: Some(9),
                max_header_list_size: Some(100),
                ..Announced::default()
            }
        );
    }

    #[test]
    fn values_that_the_protocol_forbids_do_not_panic() {
        let announced = Announced {
            max_concurrent_streams: Some(u32::MAX),
            initial_window_size: u32::MAX,
            max_frame_size: u32::MAX,
            max_header_list_size: Some(u32::MAX),
            enable_connect_protocol: true,
        };
        let _ = announced.mirrored(&Limits::default());
        let _ = Announced { max_frame_size: 0, ..announced }.mirrored(&Limits::default());
    }
}
