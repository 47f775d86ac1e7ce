//! What came out, as tables and as JSON.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
};

use serde::Serialize;

use super::{
    judge::Verdict,
    metrics::{Figures, Reliability},
    mistakes::Mistake,
};
use crate::bench::table::Table;

#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) seed: u64,
    pub(super) trials: Vec<Trial>,
}

/// One corpus, with or without the ids that clients send.
#[derive(Debug, Serialize)]
pub(super) struct Trial {
    #[serde(flatten)]
    pub(super) source: Source,
    pub(super) ids: bool,
    pub(super) not_understood: usize,
    /// The engine's first.
    pub(super) rows: Vec<Row>,
    /// Of the engine.
    pub(super) reliability: Vec<Reliability>,
    /// The engine's, by case and by kind of client.
    pub(super) cases: BTreeMap<String, Figures>,
    pub(super) clients: BTreeMap<String, Figures>,
    /// Of the engine, each with how often it was made.
    pub(super) mistakes: Vec<(Mistake, usize)>,
}

/// Where calls come from, and how many workflows were under way at once.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(tag = "source", rename_all = "snake_case")]
pub(super) enum Source {
    Generated {
        #[serde(rename = "workflows_at_once")]
        at_once: usize,
    },
    /// Recordings of real ones.
    Frameworks {
        #[serde(rename = "workflows_at_once")]
        at_once: usize,
    },
    /// One that the arguments name.
    Recording,
}

/// One who guessed.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    pub(super) name: &'static str,
    #[serde(flatten)]
    pub(super) figures: Figures,
}

impl Row {
    pub(super) fn new(name: &'static str, verdict: &Verdict) -> Self {
        Self { name, figures: Figures::of(verdict) }
    }
}

impl Report {
    /// The engine's figures by case and by kind of client, the worst first, and its mistakes.
    pub(super) fn cases(&self) -> String {
        let mut text = String::new();
        for trial in &self.trials {
            for (by, groups) in [("case", &trial.cases), ("client", &trial.clients)] {
                // Writing to a text can't fail.
                let _ = writeln!(text, "\n{}, by {by}\n\n{}", trial.title(), table(groups));
            }
            let _ = writeln!(text, "\n{}, mistakes\n\n{}", trial.title(), trial.mistakes());
        }
        text
    }
}

fn table(groups: &BTreeMap<String, Figures>) -> Table {
    let mut table = Table::new(&HEADER);
    let mut groups: Vec<(&String, &Figures)> = groups.iter().collect();
    groups.sort_by(|(_, one), (_, other)| {
        let key = |figures: &Figures| figures.exact_workflows.unwrap_or(1.0);
        key(one).total_cmp(&key(other))
    });
    for (group, figures) in groups {
        table.row(cells(group, figures));
    }
    table
}

impl Trial {
    fn title(&self) -> String {
        let ids = if self.ids { "ids as clients send them" } else { "ids of clients taken out" };
        let at_once = |at_once: usize| match at_once {
            1 => "1 workflow at a time".to_owned(),
            at_once => format!("{at_once} workflows at once"),
        };
        match self.source {
            Source::Recording => format!("The recording, {ids}"),
            Source::Generated { at_once: count } => format!("{}, {ids}", at_once(count)),
            Source::Frameworks { at_once: count } => {
                format!("Real frameworks, {}, {ids}", at_once(count))
            }
        }
    }

    fn mistakes(&self) -> Table {
        let mut table =
            Table::new(&["case", "put in another", "client", "parents", "said", "conf.", "times"]);
        for (mistake, count) in &self.mistakes {
            let confidence = mistake.confidence.map_or_else(|| "–".to_owned(), |it| it.to_string());
            table.row(vec![
                mistake.case.clone(),
                mistake.astray_in.clone().unwrap_or_default(),
                mistake.client.clone(),
                mistake.parents.to_string(),
                mistake.said.to_string(),
                confidence,
                count.to_string(),
            ]);
        }
        table
    }

    fn sure(&self) -> Table {
        let mut table = Table::new(&["confidence", "placements", "right", "share"]);
        for tenth in &self.reliability {
            table.row(vec![
                format!("{:.1}–{:.1}", tenth.from, tenth.to),
                tenth.placements.to_string(),
                tenth.right.to_string(),
                percent(tenth.share()),
            ]);
        }
        table
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for trial in &self.trials {
            let mut table = Table::new(&HEADER);
            for row in &trial.rows {
                table.row(cells(row.name, &row.figures));
            }
            let exchanges = trial.rows.first().map_or(0, |row| row.figures.exchanges);
            writeln!(f, "\n{} ({exchanges} exchanges)\n\n{table}", trial.title())?;
            write!(f, "{}", trial.sure())?;
            if trial.not_understood > 0 {
                writeln!(f, "\n  {} exchanges were not understood", trial.not_understood)?;
            }
        }
        Ok(())
    }
}

pub(super) const HEADER: [&str; 11] = [
    "",
    "workflows",
    "exact",
    "edges P",
    "edges R",
    "purity",
    "together",
    "kind F1",
    "retry F1",
    "of-step F1",
    "exchanges",
];

pub(super) fn cells(name: &str, figures: &Figures) -> Vec<String> {
    vec![
        name.to_owned(),
        figures.workflows.to_string(),
        percent(figures.exact_workflows),
        percent(figures.edge_precision),
        percent(figures.edge_recall),
        percent(figures.session_purity),
        percent(figures.session_completeness),
        percent(figures.kind_f1),
        percent(figures.retry_f1),
        percent(figures.retry_of_f1),
        figures.exchanges.to_string(),
    ]
}

fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "–".to_owned(), |share| format!("{:.1}", share * 100.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_percent_and_what_is_not_there_is_a_dash() {
        assert_eq!(percent(Some(0.1234)), "12.3");
        assert_eq!(percent(None), "–");
    }
}
