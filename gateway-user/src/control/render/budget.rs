//! Budgets, and what is spent of them.

use std::io::{self, Write};

use super::{
    Color, Screen, number,
    table::{Align, Cell, Column, Table},
};
use crate::{
    control::{
        budget::{Amount, BudgetInfo, HolderInfo, LimitInfo, Reset, SpendingInfo},
        text,
    },
    ledger::{Holder, OnExceed},
};

/// What is spent of each budget: a line for each limit that adds up, of each holder that is told of.
pub fn budgets(out: &mut dyn Write, screen: &Screen, budgets: &[BudgetInfo]) -> io::Result<()> {
    if budgets.is_empty() {
        return writeln!(out, "no budgets; add a [[budget]] to the configuration");
    }
    let left = |title| Column { title, align: Align::Left, flexible: false };
    let right = |title| Column { title, align: Align::Right, flexible: false };
    let mut table = Table::new(&[
        Column { title: "BUDGET", align: Align::Left, flexible: true },
        Column { title: "HOLDER", align: Align::Left, flexible: true },
        left("LIMIT"),
        right("SPENT"),
        right("HELD"),
        right("OF"),
        right("%"),
        left("STATE"),
    ]);
    for budget in budgets {
        if budget.holders.is_empty() {
            for limit in &budget.limits {
                table.row(unspent(budget, limit));
            }
        }
        for holder in &budget.holders {
            rows(&mut table, screen, budget, holder);
        }
        let more = budget.holders_total.saturating_sub(budget.holders.len());
        if more > 0 {
            let text = format!("and {more} more; --limit shows them");
            table.note(Cell::default().and(&text, Color::Faint));
        }
    }
    table.write(out, screen)
}

/// One budget with its terms.
pub fn budget(out: &mut dyn Write, screen: &Screen, budget: &BudgetInfo) -> io::Result<()> {
    let on_exceed = match budget.on_exceed {
        OnExceed::Warn => "warn: it is told, and nothing else",
        OnExceed::Deny => "deny: further calls are refused",
        OnExceed::Cancel => "cancel: further calls are refused, and those in flight ended",
    };
    let whose = match (&budget.agents, &budget.tenants) {
        (None, None) => "every agent".to_owned(),
        (Some(agents), None) => format!("agents {agents}"),
        (None, Some(tenants)) => format!("agents of tenants {tenants}"),
        (Some(agents), Some(tenants)) => format!("agents {agents} of tenants {tenants}"),
    };
    let limits: Vec<String> = budget.limits.iter().map(shown).collect();
    let lines = [
        ("budget", text::escape(&budget.name).into_owned()),
        ("scope", format!("each {}", budget.scope.as_str())),
        ("for", text::escape(&whose).into_owned()),
        ("counts", budget.window.clone().unwrap_or_else(|| "for the whole life".to_owned())),
        ("limits", text::escape(&limits.join(", ")).into_owned()),
        ("at those", on_exceed.to_owned()),
    ];
    for (name, value) in lines {
        writeln!(out, "{}  {value}", screen.paint(&format!("{name:<8}"), Color::Faint))?;
    }
    for reset in &budget.resets {
        writeln!(out, "{}  {}", screen.paint("reset   ", Color::Faint), told(screen, reset))?;
    }
    writeln!(out)?;
    if budget.holders.is_empty() {
        return writeln!(out, "nothing is spent of it");
    }
    budgets(out, screen, std::slice::from_ref(budget))
}

/// That somebody spends anew.
pub fn reset(out: &mut dyn Write, _: &Screen, reset: &Reset) -> io::Result<()> {
    let budgets = reset.budgets.join(", ");
    writeln!(out, "{} spends anew, of {}", holder(&reset.holder), text::escape(&budgets))
}

fn rows(table: &mut Table, screen: &Screen, budget: &BudgetInfo, holder_info: &HolderInfo) {
    let state = match &holder_info.stopped {
        Some(stopped) => {
            let text = format!("stopped by {} {}", stopped.limit, screen.time(stopped.at));
            Cell::default().and(&text, Color::Bad)
        }
        None if holder_info.in_flight > 0 => {
            let calls = number::of(holder_info.in_flight, "call");
            Cell::default().and(&format!("{calls} in flight"), Color::Busy)
        }
        None => Cell::default(),
    };
    let mut names = vec![
        Cell::default().and(&budget.name, Color::Strong),
        Cell::new(&holder(&holder_info.holder)),
    ];
    let mut state = Some(state);
    for spending in &holder_info.spendings {
        let mut row = std::mem::replace(&mut names, vec![Cell::default(), Cell::default()]);
        row.extend(figures(spending));
        row.push(state.take().unwrap_or_default());
        table.row(row);
    }
    // It may be limited in nothing that adds up.
    if let Some(state) = state {
        names.extend([(); 5].map(|()| Cell::default()));
        names.push(state);
        table.row(names);
    }
}

fn figures(spending: &SpendingInfo) -> Vec<Cell> {
    let color = match spending.percent {
        0..80 => Color::Plain,
        80..100 => Color::Busy,
        _ => Color::Bad,
    };
    vec![
        Cell::new(&spending.limit),
        Cell::new(&amount(spending.spent)),
        Cell::new(&amount(spending.held)),
        Cell::new(&amount(spending.most)),
        Cell::default().and(&spending.percent.to_string(), color),
    ]
}

fn unspent(budget: &BudgetInfo, limit: &LimitInfo) -> Vec<Cell> {
    let mut row = vec![
        Cell::default().and(&budget.name, Color::Strong),
        Cell::default().and("nobody yet", Color::Faint),
        Cell::new(&limit.limit),
    ];
    row.extend([Cell::default(), Cell::default(), Cell::new(&amount(limit.most))]);
    row.extend([Cell::default(), Cell::default()]);
    row
}

fn shown(limit: &LimitInfo) -> String {
    format!("{} {}", amount(limit.most), limit.limit)
}

fn amount(amount: Amount) -> String {
    match amount {
        // As it is: a budget is kept to the last token.
        Amount::Count(count) => count.to_string(),
        Amount::Usd(usd) => format!("${usd}"),
        Amount::Span { ms } => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
    }
}

fn holder(holder: &Holder) -> String {
    text::escape(&holder.to_string()).into_owned()
}

fn told(screen: &Screen, reset: &Reset) -> String {
    let Reset { at, holder: who, by_uid, reason, .. } = reset;
    let reason = reason.as_deref().map(|reason| format!(": {}", text::escape(reason)));
    let when = screen.time(*at);
    format!("{} {when}, by uid {by_uid}{}", holder(who), reason.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        call::{NanoUsd, SessionId, Timestamp, Usage, WorkflowId},
        control::sample::START,
        ledger::{
            Amounts, Ask, Budget, Certainty, Dimension, Ledger, Limits, Order, Price, Scope,
            Spending, Standing,
        },
    };

    fn ledger() -> Ledger {
        let amounts =
            Amounts::MOST.with(Dimension::OutputTokens, 1000).with(Dimension::Usd, 1_500_000_000);
        let tools = vec![("delete_*".parse().expect("a pattern"), 3)];
        let limits = Limits { amounts, depth: Some(4), tools, ..Limits::default() };
        let agent = Budget::new("research-all", Scope::Agent, limits);
        let tenant = Budget::new(
            "daily",
            Scope::Tenant,
            Limits { amounts: Amounts::MOST.with(Dimension::ModelCalls, 5), ..Limits::default() },
        );
        let mut ledger = Ledger::new(vec![agent, tenant]);
        let payers = ledger.payers("research".into(), None);
        let standing = Standing { payers, session: SessionId(1), workflow: WorkflowId(1) };
        let price = Some(Price { input: NanoUsd(0), output: NanoUsd(1_000_000) });
        let order = Order { input: 10, output: Some(600), choices: 1, price };
        let mut reserve = |at: u64| {
            let ask = Ask::model(order, true);
            ledger.reserve(START.after(crate::call::Micros(at)), &standing, &ask)
        };
        let first = reserve(0).expect("fits");
        let _second = reserve(1).expect("fits");
        assert!(reserve(2).is_err());
        let usage = Usage { input: 9, output: 600, ..Usage::default() };
        let amounts = Amounts::of_model(&usage, NanoUsd(12_500_000));
        let spending = Spending { amounts, tools: &[], certainty: Certainty::Reported };
        ledger.settle(START, first.reservation, &spending);
        ledger
    }

    fn text(print: impl FnOnce(&mut Vec<u8>, &Screen) -> io::Result<()>) -> String {
        let screen = Screen { color: false, columns: None, now: START };
        let mut out = Vec::new();
        print(&mut out, &screen).expect("memory");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn budgets_are_listed_with_what_is_spent_of_each_limit() {
        let all = BudgetInfo::all(&ledger(), 10);
        insta::assert_snapshot!(text(|out, screen| budgets(out, screen, &all)), @r"
        BUDGET        HOLDER          LIMIT                SPENT        HELD    OF   %  STATE
        research-all  agent research  output_tokens          600         400  1000  60  1 call in flight
                                      usd                $0.0125  $0.0000004  $1.5   0
                                      calls of delete_*        0           0     3   0
        daily         nobody yet      model_calls                                5
        ");
    }

    #[test]
    fn a_budget_is_shown_with_its_terms_and_its_resets() {
        let reset = Reset {
            at: Timestamp(START.0),
            holder: Holder::Agent("research".into()),
            by_uid: 0,
            reason: Some("a test\u{1b}[31m".to_owned()),
            budgets: vec!["research-all".to_owned()],
        };
        let mut all = BudgetInfo::all(&ledger(), 10);
        all[0].resets.push(reset.clone());
        insta::assert_snapshot!(text(|out, screen| budget(out, screen, &all[0])), @r"
        budget    research-all
        scope     each agent
        for       every agent
        counts    for the whole life
        limits    1000 output_tokens, $1.5 usd, 4 depth, 3 calls of delete_*
        at those  deny: further calls are refused
        reset     agent research 2023-11-14T22:13:20.000000Z, by uid 0: a test\u{1b}[31m

        BUDGET        HOLDER          LIMIT                SPENT        HELD    OF   %  STATE
        research-all  agent research  output_tokens          600         400  1000  60  1 call in flight
                                      usd                $0.0125  $0.0000004  $1.5   0
                                      calls of delete_*        0           0     3   0
        ");
        let said = text(|out, screen| super::reset(out, screen, &reset));
        assert_eq!(said, "agent research spends anew, of research-all\n");
    }

    #[test]
    fn documents_read_back() {
        let all = BudgetInfo::all(&ledger(), 10);
        let json = serde_json::to_string(&all).expect("plain data");
        assert_eq!(serde_json::from_str::<Vec<BudgetInfo>>(&json).expect("reads"), all);
        assert!(json.contains(r#""holder":{"scope":"agent","id":"research"}"#), "{json}");
        assert!(json.contains(r#""spent":"0.0125""#), "{json}");
    }
}
