//! Every bound, in one place. Each is counted when it is hit.

/// Bytes of one HTTP/1 head (start line and fields). Larger: the connection becomes opaque.
pub const HEAD_BYTES: usize = 256 * 1024;
/// Header fields of one HTTP/1 head. More: the connection becomes opaque.
pub const HEAD_FIELDS: usize = 256;
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
/// Entries in each of lineage's indexes, per agent. The oldest makes room.
pub const LINEAGE_ENTRIES: usize = 65_536;
