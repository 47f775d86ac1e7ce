//! Where a call belongs.
