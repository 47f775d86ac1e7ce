//! The same calls, added up in the plainest way: what every account of a ledger has to show.

use std::collections::HashMap;

use turnpike::{
    call::Timestamp,
    ledger::{
        Amounts, Balance, Budget, Denial, Denied, Dimension, Holder, Ledger, Limit, OnExceed,
        Period, Scope, Window,
    },
};

use super::call::{Call, State};

/// What one account comes to.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    spent: Amounts,
    /// Of what was spent longer ago than the window lasts, as much as it may still count.
    late: Amounts,
    held: Amounts,
    in_flight: u64,
    /// Calls are among it that its limits did not hold, or not here.
    unbound: bool,
}

/// An account's budget and holder.
type Key = (usize, Holder);

/// Looks whether a ledger shows what its calls came to, and no more than it may.
pub(super) fn check(
    ledger: &Ledger,
    budgets: &[Budget],
    calls: &[Call],
    now: Timestamp,
) -> Result<(), String> {
    let sums = sums(budgets, calls, now);
    for balance in ledger.balances() {
        let place = budgets.iter().position(|budget| budget.name == balance.budget.name);
        let place = place.ok_or("an account of no budget")?;
        let sum = sums.get(&(place, balance.holder.clone())).copied().unwrap_or_default();
        agree(&balance, &sum)?;
        within(&balance, &sum)?;
    }
    Ok(())
}

/// Looks whether a call was refused for a reason.
pub(super) fn check_denied(
    denied: &Denied,
    budgets: &[Budget],
    calls: &[Call],
    now: Timestamp,
) -> Result<(), String> {
    let Limit::Sum(of) = denied.limit else { return Ok(()) };
    if denied.how == Denial::Stopped {
        return Ok(());
    }
    let place = budgets.iter().position(|budget| budget.name == denied.budget);
    let place = place.ok_or("a budget that there is not")?;
    let sums = sums(budgets, calls, now);
    let sum = sums.get(&(place, denied.holder.clone())).copied().unwrap_or_default();
    let Denied { spent, held, wanted, most, .. } = *denied;
    let might = sum.spent[of].saturating_add(sum.late[of]);
    if !(sum.spent[of]..=might).contains(&spent) || sum.held[of] != held {
        return Err(format!(
            "{denied} — but spent are {} and held {}",
            sum.spent[of], sum.held[of]
        ));
    }
    if spent.saturating_add(held).saturating_add(wanted) <= most {
        return Err(format!("{denied} — but there was room"));
    }
    Ok(())
}

fn sums(budgets: &[Budget], calls: &[Call], now: Timestamp) -> HashMap<Key, Sum> {
    let mut sums = HashMap::new();
    for call in calls {
        for (place, budget) in budgets.iter().enumerate() {
            if let Some(holder) = holder(call, budget) {
                add(sums.entry((place, holder)).or_default(), call, budget, now);
            }
        }
    }
    sums
}

fn add(sum: &mut Sum, call: &Call, budget: &Budget, now: Timestamp) {
    sum.unbound |= call.moved || !call.ask.enforced;
    match &call.state {
        State::InFlight(_) => {
            sum.held = sum.held.plus(&call.worst());
            sum.in_flight += 1;
        }
        State::Ended { amounts, at } if counts(budget.window, *at, now) => {
            sum.spent = sum.spent.plus(amounts);
        }
        State::Ended { amounts, at } if may_count(budget.window, *at, now) => {
            sum.late = sum.late.plus(amounts);
        }
        State::Ended { .. } => {}
    }
}

/// Whether what was spent at that time must count.
fn counts(window: Window, at: Timestamp, now: Timestamp) -> bool {
    match window {
        Window::Life => true,
        Window::Rolling(length) => at.0 + length.0 > now.0,
        Window::Calendar(period) => part(period, at) == part(period, now),
    }
}

/// Whether it may still count where it need not.
fn may_count(window: Window, at: Timestamp, now: Timestamp) -> bool {
    let Window::Rolling(length) = window else { return false };
    at.0 + length.0 + 2 * (length.0 / 60 + 1) > now.0
}

fn part(period: Period, at: Timestamp) -> u64 {
    let hours = at.0 / 3_600_000_000;
    match period {
        Period::Hour => hours,
        Period::Day => hours / 24,
        // From a Monday on: the epoch was a Thursday.
        Period::Week => (hours / 24 + 3) / 7,
        Period::Month => unreachable!("months are not simulated"),
    }
}

fn holder(call: &Call, budget: &Budget) -> Option<Holder> {
    let payers = &call.standing.payers;
    budget.is_for(payers.agent(), payers.tenant()).then(|| match budget.scope {
        Scope::Workflow => Holder::Workflow(call.standing.workflow),
        Scope::Session => Holder::Session(call.standing.session),
        Scope::Agent => Holder::Agent(payers.agent().into()),
        Scope::Tenant => Holder::Tenant(payers.tenant().unwrap_or_default().into()),
        Scope::Node => Holder::Node,
    })
}

/// Whether an account shows what its calls came to.
fn agree(balance: &Balance<'_>, sum: &Sum) -> Result<(), String> {
    let limits = &balance.budget.limits.amounts;
    for of in Dimension::ALL {
        let (spent, held) = (balance.spent[of], balance.held[of]);
        let might = sum.spent[of].saturating_add(sum.late[of]);
        let of_spent = (sum.spent[of]..=might).contains(&spent);
        // What is held of what nobody limits is not known before.
        let of_held = held == sum.held[of] || limits[of] == u64::MAX;
        if !of_spent || !of_held {
            return Err(format!(
                "{} of budget {} has spent {spent} and holds {held} {}, and its calls came to {} and {}",
                balance.holder,
                balance.budget.name,
                of.as_str(),
                sum.spent[of],
                sum.held[of]
            ));
        }
    }
    if balance.in_flight != sum.in_flight {
        return Err(format!(
            "{}: {} in flight, {}",
            balance.holder, balance.in_flight, sum.in_flight
        ));
    }
    Ok(())
}

/// Whether no limit is overspent.
fn within(balance: &Balance<'_>, sum: &Sum) -> Result<(), String> {
    if sum.unbound || balance.budget.on_exceed == OnExceed::Warn {
        return Ok(());
    }
    let limits = &balance.budget.limits;
    for of in Dimension::ALL {
        let (all, most) = (sum.spent[of].saturating_add(sum.held[of]), limits.amounts[of]);
        if all > most {
            return Err(format!(
                "{} of budget {} has spent or holds {all} {} of {most}",
                balance.holder,
                balance.budget.name,
                of.as_str()
            ));
        }
    }
    match limits.concurrent_calls {
        Some(most) if sum.in_flight > most => {
            Err(format!("{}: {} calls in flight of {most}", balance.holder, sum.in_flight))
        }
        _ => Ok(()),
    }
}
