//! Every bound, in one place. Each is counted when it is hit.

mod bounds;

pub use bounds::{Bound, Bounds, Limits, Unit};

/// Bytes of one HTTP/1 head (start line and fields). Larger: the connection becomes opaque.
pub const HEAD_BYTES: usize = 256 * 1024;
/// Header fields of one HTTP/1 head. More: the connection becomes opaque.
pub const HEAD_FIELDS: usize = 256;
/// How long the head of an HTTP/1 request may take, from its first byte. Longer: it is answered with
/// 408 (Request Timeout) in enforce, and only counted in audit.
pub const HEAD_TIME: std::time::Duration = std::time::Duration::from_secs(30);
/// How long a client that was refused may take to read the answer and to end. Longer: it is reset.
pub const FAREWELL_TIME: std::time::Duration = std::time::Duration::from_secs(5);
/// Bytes that it may still send meanwhile. More: it is reset.
pub const FAREWELL_BYTES: usize = 16 * 1024 * 1024;
/// How deep tunnels through HTTP proxies are looked into, one in another. Deeper: the connection
/// becomes opaque.
pub const TUNNELS: usize = 4;
/// Empty lines before a request line, which are skipped (RFC 9112, section 2.2). More: the
/// connection becomes opaque.
pub const EMPTY_LINES: usize = 8;
/// Bytes of the line that starts a chunk: its size and extensions. More: the connection becomes
/// opaque.
pub const CHUNK_LINE_BYTES: usize = 4096;
/// Bytes of one chunk. Larger: the connection becomes opaque.
pub const CHUNK_BYTES: u64 = u32::MAX as u64;
/// Requests that wait for their response on one connection. More: the connection becomes opaque.
pub const PIPELINED_REQUESTS: usize = 256;
/// Bytes of one WebSocket message, uncompressed, that are kept to be understood. A larger one is
/// only counted.
pub const WS_MESSAGE_BYTES: usize = 16 * 1024 * 1024;
/// How many times as large the compressed messages of one direction may become, together, beyond
/// one message's worth. More: the connection becomes opaque.
pub const WS_INFLATE_RATIO: u64 = 64;
/// Bytes of a request body that are kept to be understood. Larger: the call is not understood.
pub const OBSERVED_REQUEST_BYTES: usize = 32 * 1024 * 1024;
/// Bytes of requests that are held until it is decided on them, of all agents. No agent has more than
/// are left of them for all; what finds no room counts as too large to be read.
pub const HELD_BYTES: usize = 512 * 1024 * 1024;
/// Calls of one agent that can be cut one by one. More end only with their connections.
pub const CALLS_UNDER_WAY_PER_AGENT: usize = 65_536;
/// Streams of one agent for the answers to what it posts elsewhere (MCP's HTTP+SSE transport) in which
/// the gateway can answer too. In more it does not: what is refused is answered where it was posted.
pub const LISTENING_STREAMS_PER_AGENT: usize = 1024;
/// Refusals that wait to be said in one of them. More are answered where they were posted.
pub const REFUSALS_PER_STREAM: usize = 32;
/// Servers of one agent that are remembered because they do not take a request that asks for a
/// stream's usage. The oldest makes room, and is asked again.
pub const SHY_HOSTS_PER_AGENT: usize = 256;
/// Bytes that an event of our own may have to be filled up with to end a chunk of the server's. More:
/// the connection is reset.
pub const FILLED_BYTES: usize = 64 * 1024;
/// How long connections may take for their last words when the gateway has to end.
pub const LAST_WORDS: std::time::Duration = std::time::Duration::from_secs(1);
/// Bytes of a response body, or of one event of a stream, that are kept to be understood.
pub const OBSERVED_RESPONSE_BYTES: usize = 8 * 1024 * 1024;
/// Content codings of one body, one on top of the other, that are undone. More: the body is not
/// understood.
pub const CONTENT_CODINGS: usize = 3;
/// How many times as large a body may become with each of its content codings that is undone, beyond
/// the bytes that may be kept of it. More: it is not understood.
pub const DECODED_RATIO: u64 = 64;
/// The window of a body in `zstd`, as a power of two, in bytes: what RFC 9659 allows. Larger: the body
/// is not understood. The other codings' windows are bounded by their formats, at 16 MiB or less.
pub const ZSTD_WINDOW_LOG: u32 = 23;
/// Bytes of a response that is an error that are kept to read the error's name. Larger: it has none.
pub const ERROR_BODY_BYTES: usize = 64 * 1024;
/// Bytes of an event's name that are kept, where names matter.
pub const EVENT_NAME_BYTES: usize = 32;
/// Bytes of a request body that are kept to see whether it is JSON-RPC. A larger one is other
/// traffic, unless its head says that it is MCP: then the call is not understood.
pub const RPC_REQUEST_BYTES: usize = 8 * 1024 * 1024;
/// Messages of one JSON-RPC batch. More: it is not understood.
pub const RPC_BATCH: usize = 1024;
/// Bytes of a JSON-RPC id that are kept to be shown; longer ones only tell calls apart.
pub const RPC_ID_BYTES: usize = 256;
/// Bytes of a response's id that are kept so that it can be cancelled; one with a longer id is not.
pub const RESPONSE_ID_BYTES: usize = 256;
/// Bytes of a request's head that are kept so that upstream can be asked to end its calls. Larger: it
/// is not asked.
pub const COUNTERMAND_HEAD_BYTES: usize = 16 * 1024;
/// Calls of one agent of which that is kept. Of more it is not.
pub const COUNTERMANDS_KEPT_PER_AGENT: usize = 1024;
/// How long it is kept of a call whose own exchange has ended. Providers keep what they made in the
/// background for ten minutes.
pub const COUNTERMAND_AGE: std::time::Duration = std::time::Duration::from_hours(1);
/// Requests of the gateway's own that are under way at once because an agent's calls are to end. More
/// wait for their turn.
pub const COUNTERMANDS_AT_ONCE_PER_AGENT: usize = 64;
/// How long such a request may take, waiting and dialling included. Longer: it has failed.
pub const COUNTERMAND_TIME: std::time::Duration = std::time::Duration::from_secs(3);
/// Answers of one agent that are awaited or kept for the case that their clients, which have left, ask the
/// same again. The oldest makes room.
pub const REPLAYS_PER_AGENT: usize = 16;
/// Bytes of such an answer, its head included. A larger one is not kept.
pub const REPLAY_BYTES: usize = 4 * 1024 * 1024;
/// How long one is read, and kept, since its client has left. As long as a call counts as made again.
pub const REPLAY_TIME: std::time::Duration = std::time::Duration::from_mins(10);
/// Kinds of other traffic that are listed of each agent: a host, a method, a path. Others are
/// counted together.
pub const OTHER_LINES_PER_AGENT: usize = 256;
/// Bytes of a path that is listed so; longer ones are cut.
pub const OTHER_PATH_BYTES: usize = 128;
/// Segments of it; further ones are left out.
pub const OTHER_PATH_SEGMENTS: usize = 12;
/// Bytes of a host or a method that is listed so (RFC 1035, section 2.3.4, gives names 255); longer
/// ones are cut.
pub const OTHER_NAME_BYTES: usize = 255;
/// Bytes of a body's told length that room is made for before they come.
pub const RESERVED_BYTES: usize = 1024 * 1024;
/// Beginnings of conversations that are remembered in each agent, so that what follows them can be
/// read alone. The oldest makes room; a conversation whose beginning is forgotten is read whole.
pub const BEGINNINGS_PER_AGENT: usize = 256;
/// Messages in all of them.
pub const BEGINNING_MESSAGES_PER_AGENT: usize = 32 * 1024;
/// Bytes of a block by which beginnings are found; shorter ones are not remembered.
pub const BEGINNING_BLOCK_BYTES: usize = 4096;
/// Header fields of a request that are kept because they name its session or task.
pub const SIGNALS_PER_CALL: usize = 16;
/// Bytes of one of them; longer ones are not kept.
pub const SIGNAL_BYTES: usize = 4096;
/// Keys of a body's metadata that are looked at for such ids; further ones are not.
pub const METADATA_KEYS: usize = 64;
/// Bytes of the wish that are kept; what is longer is cut, at a character's end.
pub const WISH_BYTES: usize = 16 * 1024;
/// Bytes of what a user says last that are looked at; what is longer is cut, at a character's end.
pub const LATEST_BYTES: usize = PASSAGE_BYTES;
/// Bytes of the least text that is followed from where it came out to where it goes in.
pub const VALUE_LEAST_BYTES: usize = 12;
/// Bytes of such a text by which it is known; what follows them does not count.
pub const VALUE_BYTES: usize = 192;
/// Such texts in one tool call, or in what one answer says; further ones are not followed.
pub const VALUES_PER_CALL: usize = 8;
/// Bytes of a text, half of them from each end, in which they are looked for.
pub const PASSAGE_BYTES: usize = 8 * 1024;
/// Messages read from one request's history. More: the call is not understood.
pub const MESSAGES_PER_PROMPT: usize = 65_536;
/// Parts read from one message's content. More: the call is not understood.
pub const PARTS_PER_MESSAGE: usize = 4096;
/// Tool calls read from one answer; further ones are not followed.
pub const TOOL_CALLS_PER_ANSWER: usize = 1024;
/// Output items of one streamed answer that are followed; further ones are not.
pub const OUTPUT_ITEMS_PER_ANSWER: usize = 4096;
/// Calls on one WebSocket that wait for their answers. More are not understood.
pub const CALLS_PER_SOCKET: usize = 256;
/// Bytes of a lane's name on a WebSocket that are kept to tell the client of it. Of one with a longer
/// name it is told without.
pub const LANE_NAME_BYTES: usize = 256;
/// What the user said on a WebSocket into a running answer, and the server has not taken up yet.
/// The oldest makes room.
pub const STEERS_PER_SOCKET: usize = 16;
/// Answers of an agent that are made while nobody waits for them, and are told apart by their ids.
/// The oldest makes room.
pub const BACKGROUND_ANSWERS_PER_AGENT: usize = 1024;
/// Calls of an agent whose answers may come in any exchange: those of tools, and those of models
/// whose own exchange has ended. The oldest makes room, and has no answer.
pub const WAITING_CALLS_PER_AGENT: usize = 4096;

/// Workflows remembered in each agent. The one idle for longest makes room.
pub const WORKFLOWS_PER_AGENT: usize = 4096;
/// Steps remembered in each workflow. Further steps count in the totals but are not kept.
pub const STEPS_PER_WORKFLOW: usize = 10_000;
/// Steps remembered in each agent, over all its workflows. The workflow idle for longest makes
/// room.
pub const STEPS_PER_AGENT: usize = 262_144;
/// Corrections of a step that are kept; what it was last said to be is there in any case.
pub const CORRECTIONS_PER_STEP: usize = 8;
/// Workflows of an agent that are remembered to be a part of another one. The oldest makes room: what
/// ends in it later is counted as late.
pub const MERGED_WORKFLOWS_PER_AGENT: usize = 1024;
/// Sessions that tool servers keep for an agent, of which it is remembered whose they are. The oldest
/// makes room.
pub const SERVER_SESSIONS_PER_AGENT: usize = 4096;
/// Kinds of agents, by their instructions and tools, that are remembered in each agent. The oldest makes
/// room.
pub const AGENT_KINDS: usize = 256;
/// Kinds of calls of an agent whose clients were seen to count their retries. The oldest makes room.
pub const COUNTING_CLIENTS_PER_AGENT: usize = 64;
/// Entries in each of lineage's indexes, per agent. The oldest makes room.
pub const LINEAGE_ENTRIES: usize = 65_536;
/// Steps that one entry of lineage's indexes leads to: those whose histories, or tool-call ids,
/// are equal. The oldest makes room.
pub const LINEAGE_CANDIDATES: usize = 256;
/// Sessions of an agent that are known by ids that clients sent. The oldest makes room.
pub const NAMED_SESSIONS_PER_AGENT: usize = 16_384;
/// Processes of an agent that lineage knows of. One that has ended makes room, else the oldest; calls
/// of what it started may then not be traced back to a tool call.
pub const PROCESSES_PER_AGENT: usize = 4096;
/// Command lines that are remembered of each, the last ones.
pub const COMMANDS_PER_PROCESS: usize = 4;
/// Tool calls of an agent that processes are compared with. The oldest makes room.
pub const COMMANDED_CALLS_PER_AGENT: usize = 256;
/// Command lines that are read from the arguments of one tool call; further ones are not.
pub const COMMANDS_PER_TOOL_CALL: usize = 4;
/// Tool calls of an agent that name URLs and have no result yet, whose requests are waited for. The
/// oldest makes room.
pub const FETCHING_CALLS_PER_AGENT: usize = 256;
/// URLs that are read from the arguments of one tool call; further ones are not.
pub const URLS_PER_TOOL_CALL: usize = 8;
/// Bytes of a URL's host, path and query; longer ones are not followed.
pub const URL_BYTES: usize = 4096;
/// Words of a command line that are compared.
pub const COMMAND_WORDS: usize = 64;
/// How far back a process's parents are followed.
pub const PROCESS_ANCESTORS: usize = 64;
/// What processes did that is taken note of at a time, before whoever does it looks after something
/// else.
pub const PROCESS_EVENTS_AT_ONCE: usize = 1024;
/// Choices of one answer that lineage follows; a history that goes on from another is not linked.
pub const CHOICES_PER_ANSWER: usize = 128;

/// Bytes of a call's input that are kept until it ends, to count its tokens if nobody reports them.
/// What is longer is counted by its size.
pub const SAMPLED_INPUT_BYTES: usize = 4096;
/// Bytes of its output that are, likewise.
pub const SAMPLED_OUTPUT_BYTES: usize = 2048;
/// Calls that wait to have their tokens counted. The tokens of further ones are told by their size.
pub const ESTIMATES: usize = 1024;
/// Models whose estimates are compared with what is reported. Those of others are taken as they are.
pub const CALIBRATED_MODELS: usize = 256;
/// Calls of a model with which its estimates are compared first.
pub const CALIBRATING_CALLS: u64 = 16;
/// Of how many calls after those one is.
pub const CALIBRATING_EVERY: u64 = 64;
/// How long a tokenizer is kept that nobody needs.
pub const TOKENIZER_IDLE: std::time::Duration = std::time::Duration::from_mins(5);
/// How long whoever asks waits for estimates that are under way.
pub const ESTIMATE_TIME: std::time::Duration = std::time::Duration::from_secs(5);

/// Names that each thread shares between its steps. Others are kept once for each step.
pub const SHARED_NAMES: usize = 64;
/// Bytes of a name that is shared.
pub const SHARED_NAME_BYTES: usize = 128;

/// Connections of one agent that the gateway carries at a time. More are reset.
pub const CONNECTIONS_PER_AGENT: usize = 8192;
/// Connections of all agents that the gateway carries at a time. No agent has more than are left of
/// them for all; more are reset. Each takes two descriptors, and up to four more in bulk.
pub const CONNECTIONS: usize = 32_768;
/// Egress rules that can be configured.
pub const EGRESS_RULES: usize = 1024;
/// Port ranges of egress rules for UDP that one agent can have: the kernel's table has room for as
/// many, and for as many resolvers.
pub const UDP_RANGES: usize = gateway_common::DIRECT_RULES / 2;
/// Destinations to which an agent was refused that are remembered; connections to others are only
/// counted.
pub const EGRESS_REFUSALS_PER_AGENT: usize = 64;
/// Bytes read at once, in each thread. What can't be passed on at once waits in the connection, so
/// this bounds what one direction of a connection can hold.
pub const READ_BYTES: usize = 64 * 1024;
/// Reads that one direction of a connection does before others have their turn.
pub const READS_PER_TURN: usize = 16;
/// Reads of what a broken connection left. The kernel holds less than that for one socket, unless
/// `net.ipv4.tcp_rmem` allows more.
pub const READS_OF_REST: usize = 1024;
/// How long a new connection may take to be dialled and to carry its first byte before it counts as
/// idle, when the gateway ends.
pub const FIRST_WORD: std::time::Duration = std::time::Duration::from_secs(1);
/// Bytes of a connection's beginning that are looked at to tell its protocol.
pub const SNIFFED_BYTES: usize = 32 * 1024;
/// Bytes of a connection's beginning that are held back while they may be a TLS `ClientHello` that
/// has to be read before it is passed on. More: it is taken for one that can't be read.
pub const HELLO_BYTES: usize = 64 * 1024;
/// How long what is held back may take to be whole, from its first byte on; and how long a client may
/// take to begin HTTP/2 with a server that already has.
pub const HELLO_TIME: std::time::Duration = std::time::Duration::from_secs(10);
/// Protocols of a client's ALPN list that are read; further ones are not.
pub const HELLO_PROTOCOLS: usize = 64;
/// How long a TLS handshake may take, with upstream and then with the client. Longer: the connection
/// is reset.
pub const TLS_HANDSHAKE_TIME: std::time::Duration = std::time::Duration::from_secs(30);
/// Hosts of which each agent's TLS sessions with them are remembered, and what stands against
/// decrypting them. The oldest makes room.
pub const TLS_HOSTS_PER_AGENT: usize = 1024;
/// How long a host is remembered as one that can't be decrypted.
pub const TLS_UNFIT_AGE: std::time::Duration = std::time::Duration::from_mins(10);
/// Servers that each agent's TLS clients are shown: a host, its protocol, its version. The oldest
/// makes room; its clients begin new sessions.
pub const TLS_GUISES_PER_AGENT: usize = 1024;
/// Programs of each agent, and hosts, that are remembered because they did not trust us. The oldest
/// makes room.
pub const DISTRUSTS_PER_AGENT: usize = 256;
/// How long they are, from the last time on. After that they are asked again.
pub const DISTRUST_AGE: std::time::Duration = std::time::Duration::from_hours(1);
/// The same, of those that left without a word: they may have had another reason.
pub const LEAVING_AGE: std::time::Duration = std::time::Duration::from_mins(10);
/// A client that says nothing after its handshake, and leaves within so much time, did not trust us:
/// some look at certificates only then.
pub const SILENT_LEAVE: std::time::Duration = std::time::Duration::from_secs(1);
/// Connections that wait to be accepted in each network namespace (the kernel bounds it further by
/// `net.core.somaxconn`).
pub const ACCEPT_BACKLOG: i32 = 4096;
/// Names that are remembered of each agent's TLS connections; connections to others are only
/// counted.
pub const TLS_NAMES_PER_AGENT: usize = 256;
/// A handed-over origin older than this belongs to a connection that never came.
pub const HANDOFF_AGE: std::time::Duration = std::time::Duration::from_mins(1);

/// Connections to the control socket that are served at a time. More wait.
pub const CONTROL_CONNECTIONS: usize = 64;
/// Connections to the control socket from agents' own processes that are told so at a time. More
/// are closed.
pub const CONTROL_REFUSALS: usize = 8;
/// Bytes of a request to the control socket: a path and a few words.
pub const CONTROL_REQUEST_BYTES: usize = 64 * 1024;
/// How long a request to the control socket may take to arrive, and a connection to it sit idle.
pub const CONTROL_REQUEST_TIME: std::time::Duration = std::time::Duration::from_secs(10);
/// Bytes of one document that a command takes from the control socket.
pub const CONTROL_ANSWER_BYTES: usize = 256 * 1024 * 1024;

/// Network namespaces of one agent that the gateway listens in. Connects from more find no
/// listener, and are counted as that.
pub const NAMESPACES_PER_AGENT: usize = 64;
/// Cgroups in one agent whose sockets can be looked for. More: it is refused where its sockets must
/// be destroyed, and its older sockets are not counted elsewhere.
pub const CGROUPS_PER_AGENT: usize = 16_384;
/// Sockets that are listed at a time, in each network namespace of an agent. More are not counted;
/// those that are to be destroyed are listed again.
pub const SOCKETS_LISTED: usize = 65_536;
/// How often an agent's sockets are listed and destroyed before it counts as done: by then those
/// that are found are newer than the hooks.
pub const DESTROY_ROUNDS: usize = 32;
/// How often each redirect that works is tested with a connect of our own.
pub const SELF_TEST_PERIOD: std::time::Duration = std::time::Duration::from_secs(30);
/// How often one that does not work is.
pub const SELF_TEST_RETRY: std::time::Duration = std::time::Duration::from_secs(5);
/// How long a self-test may take.
pub const SELF_TEST_TIME: std::time::Duration = std::time::Duration::from_secs(5);
/// How long a gateway waits for another of the same runtime directory to finish a change.
pub const RUNTIME_LOCK: std::time::Duration = std::time::Duration::from_secs(10);

/// Bytes that a pipe between two opaque streams holds.
pub const SPLICED_BYTES: usize = 256 * 1024;
/// Pipes that each thread keeps for the next opaque stream that needs one. More are closed.
pub const POOLED_PIPES: usize = 64;

/// How long a container runtime may take to say which container has a name. Later: it counts as
/// one that knows none.
pub const RUNTIME_ANSWER_TIME: std::time::Duration = std::time::Duration::from_secs(10);
/// Bytes of its answer, or of one of its files, that are read.
pub const RUNTIME_ANSWER_BYTES: u64 = 16 * 1024 * 1024;

/// Cgroups in which new ones are noticed as they are made. In more, and below those, agents are not
/// attached by rule.
pub const WATCHED_CGROUPS: usize = 16_384;
/// Cgroups of which it is found out at a time whether a rule matches. More wait.
pub const PENDING_LOOKUPS: usize = 64;
/// How long a container may take to be made, and its runtime to tell who it is, before what is not
/// known is taken for absent.
pub const LOOKUP_TIME: std::time::Duration = std::time::Duration::from_secs(10);
/// How often all cgroups are looked through for what was missed.
pub const RESCAN_PERIOD: std::time::Duration = std::time::Duration::from_secs(10);
/// Agents that are attached by rule. More are not attached.
pub const AGENTS_BY_RULE: usize = 1024;
/// Containers that no rule matches, of which `turnpike doctor` is told the names. More are only
/// counted.
pub const UNATTACHED_NAMES: usize = 64;

/// Streams that one HTTP/2 client may have open at a time, if its server allows as many. More are
/// refused, unprocessed.
pub const H2_STREAMS: u32 = 256;
/// Bytes that may be under way on one stream before they were passed on, in each direction; a
/// server that grants its client less is asked for no more.
pub const H2_STREAM_WINDOW: u32 = 1024 * 1024;
/// Bytes that may be under way on all streams of a connection, in each direction. Only this many
/// streams' worth of full windows (16) can hold up the others.
pub const H2_CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;
/// Bytes of one stream that wait to be written, in each direction.
pub const H2_SEND_BUFFER: usize = 64 * 1024;
/// Bytes of one HTTP/2 frame that is taken from a client, if its server takes as large ones.
pub const H2_FRAME_BYTES: u32 = 64 * 1024;
/// Bytes of an HTTP/2 head, counted as RFC 9113, section 6.5.2 does. A larger request is answered
/// with 431, a larger response is reset; from four times as much on, the connection ends.
pub const H2_HEAD_BYTES: u32 = 256 * 1024;
/// Streams that a client opened and reset before they could be looked at. More: the connection
/// ends (rapid reset).
pub const H2_EARLY_RESETS: usize = 32;
/// Streams on which a peer broke the protocol, over a connection's life. More: the connection ends.
pub const H2_STREAM_ERRORS: usize = 1024;
/// Streams that were reset and whose late frames are still ignored.
pub const H2_RESET_STREAMS: usize = 256;
/// How long both sides may take to begin HTTP/2. Later: the connection ends.
pub const H2_OPENING_TIME: std::time::Duration = std::time::Duration::from_secs(30);
/// Bytes of a container's `/etc/resolv.conf` that are read.
pub const RESOLV_CONF_BYTES: u64 = 64 * 1024;
/// How long reading it may take. Later: the agent has no resolvers.
pub const RESOLV_CONF_TIME: std::time::Duration = std::time::Duration::from_secs(2);

/// Names of addresses that are remembered for each agent, as its DNS answers had them. The oldest
/// makes room.
pub const NAMES_PER_AGENT: usize = 4096;
/// Names that are remembered for one address. The oldest makes room.
pub const NAMES_PER_ADDRESS: usize = 16;
/// Addresses that are read from one DNS answer; further ones are not remembered.
pub const ADDRESSES_PER_ANSWER: usize = 64;
/// How long a name is remembered at least: clients go on with an address for a while after its time
/// to live.
pub const NAME_AGE_MIN: std::time::Duration = std::time::Duration::from_mins(2);
/// How long a name is remembered at most, whatever its time to live.
pub const NAME_AGE_MAX: std::time::Duration = std::time::Duration::from_hours(1);

/// Leaves that are kept once they are signed. The oldest makes room, and is signed again when it is
/// wanted.
pub const LEAVES: usize = 4096;
/// Replaced authorities that are still trusted, if they were replaced within a leaf's lifetime. The
/// oldest makes room.
pub const RETIRED_AUTHORITIES: usize = 4;

/// Bytes of one file of certificates. A larger one is not added to, and that is noted. Distributions'
/// have a quarter of that.
pub const BUNDLE_BYTES: u64 = 1024 * 1024;
/// Files of certificates that are added to, in each mount namespace of an agent. More are noted.
pub const BUNDLES_PER_NAMESPACE: usize = 64;
/// Mount namespaces of one agent whose files are added to. More are noted. With the bounds above, this
/// is what an agent can make the gateway keep in memory for it.
pub const MOUNT_NAMESPACES_PER_AGENT: usize = 16;
/// Directories that are looked into for libraries' certificates, in each root of an agent.
pub const TRUST_DIRECTORIES: usize = 4096;
/// Names that are read of one of them.
pub const TRUST_NAMES: usize = 4096;
/// Processes of an agent that are looked at at a time, to find the certificates that they use. Others
/// have their turn later.
pub const TRUST_PROCESSES: usize = 256;
/// Bytes of a process's environment, command line or list of mappings that are read.
pub const TRUST_PROCESS_BYTES: u64 = 1024 * 1024;
/// How long looking for an agent's certificates, and adding to them, may take. Later: it is noted,
/// and tried again.
pub const TRUST_TIME: std::time::Duration = std::time::Duration::from_secs(3);

/// Holders of a budget that a list shows. More are only counted.
pub const HOLDERS_SHOWN: usize = 10_000;
/// Resets of budgets that are remembered. The oldest makes room.
pub const BUDGET_RESETS: usize = 256;
/// Kills in force. None makes room for another: over that, no further one is taken.
pub const KILLS: usize = 4096;
/// Steps that remain of a workflow or a session that is killed or stopped, the last ones: what goes on from
/// one of those is recognised whatever happened to the gateway. What goes on from an earlier one alone is
/// not.
pub const REMAINING_STEPS: usize = 64;
/// Ids by which clients name a session that remain of it.
pub const REMAINING_NAMES: usize = 16;
/// Steps that remain of all of them. When there are as many, those that a budget has stopped make room, the
/// one that was still for longest first; nobody who is killed does, and of further ones less remains.
pub const REMAINING_STEPS_OF_ALL: usize = 65_536;
/// Bytes of a file of such remains. A longer one was not written by a gateway.
pub const REMAINS_BYTES: u64 = 16 * 1024 * 1024;
/// How often it is looked whether a client is still there that has ended what it says, and waits for the
/// answer to a call.
pub const CLIENT_LOOK: std::time::Duration = std::time::Duration::from_millis(100);
/// Of the reason for a kill.
pub const REASON_BYTES: usize = 500;
/// How long a kill waits for silence at most, whatever is asked for.
pub const KILL_WAIT: std::time::Duration = std::time::Duration::from_mins(5);
/// How long those have that are killed to read their last words, before their sockets are destroyed.
pub const KILL_WORDS: std::time::Duration = std::time::Duration::from_millis(100);
/// Calls of one exchange, or of a WebSocket, of which it is known where they belong, so that it ends with
/// them. The oldest makes room.
pub const CALLS_PER_CUT: usize = 64;
/// Steps of an agent of which it is remembered what they held or spent, in case they turn out to be
/// another workflow's. The oldest makes room, and stays where it was paid for.
pub const PAID_STEPS_PER_AGENT: usize = 16_384;
/// Accounts of budgets' holders that are kept. When there are as many, those of workflows and sessions
/// make room that were not used for long; where none were, calls of further holders are refused.
pub const LEDGER_ACCOUNTS: usize = 131_072;
/// How long a workflow's or a session's account is kept at least after its last call. One for which
/// something is held, or that is stopped, is kept for ever; but when a gateway begins, those of which nothing
/// remains that a call could be recognised by go after as long.
pub const LEDGER_AGE: std::time::Duration = std::time::Duration::from_hours(25);
/// How far the clock of an earlier gateway may have been ahead. As long as it was no further, this one waits
/// until it is as late; else it takes what was spent then to be spent now.
pub const LEDGER_AHEAD: std::time::Duration = std::time::Duration::from_hours(1);
/// How long it is not looked again for accounts that could make room.
pub const LEDGER_PAUSE: std::time::Duration = std::time::Duration::from_secs(1);
/// Events of a ledger that wait to be taken. More are counted.
pub const LEDGER_EVENTS: usize = 4096;
/// Different calls of one holder of which it is known how often they were made. The one that was not
/// made for longest makes room.
pub const LEDGER_REPEATS: usize = 64;
/// Tokens of an answer below which it is better to refuse a call than to let it be cut.
pub const USEFUL_OUTPUT: u64 = 16;
/// Parts that a rolling window is divided into.
pub const WINDOW_PARTS: u64 = 60;

/// How long an account is kept of which the budget is gone, from when it was last used.
pub const LEDGER_ASIDE_AGE: std::time::Duration = std::time::Duration::from_hours(30 * 24);
/// Bytes of records that wait to be written with the next reservation, or by the next tick of the
/// ledger's clock, 100 ms later at the most. More are written at once.
pub const JOURNAL_BUFFER: usize = 64 * 1024;
/// Bytes of a journal from which on the next one is begun, and this one is gone through.
pub const JOURNAL_BYTES: u64 = 16 * 1024 * 1024;
/// Bytes of a journal that is read. A longer one was not written by a gateway.
pub const JOURNAL_READ_BYTES: u64 = 1024 * 1024 * 1024;
/// How long what was written to a journal may take to be on the disk: what a power cut can lose.
pub const JOURNAL_SYNC: std::time::Duration = std::time::Duration::from_secs(1);
/// How long it is waited before it is tried again to write a journal that could not be written.
pub const JOURNAL_RETRY: std::time::Duration = std::time::Duration::from_secs(1);
