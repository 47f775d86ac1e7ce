//! Every bound, in one place. Each is counted when it is hit.

/// Bytes of one HTTP/1 head (start line and fields). Larger: the connection becomes opaque.
pub const HEAD_BYTES: usize = 256 * 1024;
/// Header fields of one HTTP/1 head. More: the connection becomes opaque.
pub const HEAD_FIELDS: usize = 256;
/// Empty lines before a request line, which are skipped (RFC 9112, section 2.2). More: the
/// connection becomes opaque.
pub const EMPTY_LINES: usize = 8;
/// Bytes of the line that starts a chunk: its size and extensions. More: the connection becomes
/// opaque.
pub const CHUNK_LINE_BYTES: usize = 4096;
/// Requests that wait for their response on one connection. More: the connection becomes opaque.
pub const PIPELINED_REQUESTS: usize = 256;
/// Bytes of a request body that are kept to be understood. Larger: the call is not understood.
pub const OBSERVED_REQUEST_BYTES: usize = 32 * 1024 * 1024;
/// Bytes of a response body, or of one event of a stream, that are kept to be understood.
pub const OBSERVED_RESPONSE_BYTES: usize = 8 * 1024 * 1024;
/// Tool calls read from one answer; further ones are not followed.
pub const TOOL_CALLS_PER_ANSWER: usize = 1024;

/// Workflows remembered in each agent. The one idle for longest makes room.
pub const WORKFLOWS_PER_AGENT: usize = 4096;
/// Steps remembered in each workflow. Further steps count in the totals but are not kept.
pub const STEPS_PER_WORKFLOW: usize = 10_000;
/// Steps remembered in each agent, over all its workflows. The workflow idle for longest makes
/// room.
pub const STEPS_PER_AGENT: usize = 262_144;
/// Entries in each of lineage's indexes, per agent. The oldest makes room.
pub const LINEAGE_ENTRIES: usize = 65_536;
/// Steps that one entry of lineage's indexes leads to: those whose histories, or tool-call ids,
/// are equal. The oldest makes room.
pub const LINEAGE_CANDIDATES: usize = 256;
/// Choices of one answer that lineage follows; a history that goes on from another is not linked.
pub const CHOICES_PER_ANSWER: usize = 128;

/// Connections of one agent that the gateway carries at a time. More are reset.
pub const CONNECTIONS_PER_AGENT: usize = 8192;
/// Bytes read at once, in each thread. What can't be passed on at once waits in the connection, so
/// this bounds what one direction of a connection can hold.
pub const READ_BYTES: usize = 64 * 1024;
/// Bytes of a connection's beginning that are looked at to tell its protocol.
pub const SNIFFED_BYTES: usize = 32 * 1024;
/// Connections that wait to be accepted in each network namespace (the kernel bounds it further by
/// `net.core.somaxconn`).
pub const ACCEPT_BACKLOG: i32 = 4096;
/// A handed-over origin older than this belongs to a connection that never came.
pub const HANDOFF_AGE: std::time::Duration = std::time::Duration::from_mins(1);
