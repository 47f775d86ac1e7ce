//! What happens in workflows: a list of cases, each of which is one thing that agents do.

mod agents;
mod histories;
mod loops;
mod retries;
mod twins;

use super::{
    framework::{Framework, ToolIds},
    thread::Thread,
    wire::Wire,
    world::World,
};

/// A thing that agents do.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) name: &'static str,
    /// Which agents do it.
    pub(super) of: fn(&Framework) -> bool,
    /// Does it: from where the thread stands, until the thread's time.
    pub(super) run: fn(&mut World, &mut Thread),
}

const fn case(name: &'static str, run: fn(&mut World, &mut Thread)) -> Case {
    Case { name, of: whole, run }
}

const fn case_of(
    name: &'static str,
    of: fn(&Framework) -> bool,
    run: fn(&mut World, &mut Thread),
) -> Case {
    Case { name, of, run }
}

/// Those that send the whole conversation each time.
fn whole(framework: &Framework) -> bool {
    !chained(framework)
}

fn chained(framework: &Framework) -> bool {
    framework.wire == Wire::Responses { chained: true }
}

/// Those that may ask for several answers.
fn chat(framework: &Framework) -> bool {
    framework.wire == Wire::Chat && !framework.streams
}

fn unique(framework: &Framework) -> bool {
    whole(framework) && framework.tool_ids == ToolIds::Unique
}

fn not_unique(framework: &Framework) -> bool {
    framework.tool_ids != ToolIds::Unique
}

/// Every case. Common things are there several times over.
pub(super) const ALL: &[Case] = &[
    case("one answer", loops::one_answer),
    case("tool loop", loops::tool_loop),
    case("tool loop", loops::tool_loop),
    case("parallel tools", loops::parallel_tools),
    case("second wish", loops::second_wish),
    case("mcp tools", loops::mcp),
    case("mcp tools, equal arguments", loops::mcp_equal),
    case("fetched URLs", loops::fetch),
    case("fetched URLs, equal", loops::fetch_equal),
    case("text protocol", loops::text_protocol),
    case_of("n > 1", chat, loops::several_choices),
    case("skewed ends", loops::skewed),
    case("sub-agent", agents::one),
    case("sub-agent", agents::one),
    case("nested sub-agents", agents::nested),
    case("parallel sub-agents", agents::parallel),
    case("sub-agents with equal tasks", agents::equal_tasks),
    case("forked sub-agent", agents::forked),
    case("rewind", histories::rewind),
    case("fork", histories::fork),
    case_of("edited results, unique ids", unique, histories::edited_results),
    case_of("edited results, no unique ids", not_unique, histories::edited_results),
    case("edited answer", histories::edited_answer),
    case("trimmed history", histories::trimmed),
    case("interrupted, then said more", histories::interrupted),
    case("compaction", histories::compaction),
    case("title", histories::title),
    case("classifier after the answer", histories::classifier),
    case("probe", histories::probe),
    case("prewarm", histories::prewarm),
    case("retry: rate_limit", retries::rate_limit),
    case("retry: overloaded", retries::overloaded),
    case("retry: timeout, told", retries::timeout_told),
    case("retry: timeout, client gives up", retries::timeout),
    case("retry: conn_reset", retries::conn_reset),
    case("retry: stream_truncated", retries::truncated),
    case("retry: client_abort", retries::aborted),
    case("retry: auth", retries::auth),
    case("retry: fallback_model", retries::fallback),
    case("retry: content_invalid", retries::invalid),
    case("retry: several, first call", retries::several),
    case("same question at once", twins::at_once),
    case("same question at once, all equal", twins::all_equal),
    case("same question at once, one fails", twins::one_fails),
    case("same question, two agents", twins::two_agents),
    case("same question again, later", twins::later),
    case("best of two", twins::best_of_two),
    case_of("by response id: tool loop", chained, loops::parallel_tools),
    case_of("by response id: second wish", chained, loops::second_wish),
    case_of("by response id: sub-agent", chained, agents::one),
    case_of("by response id: fork", chained, histories::fork),
    case_of("by response id: retry", chained, retries::rate_limit),
    case_of("by response id: compaction", chained, histories::compaction),
    case("lost: first call", loops::lost_first),
    case("lost: middle call", loops::lost_middle),
];
