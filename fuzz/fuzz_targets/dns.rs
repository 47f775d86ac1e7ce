//! DNS answers from anywhere: reading never panics, and what is read can be remembered.

#![no_main]

use libfuzzer_sys::fuzz_target;
use turnpike::{
    call::Timestamp,
    limits,
    names::{self, Names},
};

fuzz_target!(|message: &[u8]| {
    let Ok(hints) = names::read(message) else { return };
    assert!(hints.len() <= limits::ADDRESSES_PER_ANSWER);
    let mut known = Names::default();
    let now = Timestamp(0);
    for hint in hints {
        assert!(hint.name.len() <= 4 * 255, "a name is at most 255 bytes, escaped");
        let (name, ip) = (hint.name.clone(), hint.ip);
        known.learn(hint, now);
        assert_eq!(known.of(ip, now).next(), Some(&*name));
    }
});
