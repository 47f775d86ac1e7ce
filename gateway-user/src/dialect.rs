//! What an exchange means.
