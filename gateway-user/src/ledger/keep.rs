//! What of a ledger outlasts its gateway: what it records, and how another one goes on from there.

use super::{Budget, Held, Holder, Image, Key, Ledger, Record, Replay, Reset, Scope, pay::Hold};
use crate::call::{Name, Timestamp};

impl Ledger {
    /// One that goes on from what others recorded, and records what it does. Accounts of budgets that
    /// there are not are kept aside, for when such a one is added.
    #[must_use]
    pub fn restored(budgets: Vec<Budget>, replay: Replay) -> Self {
        let Replay { accounts, resets, now, next, .. } = replay;
        let mut ledger = Self { records: Some(Vec::new()), ..Self::new(Vec::new()) };
        (ledger.resets, ledger.now, ledger.next) = (resets, now, next);
        ledger.aside = accounts.into_iter().collect();
        ledger.add(budgets);
        ledger
    }

    /// What it did since it was last asked, in that order. Nothing, if it is not to record anything.
    pub fn take_records(&mut self) -> Vec<Record> {
        self.records.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// All that there is, said anew.
    #[must_use]
    pub fn whole(&self) -> Vec<Record> {
        let resets = self.resets.iter().cloned().map(Record::Reset);
        let holds = self.holds.iter().map(|(_, hold)| Record::Held(self.held(hold)));
        // Their images have what these say of them already, so they come after.
        let accounts = self.accounts.iter().filter_map(|(place, _)| self.opened(place));
        let aside = self.aside.iter().map(|(key, image)| Record::Opened {
            key: key.clone(),
            image: Box::new(image.clone()),
        });
        resets.chain(holds).chain(accounts).chain(aside).collect()
    }

    /// Whether a limit has stopped somebody.
    #[must_use]
    pub fn is_stopped(&self, holder: &Holder) -> bool {
        let of = |budget| self.places.get(&(budget, holder.clone()));
        let own = (0..self.budgets.len()).filter_map(of).filter_map(|at| self.accounts.get(*at));
        own.into_iter().any(|account| account.marks.stopped.is_some())
    }

    /// How many accounts are kept of budgets that there are not.
    #[must_use]
    pub fn aside(&self) -> usize {
        self.aside.len()
    }

    /// The last times that somebody was let spend anew, the oldest first.
    pub fn resets(&self) -> impl Iterator<Item = &Reset> {
        self.resets.iter()
    }

    /// Records something, if it is to.
    pub(super) fn record(&mut self, record: impl FnOnce(&Self) -> Record) {
        if self.records.is_none() {
            return;
        }
        let record = record(self);
        if let Some(records) = &mut self.records {
            records.push(record);
        }
    }

    pub(super) fn record_opened(&mut self, place: usize) {
        if self.records.is_none() {
            return;
        }
        if let Some(opened) = self.opened(place) {
            self.record(|_| opened);
        }
    }

    /// Records what an account is marked with, if that is news.
    pub(super) fn record_marks(&mut self, place: usize) {
        let Some(account) = self.accounts.get_mut(place) else { return };
        if account.marks == account.noted {
            return;
        }
        account.noted = account.marks;
        let marks = account.marks;
        if let Some(key) = self.key(place) {
            self.record(|ledger| Record::Marked { at: ledger.now, key, marks });
        }
    }

    pub(super) fn key(&self, place: usize) -> Option<Key> {
        let account = self.accounts.get(place)?;
        let budget = self.budgets.get(account.budget)?.name.clone();
        Some(Key { budget, holder: account.holder.clone() })
    }

    pub(super) fn keys(&self, places: &[usize]) -> Vec<Key> {
        places.iter().filter_map(|place| self.key(*place)).collect()
    }

    /// What is held for a call.
    pub(super) fn held(&self, hold: &Hold) -> Held {
        let keys = self.keys(&hold.accounts);
        let Hold { number, amounts, ref tool, .. } = *hold;
        let tool = tool.clone();
        Held { at: self.now, number, keys, amounts, tool, sameness: None, enforced: false }
    }

    fn opened(&self, place: usize) -> Option<Record> {
        let account = self.accounts.get(place)?;
        let image = Box::new(Image::of(account, self.budgets.get(account.budget)?));
        Some(Record::Opened { key: self.key(place)?, image })
    }

    /// Takes up the accounts that were kept aside for a budget.
    pub(super) fn take_up(&mut self, place: usize) {
        let Some(budget) = self.budgets.get(place) else { return };
        // The least of its keys.
        let from = Key { budget: budget.name.clone(), holder: Holder::FIRST };
        let own = self.aside.range(from..).take_while(|(key, _)| key.budget == budget.name);
        let fitting = own.filter(|(key, _)| Scope::of(&key.holder) == budget.scope);
        let keys: Vec<Key> = fitting.map(|(key, _)| key.clone()).collect();
        for key in keys {
            let (Some(image), Some(budget)) = (self.aside.remove(&key), self.budgets.get(place))
            else {
                continue;
            };
            let (account, same) = image.account((place, budget), key.holder.clone(), self.now);
            let deadline = budget.limits.wall_clock.map(|span| account.opened.after(span));
            let at = self.accounts.insert(account);
            self.places.insert((place, key.holder), at);
            self.deadlines.extend(deadline.map(|deadline| (deadline, at)));
            if same {
                // A stop that holds no longer.
                self.record_marks(at);
            } else {
                self.record_opened(at);
                if let Some(account) = self.accounts.get_mut(at) {
                    account.noted = account.marks;
                }
            }
        }
    }

    /// Forgets what was kept aside for those budgets.
    pub(super) fn drop_aside(&mut self, names: &[Name]) {
        let gone = |key: &Key| names.contains(&key.budget);
        let gone: Vec<Key> = self.aside.keys().filter(|key| gone(key)).cloned().collect();
        for key in gone {
            self.aside.remove(&key);
            self.record(|_| Record::Forgotten { key });
        }
    }

    /// Forgets the workflows and sessions that nothing can be said to belong to any more, once they were
    /// not used for long.
    pub fn tidy(&mut self, now: Timestamp, is_recognised: impl Fn(&Holder) -> bool) {
        let now = self.advance(now);
        let old = self.accounts.iter().filter(|(_, account)| account.is_old(now));
        let gone = old.filter(|(_, account)| !is_recognised(&account.holder));
        let gone: Vec<usize> = gone.map(|(place, _)| place).collect();
        for place in gone {
            self.forget(place);
        }
    }

    /// Forgets what has been kept aside for long.
    pub fn tidy_aside(&mut self, before: Timestamp) {
        let old = self.aside.iter().filter(|(_, image)| image.touched < before);
        let old: Vec<Key> = old.map(|(key, _)| key.clone()).collect();
        for key in old {
            self.aside.remove(&key);
            self.record(|_| Record::Forgotten { key });
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        call::{Micros, NanoUsd, SessionId, WorkflowId},
        ledger::{
            Amounts, Ask, Certainty, Dimension, Limit, Limits, OnExceed, Order, Period, Price,
            Reservation, Scope, Spending, Standing, Wanted, Why, Window,
        },
        limits,
    };

    const HOUR: u64 = 3_600_000_000;

    /// Budgets of every scope and window.
    fn budgets() -> Vec<Budget> {
        let amounts = Amounts::MOST
            .with(Dimension::OutputTokens, 2_000)
            .with(Dimension::Usd, 9_000_000)
            .with(Dimension::ToolCalls, 40);
        let tools = vec![("delete_*".parse().expect("a pattern"), 3)];
        let limits = Limits { amounts, tools, repeats: Some(6), ..Limits::default() };
        let budget = |name: &str, scope| Budget::new(name, scope, limits.clone());
        let timed = Limits { wall_clock: Some(Micros(9 * HOUR)), ..limits.clone() };
        vec![
            Budget {
                window: Window::Rolling(Micros(2 * HOUR)),
                ..budget("rolls", Scope::Workflow)
            },
            Budget { on_exceed: OnExceed::Warn, ..budget("warns", Scope::Session) },
            Budget { window: Window::Calendar(Period::Day), ..budget("daily", Scope::Agent) },
            Budget { limits: timed, ..budget("timed", Scope::Workflow) },
            budget("all", Scope::Node),
        ]
    }

    /// A ledger under operations that are drawn, with all that it recorded.
    struct Bed {
        ledger: Ledger,
        records: Vec<Record>,
        held: Vec<(Reservation, Standing)>,
        now: Timestamp,
    }

    impl Bed {
        fn new() -> Self {
            let ledger = Ledger::restored(budgets(), Replay::default());
            let now = Timestamp(1_700_000_000_000_000);
            Self { ledger, records: Vec::new(), held: Vec::new(), now }
        }

        fn standing(&self, workflow: u64) -> Standing {
            let payers = self.ledger.payers("crew".into(), None);
            Standing { payers, session: SessionId(workflow / 2), workflow: WorkflowId(workflow) }
        }

        fn act(&mut self, (what, which, amount): (u8, u64, u64)) {
            let (now, standing) = (self.now, self.standing(which % 4));
            let amounts = Amounts::ZERO.with(Dimension::OutputTokens, amount);
            let tools = ["delete_all".into(), "read".into()];
            let tools = if amount % 3 == 0 { &tools[..] } else { &[] };
            let certainty = if amount % 7 == 0 { Certainty::Held } else { Certainty::Reported };
            let spending = Spending { amounts, tools, certainty };
            match what {
                0..=3 => {
                    let granted = self.ledger.reserve(now, &standing, &ask(which, amount));
                    self.held.extend(granted.ok().map(|granted| (granted.reservation, standing)));
                }
                4..=6 => {
                    if let Some((reservation, _)) = self.held.pop() {
                        self.ledger.settle(now, reservation, &spending);
                    }
                }
                7 => {
                    if let Some((reservation, _)) = self.held.pop() {
                        self.ledger.withdraw(reservation);
                    }
                }
                8 => {
                    if let Some((reservation, _)) = self.held.last() {
                        self.ledger.reassign(now, reservation, &standing);
                    }
                }
                9 => {
                    let from = self.standing((which + 1) % 4);
                    self.ledger.merge(now, &from, &standing, &spending);
                }
                10 => {
                    let holder = Holder::Workflow(standing.workflow);
                    self.ledger.reset(now, &holder, None, Why::default());
                }
                11 => self.now = Timestamp(now.0 + amount * HOUR / 500),
                12 => self.ledger.tick(now),
                13 => {
                    self.now = now.after(limits::LEDGER_AGE.into()).after(Micros(amount));
                    let is_recognised =
                        |holder: &Holder| *holder == Holder::Workflow(WorkflowId(1));
                    self.ledger.tidy(self.now, is_recognised);
                }
                _ => self.ledger.look(now, &standing),
            }
            self.records.extend(self.ledger.take_records());
        }

        /// What a gateway finds that comes after, at a time when every window has begun anew or not.
        fn end(mut self) -> Ledger {
            let spending =
                Spending { amounts: Amounts::ZERO, tools: &[], certainty: Certainty::Held };
            for (reservation, _) in std::mem::take(&mut self.held) {
                self.ledger.settle(self.now, reservation, &spending);
            }
            for workflow in 0..4 {
                self.ledger.look(self.now, &self.standing(workflow));
            }
            self.ledger
        }
    }

    fn ask(which: u64, amount: u64) -> Ask<'static> {
        let price = Some(Price { input: NanoUsd(5), output: NanoUsd(3_000_000) });
        let order = Order { input: 7, output: Some(amount), choices: 1, price };
        let what = match which % 5 {
            0 => Wanted::Tool { name: "delete_one", is_counted: false },
            _ => Wanted::Model(order),
        };
        let sameness = Some(which % 3);
        Ask {
            what,
            sameness,
            is_retry: which.is_multiple_of(11),
            ..Ask::model(order, !which.is_multiple_of(4))
        }
    }

    /// Through what is written and read.
    fn replayed(records: &[Record], onto: Replay) -> Replay {
        let mut replay = onto;
        for record in records {
            let text = serde_json::to_string(record).expect("it is written");
            let read: Record = serde_json::from_str(&text).expect("it is read");
            assert_eq!(read, *record, "{text}");
            replay.apply(read);
        }
        assert_eq!(replay.astray(), 0);
        replay
    }

    fn restored(mut replay: Replay, at: Timestamp) -> Ledger {
        replay.begin(at);
        assert_eq!(replay.holds().len(), 0);
        let mut ledger = Ledger::restored(budgets(), replay);
        assert!(ledger.take_records().is_empty(), "nothing has changed");
        let payers = ledger.payers("crew".into(), None);
        for workflow in 0..4 {
            let (session, workflow) = (SessionId(workflow / 2), WorkflowId(workflow));
            ledger.look(at, &Standing { payers: payers.clone(), session, workflow });
        }
        ledger
    }

    type Balances = Vec<(String, Amounts, Vec<u64>, Timestamp, Option<(Timestamp, Limit)>)>;

    fn balances(ledger: &Ledger) -> Balances {
        let of = |it: crate::ledger::Balance<'_>| {
            let name = format!("{} {}", it.budget.name, it.holder);
            (name, *it.spent, it.tools.to_vec(), it.opened, it.stopped)
        };
        let mut all: Vec<_> = ledger.balances().map(of).collect();
        all.sort_by(|one, other| one.0.cmp(&other.0));
        all
    }

    proptest! {
        #[test]
        fn another_gateway_finds_what_this_one_leaves(
            acts in prop::collection::vec((0_u8..15, 0_u64..1000, 0_u64..900), 1..120),
            cut in 0_usize..120,
        ) {
            let mut bed = Bed::new();
            let mut snapshot = None;
            for (place, act) in acts.into_iter().enumerate() {
                if place == cut {
                    snapshot = Some((bed.ledger.whole(), bed.records.len()));
                }
                bed.act(act);
            }
            let (now, records) = (bed.now, std::mem::take(&mut bed.records));
            let live = bed.end();
            let next = restored(replayed(&records, Replay::default()), now);
            // Stops that only come of the end of what was in flight come when it is looked at next.
            let unstopped = |mut all: Balances| {
                for one in &mut all {
                    one.4 = None;
                }
                all
            };
            prop_assert_eq!(unstopped(balances(&next)), unstopped(balances(&live)));
            for (one, other) in balances(&next).iter().zip(balances(&live)) {
                prop_assert!(one.4.is_none() || one.4 == other.4);
            }
            prop_assert_eq!(next.resets().count(), live.resets().count());
            if let Some((whole, tail)) = snapshot {
                let replay = replayed(&whole, Replay::default());
                let again = restored(replayed(&records[tail..], replay), now);
                prop_assert_eq!(balances(&again), balances(&next));
            }
        }
    }

    fn standing(ledger: &Ledger) -> Standing {
        let payers = ledger.payers("crew".into(), None);
        Standing { payers, session: SessionId(1), workflow: WorkflowId(1) }
    }

    fn agent(limits: Limits) -> Budget {
        Budget::new("crew", Scope::Agent, limits)
    }

    fn limited(output: u64) -> Limits {
        let amounts = Amounts::MOST.with(Dimension::OutputTokens, output);
        Limits { amounts, ..Limits::default() }
    }

    /// An agent that has spent 900 tokens of 1000, and is stopped.
    fn stopped(budget: Budget) -> Replay {
        let mut ledger = Ledger::restored(vec![budget], Replay::default());
        let standing = standing(&ledger);
        let order = Order { input: 1, output: Some(900), choices: 1, price: None };
        let granted = ledger.reserve(Timestamp(0), &standing, &Ask::model(order, true));
        let amounts = Amounts::ZERO.with(Dimension::OutputTokens, 900);
        let spending = Spending { amounts, tools: &[], certainty: Certainty::Reported };
        ledger.settle(Timestamp(0), granted.expect("fits").reservation, &spending);
        let more = Order { output: Some(500), ..order };
        for _ in 0..2 {
            let least = Order { choices: 10, ..more };
            assert!(ledger.reserve(Timestamp(1), &standing, &Ask::model(least, true)).is_err());
        }
        assert!(ledger.balances().all(|balance| balance.stopped.is_some()));
        replayed(&ledger.take_records(), Replay::default())
    }

    #[test]
    fn a_stop_holds_until_its_limit_is_raised() {
        for (limit, holds) in [(1000, true), (500, true), (1001, false)] {
            let replay = stopped(agent(limited(1000)));
            let ledger = Ledger::restored(vec![agent(limited(limit))], replay);
            let balance = ledger.balances().next().expect("an account");
            assert_eq!(
                (balance.stopped.is_some(), balance.spent[Dimension::OutputTokens]),
                (holds, 900)
            );
        }
        let warns = Budget { on_exceed: OnExceed::Warn, ..agent(limited(1000)) };
        let ledger = Ledger::restored(vec![warns], stopped(agent(limited(1000))));
        assert!(ledger.balances().all(|balance| balance.stopped.is_none()));
    }

    #[test]
    fn what_was_spent_counts_in_another_window_as_if_it_were_now() {
        let rolling = Budget { window: Window::Rolling(Micros(HOUR)), ..agent(limited(1000)) };
        let mut replay = stopped(agent(limited(1000)));
        replay.begin(Timestamp(10 * HOUR));
        let mut ledger = Ledger::restored(vec![rolling], replay);
        let records = ledger.take_records();
        assert!(matches!(&records[..], [Record::Opened { .. }]), "{records:?}");
        for (at, spent) in [(10 * HOUR + 1, 900), (11 * HOUR, 900), (12 * HOUR, 0)] {
            ledger.look(Timestamp(at), &standing(&ledger));
            let balance = ledger.balances().next().expect("an account");
            assert_eq!(balance.spent[Dimension::OutputTokens], spent);
        }
    }

    #[test]
    fn a_clock_that_was_far_ahead_holds_no_window_up_and_gives_nothing_back() {
        let now = Timestamp(10 * HOUR);
        for window in [Window::Rolling(Micros(HOUR)), Window::Calendar(Period::Hour)] {
            let budget = || Budget { window, ..agent(limited(1000)) };
            let spent_at = |at| {
                let mut ledger = Ledger::restored(vec![budget()], Replay::default());
                let order = Order { input: 1, output: Some(900), choices: 1, price: None };
                let held = ledger.reserve(at, &standing(&ledger), &Ask::model(order, true));
                assert!(held.is_ok());
                let mut replay = replayed(&ledger.take_records(), Replay::default());
                replay.begin(now);
                replay
            };
            let soon = Timestamp(now.0 + HOUR / 2);
            assert_eq!(spent_at(soon).now(), soon, "it is waited for");
            let mut ledger = Ledger::restored(vec![budget()], spent_at(Timestamp(9999 * HOUR)));
            assert!(ledger.take_records().is_empty(), "it is as it was read");
            for (at, spent) in [(now.0 + 1, 900), (now.0 + 2 * HOUR, 0)] {
                ledger.look(Timestamp(at), &standing(&ledger));
                let balance = ledger.balances().next().expect("an account");
                assert_eq!(balance.spent[Dimension::OutputTokens], spent, "{window:?}");
            }
        }
    }

    #[test]
    fn accounts_wait_for_a_budget_that_comes_later() {
        let mut ledger = Ledger::restored(Vec::new(), stopped(agent(limited(1000))));
        assert_eq!((ledger.aside(), ledger.balances().count()), (1, 0));
        let whole = replayed(&ledger.whole(), Replay::default());
        assert_eq!(Ledger::restored(Vec::new(), whole).aside(), 1);
        ledger.add(vec![Budget::new("crew", Scope::Node, limited(1000))]);
        assert_eq!(ledger.aside(), 1, "of another scope");
        ledger.add(vec![agent(limited(1000))]);
        assert_eq!((ledger.aside(), ledger.balances().count()), (0, 1));
        ledger.retire(&["crew".into()]);
        let records = ledger.take_records();
        assert!(matches!(&records[..], [Record::Forgotten { .. }]), "{records:?}");
    }

    #[test]
    fn what_waits_for_long_is_forgotten() {
        let mut ledger = Ledger::restored(Vec::new(), stopped(agent(limited(1000))));
        ledger.tidy_aside(Timestamp(0));
        assert_eq!(ledger.aside(), 1);
        ledger.tidy_aside(Timestamp(2));
        assert_eq!((ledger.aside(), ledger.take_records().len()), (0, 1));
    }

    #[test]
    fn whose_calls_nobody_recognises_any_more_is_forgotten_unless_it_was_used_lately() {
        let budgets = || {
            let of = |name: &str, scope| Budget::new(name, scope, limited(1000));
            vec![of("w", Scope::Workflow), of("s", Scope::Session), of("all", Scope::Agent)]
        };
        let mut ledger = Ledger::restored(budgets(), Replay::default());
        let old = standing(&ledger);
        let of = |workflow| Standing { workflow: WorkflowId(workflow), ..old.clone() };
        let order = Order { input: 1, output: Some(900), choices: 1, price: None };
        let held = ledger.reserve(Timestamp(0), &of(2), &Ask::model(order, false)).expect("fits");
        ledger.look(Timestamp(0), &old);
        ledger.look(Timestamp(0), &of(3));
        let later = Timestamp(1).after(limits::LEDGER_AGE.into());
        ledger.look(later, &Standing { session: SessionId(2), ..of(4) });
        ledger.tidy(later, |holder| *holder == Holder::Workflow(WorkflowId(3)));
        let left = |ledger: &Ledger| {
            let mut all: Vec<_> = ledger.balances().map(|it| it.holder.to_string()).collect();
            all.sort();
            all
        };
        let expected = [
            "agent crew",
            "session 0000000000000001",
            "session 0000000000000002",
            "workflow 0000000000000002",
            "workflow 0000000000000003",
            "workflow 0000000000000004",
        ];
        assert_eq!(left(&ledger), expected);
        let again =
            Ledger::restored(budgets(), replayed(&ledger.take_records(), Replay::default()));
        assert_eq!(left(&again), expected);
        ledger.withdraw(held.reservation);
    }

    #[test]
    fn accounts_of_an_ended_budget_go_with_their_last_call() {
        let mut ledger = Ledger::restored(vec![agent(limited(1000))], Replay::default());
        let standing = standing(&ledger);
        let order = Order { input: 1, output: Some(9), choices: 1, price: None };
        let granted = ledger.reserve(Timestamp(0), &standing, &Ask::model(order, true));
        ledger.retire(&["crew".into()]);
        assert_eq!(ledger.balances().count(), 1);
        ledger.withdraw(granted.expect("fits").reservation);
        assert_eq!(ledger.balances().count(), 0);
        assert!(replayed(&ledger.take_records(), Replay::default()).is_empty());
    }
}
