//! How many tokens a text has, where nobody reports it: by a tokenizer, and by what is known of the
//! model from calls whose tokens were reported.

mod calibration;
mod text;
mod tokenizer;

pub use calibration::{Accuracy, Calibration, Count, Side};
pub use text::Text;
pub use tokenizer::Tokenizer;
