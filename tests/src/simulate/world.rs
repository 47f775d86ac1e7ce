//! What a run has: budgets, agents, workflows, calls and a clock, all drawn from its seed.

use turnpike::{
    call::{Micros, SessionId, Timestamp, WorkflowId},
    ledger::{
        Amounts, Budget, Certainty, Dimension, Ledger, Limits, OnExceed, Payers, Period, Replay,
        Scope, Spending, Standing, Window,
    },
};

use super::{
    Figures, books,
    call::{self, Call, State},
    kept::{Doing, Kept},
};
use crate::random::Random;

/// One run.
#[derive(Debug)]
pub(super) struct World {
    random: Random,
    budgets: Vec<Budget>,
    ledger: Ledger,
    kept: Kept,
    agents: Vec<Agent>,
    workflows: u64,
    calls: Vec<Call>,
    /// Which of them are in flight.
    running: Vec<usize>,
    /// As many calls at a time as it aims at.
    crowd: usize,
    steps: u64,
    /// For how many steps a gateway lives on average. Absent: to the end.
    lives: Option<u64>,
    now: Timestamp,
    figures: Figures,
}

#[derive(Debug)]
struct Agent {
    payers: Payers,
    enforced: bool,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let crowd = *random.pick(&[1, 4, 16, 16, 64, 64, 200]);
        let crowd = if random.one_in(50) { 1000 } else { crowd };
        let count = random.between(1, 8);
        let scale = (crowd as u64 / 8).max(1);
        let budgets = (0..count).map(|number| budget(&mut random, number, scale));
        let budgets: Vec<Budget> = budgets.collect();
        let ledger = Ledger::restored(budgets.clone(), Replay::default());
        let all_enforced = !random.one_in(4);
        let agents = (0..random.between(1, 3)).map(|number| {
            let tenant = (!random.one_in(3)).then(|| format!("tenant-{}", random.between(0, 1)));
            let name = format!("agent-{number}");
            let payers = ledger.payers(name.as_str().into(), tenant.as_deref().map(Into::into));
            Agent { payers, enforced: all_enforced || random.one_in(2) }
        });
        let agents: Vec<_> = agents.collect();
        let steps = random.between(50, 400).max(crowd as u64 * 3);
        let lives = random.one_in(2).then(|| random.between(10, 300));
        Self {
            workflows: random.between(1, 20),
            now: Timestamp(1_790_000_000_000_000 + random.between(0, 1 << 40)),
            random,
            budgets,
            ledger,
            kept: Kept::default(),
            agents,
            calls: Vec::new(),
            running: Vec::new(),
            crowd,
            steps,
            lives,
            figures: Figures::default(),
        }
    }

    pub(super) const fn steps(&self) -> u64 {
        self.steps
    }

    /// Does something.
    pub(super) fn act(&mut self) -> Result<(), String> {
        self.pass_time();
        let room = self.running.len() < self.crowd;
        match self.random.between(0, 19) {
            0 => self.correct(),
            1 => self.tick(),
            2..=5 => self.end_one(),
            _ if room => self.begin()?,
            _ => self.end_one(),
        }
        self.figures.in_flight = self.figures.in_flight.max(self.running.len() as u64);
        // What the ledger tells is of no account here, but must not be lost.
        self.ledger.take_events();
        self.kept.keep(&mut self.ledger, None);
        if self.lives.is_some_and(|steps| self.random.one_in(steps)) {
            self.restart();
        }
        if self.random.one_in(64) { self.check() } else { Ok(()) }
    }

    /// Ends every call, and looks at everything once more.
    pub(super) fn end(&mut self) -> Result<Figures, String> {
        while !self.running.is_empty() {
            self.end_one();
        }
        self.check()?;
        Ok(self.figures)
    }

    fn check(&mut self) -> Result<(), String> {
        // Accounts are only brought to the time when they are used.
        let standings: Vec<Standing> =
            self.calls.iter().map(|call| call.standing.clone()).collect();
        for standing in standings {
            self.ledger.look(self.now, &standing);
        }
        books::check(&self.ledger, &self.budgets, &self.calls, self.now)
    }

    /// Mostly a little; at times a lot, and at times the clock that is told is behind.
    fn pass_time(&mut self) {
        let micros = match self.random.between(0, 99) {
            0 => self.random.between(0, 100_000_000_000),
            1..=5 => self.random.between(0, 600_000_000),
            _ => self.random.between(0, 2_000_000),
        };
        self.now = Timestamp(self.now.0 + micros);
    }

    /// What waits to be written is; at times all anew, as where it could not be.
    fn tick(&mut self) {
        self.ledger.tick(self.now);
        self.kept.keep(&mut self.ledger, None);
        if self.random.one_in(4) {
            self.kept.begin_anew(&self.ledger);
        } else {
            self.kept.write();
        }
    }

    /// The gateway dies, and another one goes on from what it has written: of what was in flight, or not
    /// written to have ended, what was held is spent.
    fn restart(&mut self) {
        let (mut found, lost) = self.kept.die(&mut self.random);
        for doing in lost {
            match doing {
                Doing::Ended { call } => self.running.push(call),
                Doing::Moved { call, from } => self.calls[call].standing = from,
            }
        }
        for call in self.running.drain(..) {
            let call = &mut self.calls[call];
            call.state = State::Ended { amounts: call.held, at: self.now };
        }
        found.begin(self.now);
        self.kept.go_on(found.clone());
        self.ledger = Ledger::restored(self.budgets.clone(), found);
        self.kept.keep(&mut self.ledger, None);
        self.figures.restarts += 1;
    }

    /// The time as the ledger is told it.
    fn told(&mut self) -> Timestamp {
        let behind =
            if self.random.one_in(20) { self.random.between(0, 10_000_000_000) } else { 0 };
        // It was told the right one before.
        self.ledger.tick(self.now);
        Timestamp(self.now.0 - behind)
    }

    fn standing(&mut self, agent: usize) -> Standing {
        let number = self.random.between(1, self.workflows) + 1000 * agent as u64;
        let payers = self.agents[agent].payers.clone();
        Standing { payers, session: SessionId(number / 3), workflow: WorkflowId(number) }
    }

    fn begin(&mut self) -> Result<(), String> {
        let agent = self.random.below(self.agents.len());
        let standing = self.standing(agent);
        let ask = call::ask(&mut self.random, self.agents[agent].enforced);
        let told = self.told();
        let granted = match self.ledger.reserve(told, &standing, &ask) {
            Ok(granted) => granted,
            Err(denied) => {
                self.figures.denied += 1;
                return books::check_denied(&denied, &self.budgets, &self.calls, self.now);
            }
        };
        let turnpike::ledger::Wanted::Model(order) = ask.what else {
            return Err("only models are simulated".to_owned());
        };
        let most = match (granted.output, order.output) {
            (Some(most), asked) if asked.is_some_and(|asked| most > asked) => {
                return Err(format!("more was granted than asked for: {most}"));
            }
            (most, asked) => most.or(asked).unwrap_or(turnpike::ledger::DEFAULT_OUTPUT),
        };
        // Before it goes upstream.
        self.kept.keep(&mut self.ledger, None);
        let held = self.kept.held().ok_or("a call is held and not recorded")?;
        self.kept.write();
        let is_bounded = granted.output.or(order.output).is_some();
        self.figures.calls += 1;
        self.running.push(self.calls.len());
        let state = State::InFlight(granted.reservation);
        self.calls.push(Call { standing, ask, most, held, is_bounded, state, moved: false });
        Ok(())
    }

    fn end_one(&mut self) {
        if self.running.is_empty() {
            return;
        }
        let at = self.random.below(self.running.len());
        let ending = self.running.swap_remove(at);
        let (amounts, certainty) = self.calls[ending].end(&mut self.random);
        let told = self.told();
        self.kept.keep(&mut self.ledger, None);
        let call = &mut self.calls[ending];
        let whole = match certainty {
            Certainty::Held => amounts,
            Certainty::Reported | Certainty::Estimated => amounts.plus(&call.counts()),
        };
        let ended = State::Ended { amounts: whole, at: self.now };
        let State::InFlight(reservation) = std::mem::replace(&mut call.state, ended) else {
            return;
        };
        self.ledger.settle(told, reservation, &Spending { amounts, tools: &[], certainty });
        self.kept.keep(&mut self.ledger, Some(Doing::Ended { call: ending }));
    }

    /// Finds out that a call was another workflow's all along.
    fn correct(&mut self) {
        if self.calls.is_empty() {
            return;
        }
        let chosen = self.random.below(self.calls.len());
        let name = self.calls[chosen].standing.payers.agent().to_owned();
        let agent = self.agents.iter().position(|agent| *agent.payers.agent() == *name);
        let to = self.standing(agent.unwrap_or(0));
        let told = self.told();
        self.kept.keep(&mut self.ledger, None);
        let call = &mut self.calls[chosen];
        match &call.state {
            State::InFlight(reservation) => {
                self.ledger.reassign(told, reservation, &to);
            }
            State::Ended { amounts, at } if self.now.since(*at) == Micros(0) => {
                let certainty = Certainty::Reported;
                let spending = Spending { amounts: *amounts, tools: &[], certainty };
                self.ledger.transfer(told, (&call.standing, &to), &spending);
            }
            // In a window it would have to be known when it was spent.
            State::Ended { .. } => return,
        }
        call.moved = true;
        let from = std::mem::replace(&mut call.standing, to);
        self.kept.keep(&mut self.ledger, Some(Doing::Moved { call: chosen, from }));
        self.figures.corrections += 1;
    }
}

/// One with limits for calls in such numbers.
fn budget(random: &mut Random, number: u64, scale: u64) -> Budget {
    let scope =
        *random.pick(&[Scope::Workflow, Scope::Session, Scope::Agent, Scope::Tenant, Scope::Node]);
    let mut amounts = Amounts::MOST;
    for of in Dimension::ALL {
        if random.one_in(3) {
            amounts[of] = match of {
                Dimension::Usd => random.between(1_000_000, 1_000_000_000 * scale),
                Dimension::ModelCalls => random.between(1, 100 * scale),
                Dimension::Retries | Dimension::SubPlans => random.between(1, 10 * scale),
                // What a model will emit can't be bounded before.
                Dimension::ToolCalls => u64::MAX,
                _ => random.between(100, 100_000 * scale),
            };
        }
    }
    let limits = Limits {
        amounts,
        concurrent_calls: random.one_in(5).then(|| random.between(1, 25 * scale)),
        depth: random.one_in(8).then(|| random.between(1, 3)),
        fan_out: random.one_in(8).then(|| random.between(1, 3)),
        repeats: random.one_in(8).then(|| random.between(1, 20)),
        wall_clock: random.one_in(8).then(|| Micros(random.between(1_000_000, 1_000_000_000))),
        ..Limits::default()
    };
    let window = match random.between(0, 5) {
        0 => Window::Rolling(Micros(random.between(1_000, 100_000_000))),
        1 => Window::Calendar(*random.pick(&[Period::Hour, Period::Day, Period::Week])),
        _ => Window::Life,
    };
    Budget {
        window,
        on_exceed: *random.pick(&[
            OnExceed::Deny,
            OnExceed::Deny,
            OnExceed::Cancel,
            OnExceed::Warn,
        ]),
        allows_unpriced: random.one_in(2),
        ..Budget::new(format!("budget-{number}").as_str(), scope, limits)
    }
}
