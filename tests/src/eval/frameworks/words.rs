//! What users ask and models say. There are so few subjects that some sessions are about the same, and
//! some of these in the same words.

use serde_json::{Value, json};

use crate::eval::generate::random::Random;

/// So many different wishes of one user, on one subject.
pub(super) fn wishes(random: &mut Random, count: usize) -> Vec<String> {
    let subject = *random.pick(SUBJECTS);
    // What is asked first, most often in the same words.
    let openings = if random.below(3) == 0 { &OPENINGS[..1] } else { OPENINGS };
    let opening = random.pick(openings).replace("{}", subject);
    let from = random.below(FOLLOW_UPS.len());
    let follow_ups = FOLLOW_UPS.iter().cycle().skip(from).take(count.saturating_sub(1));
    let follow_ups = follow_ups.map(|follow_up| follow_up.replace("{}", subject));
    [opening].into_iter().chain(follow_ups).collect()
}

/// So many different tasks for sub-agents.
pub(super) fn tasks(random: &mut Random, count: usize) -> Vec<String> {
    let subject = *random.pick(SUBJECTS);
    let from = random.below(TASKS.len());
    let tasks = TASKS.iter().cycle().skip(from).take(count);
    let mut put = |task: &str| {
        // Models seldom say the same in the same words.
        let manner = *random.pick(MANNERS);
        format!("{} {manner}", task.replace("{}", subject)).trim().to_owned()
    };
    tasks.map(|task| put(task)).collect()
}

/// What is said in the end.
pub(super) fn answer(random: &mut Random) -> String {
    let count = 2 + random.below(3);
    let sentence = |random: &mut Random| {
        let subject = *random.pick(SUBJECTS);
        random.pick(FINDINGS).replace("{}", subject)
    };
    (0..count).map(|_| sentence(random)).collect::<Vec<_>>().join(" ")
}

/// What a tool of this name is given; none if nobody knows.
pub(super) fn arguments(name: &str, random: &mut Random) -> Option<Value> {
    let subject = *random.pick(SUBJECTS);
    let number = random.below(40);
    let path = format!("{}/notes-{number}.md", subject.replace(' ', "-"));
    Some(match name {
        "search_documents" => json!({ "query": subject }),
        "read_document" => json!({ "path": path }),
        "calculate" => json!({ "expression": format!("({number} + 7) * 12") }),
        "Bash" => json!({ "command": format!("printf 'line %s\\n' {number} | wc -c"),
                          "description": "Count characters" }),
        "exec_command" => json!({ "cmd": format!("printf 'line %s\\n' {number} | wc -c") }),
        _ => return None,
    })
}

/// Beside tool calls.
pub(super) const ASIDE: &str = "Let me see.";

const OPENINGS: &[&str] = &[
    "What do we know about {}?",
    "Summarise what our documents say about {}.",
    "I need a short briefing on {} for tomorrow's meeting.",
    "Find out what has changed in {} since last year, and what it costs us.",
    "Please compare the two newest reports on {}.",
    "Which open questions are there about {}? List them with their sources.",
    "Draft a reply to the council about {}.",
];

const FOLLOW_UPS: &[&str] = &[
    "Thanks. Now say the same in two sentences.",
    "And what did we decide about {} in the end?",
    "Please check the figures once more.",
    "Who else should read this?",
];

const TASKS: &[&str] = &[
    "Find the most recent figures on {}.",
    "Who is responsible for {}, and since when?",
    "List what was published on {} in the last two years.",
    "Which risks are named in connection with {}?",
    "Check what the minutes say about {}.",
];

const MANNERS: &[&str] = &["", "", "Be brief.", "Name your sources.", "Give dates.", "Quote."];

const FINDINGS: &[&str] = &[
    "The notes on {} agree with each other.",
    "On {} there are three documents, of which the newest is from March.",
    "Nothing was decided about {} so far.",
    "The costs of {} are given twice, and differ by a tenth.",
    "Two sections about {} are still open.",
];

const SUBJECTS: &[&str] = &[
    "the harbour crane",
    "winter road salt",
    "the library roof",
    "tram line four",
    "school meals",
    "the river gauge",
    "street lighting",
    "the bicycle count",
    "waste collection",
    "the market licences",
    "the old waterworks",
    "flood insurance",
    "the town archive",
    "night buses",
    "playground safety",
    "the swimming pool",
    "parking fees",
    "the fire station",
    "tree planting",
    "the bridge inspection",
    "noise complaints",
    "the sister city",
    "heating subsidies",
    "the museum tickets",
    "broadband cables",
    "the cemetery wall",
    "ferry timetables",
    "allotment gardens",
    "the census forms",
    "drinking fountains",
    "snow clearing",
    "the concert hall",
    "dog licences",
    "the water tariff",
    "pavement repairs",
    "the youth centre",
];
