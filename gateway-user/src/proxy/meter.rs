//! What holds a streamed answer to the tokens that are held for its call.

use crate::{
    call::{Cause, Decision, Reason, Ruling, TooLong},
    dialect::{Answering, Progress},
    ledger::Ceiling,
};

/// Of one call. What its text comes to is counted low: see [`Progress::fewest`]. What its server reports
/// meanwhile counts as it says.
#[derive(Debug)]
pub(super) struct Meter {
    ceiling: Ceiling,
    /// Tokens of text, by our count.
    most_text: u64,
    /// Those of it that were within.
    within: u64,
    is_over: bool,
    /// Nothing goes on before all does.
    keeps_back: bool,
}

impl Meter {
    /// By our count `most_text` are as many tokens as the ceiling's.
    pub(super) const fn new(ceiling: Ceiling, most_text: u64) -> Self {
        Self { ceiling, most_text, within: 0, is_over: false, keeps_back: false }
    }

    /// Whether the answer is to end where it comes to more.
    pub(super) const fn is_enforced(&self) -> bool {
        self.ceiling.enforced
    }

    /// The answer has come so far: whether that is more than it may. A report at its end cuts nothing,
    /// since what it is of has been delivered.
    pub(super) fn look(&mut self, at: Progress) -> bool {
        let has_more = at.fewest > self.within;
        let reported = at.reported > self.ceiling.tokens;
        let text = has_more && at.fewest > self.most_text;
        self.is_over |= text || reported && (has_more || !at.finished);
        if !self.is_over {
            self.within = at.fewest;
        }
        self.is_over
    }

    /// From here on nothing of the answer goes on before it is whole.
    pub(super) const fn keep_back(&mut self) {
        self.keeps_back = true;
    }

    /// Something came that is too large to be read.
    pub(super) const fn overflow(&mut self) {
        self.is_over = true;
    }

    /// Why the answer ends, as its client is told.
    pub(super) fn reason(&self) -> Reason {
        let Ceiling { budget, tokens, .. } = &self.ceiling;
        let text = format!(
            "budget {budget} holds {tokens} output_tokens for this call, and its answer goes on beyond \
             them; ask for a shorter one, or have an operator raise the budget"
        );
        Reason::new(Cause::Budget, text)
    }

    /// What is recorded of an answer that was too long, of which so much has come.
    pub(super) fn verdict(self, came: &Answering) -> Option<TooLong> {
        if !self.is_over {
            return None;
        }
        let enforced = self.is_enforced();
        let decision = if enforced { Decision::Cut } else { Decision::WouldCut };
        let gone = if self.keeps_back { 0 } else { self.within };
        let withheld = came.fewest().saturating_sub(gone);
        Some(TooLong {
            ruling: Ruling::new(self.ceiling.budget, decision),
            withheld_tokens: enforced.then_some(withheld),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tokens::Tokenizer;

    fn meter(tokens: u64, enforced: bool) -> Meter {
        Meter::new(Ceiling { budget: "b".into(), tokens, enforced }, tokens)
    }

    fn at(fewest: u64, reported: u64, finished: bool) -> Progress {
        Progress { fewest, reported, finished }
    }

    #[test]
    fn what_fits_exactly_is_not_too_long() {
        let mut exact = meter(10, true);
        assert!(!exact.look(at(4, 0, false)) && !exact.look(at(10, 0, true)));
        assert!(!exact.look(at(10, 10, true)));
        assert_eq!(exact.verdict(&Answering::default()), None);
    }

    #[test]
    fn what_comes_beyond_is_told() {
        let mut came = Answering::default();
        came.push("one two three four");
        for (enforced, decision, withheld) in
            [(true, Decision::Cut, Some(1)), (false, Decision::WouldCut, None)]
        {
            let mut meter = meter(3, enforced);
            assert!(!meter.look(at(3, 0, false)) && meter.look(at(4, 0, false)));
            let told = meter.verdict(&came).expect("it was too long");
            assert_eq!(told.ruling, Ruling::new("b".into(), decision));
            assert_eq!(told.withheld_tokens, withheld);
        }
    }

    #[test]
    fn reports_count_as_they_say_unless_all_is_delivered() {
        assert!(meter(10, true).look(at(0, 11, false)));
        assert!(meter(10, true).look(at(1, 11, true)), "its text comes with it");
        let mut late = meter(10, true);
        assert!(!late.look(at(8, 0, true)) && !late.look(at(8, 11, true)));
    }

    /// Prose, code, a table and JSON.
    const TEXTS: [&str; 4] = [
        include_str!("../../../README.md"),
        include_str!("dialogue.rs"),
        include_str!("../../../docs/dialects.md"),
        include_str!("../../data/prices/prices.json"),
    ];

    #[test]
    fn no_honest_answer_is_too_long() {
        let tokenizer = Tokenizer::load();
        for text in TEXTS {
            let text = &text[..text.floor_char_boundary(text.len().min(64 * 1024))];
            let mut said = Answering::default();
            said.push(text);
            let (fewest, tokens) = (said.fewest(), tokenizer.count(text));
            println!("{fewest} of {tokens}: {} %", fewest * 100 / tokens);
            assert!(fewest <= tokens && fewest * 2 > tokens, "{fewest} of {tokens}");
        }
    }

    proptest! {
        #[test]
        fn a_text_has_no_fewer_tokens(words in prop::collection::vec("[a-zA-Z0-9'(){}\":;,._ \n-]{1,12}", 0..40)) {
            thread_local! {
                static TOKENIZER: Tokenizer = Tokenizer::load();
            }
            let text = words.concat();
            let mut said = Answering::default();
            said.push(&text);
            let tokens = TOKENIZER.with(|tokenizer| tokenizer.count(&text));
            prop_assert!(said.fewest() <= tokens, "{} of {}", said.fewest(), tokens);
        }
    }
}
