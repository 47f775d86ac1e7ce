//! What a DNS answer says: RFC 1035, section 4.

use std::{net::IpAddr, time::Duration};

use domain::{
    base::{Message, Rtype, iana::Rcode, wire::ParseError},
    rdata::{A, Aaaa},
};

use crate::limits;

/// An address, and the name that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hint {
    /// In lower case, without the dot at its end.
    pub name: Box<str>,
    pub ip: IpAddr,
    pub ttl: Duration,
}

/// It is not a DNS message, or not a whole one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a DNS message")]
pub struct Malformed;

impl From<ParseError> for Malformed {
    fn from(_: ParseError) -> Self {
        Self
    }
}

/// The addresses that an answer gives to the name that was asked for, also by way of aliases
/// (CNAME). What an answer says of names that were not asked for is not believed, whoever says it.
/// Nothing for what is no answer, or answers something else.
pub fn read(message: &[u8]) -> Result<Vec<Hint>, Malformed> {
    let message = Message::from_octets(message).map_err(|_| Malformed)?;
    let header = message.header();
    if !header.qr() || header.rcode() != Rcode::NOERROR {
        return Ok(Vec::new());
    }
    let question = message.sole_question()?;
    if ![Rtype::A, Rtype::AAAA].contains(&question.qtype()) {
        return Ok(Vec::new());
    }
    // Every name in it is read as the parser reads names: bounded, and pointers only go back.
    let canonical = message.canonical_name().ok_or(Malformed)?;
    let name = question.qname().to_string().to_ascii_lowercase().into_boxed_str();
    let mut hints = Vec::new();
    let v4 = message.answer()?.limit_to_in::<A>().flatten();
    let v4 =
        v4.map(|record| (*record.owner() == canonical, record.ttl(), record.data().addr().into()));
    let v6 = message.answer()?.limit_to_in::<Aaaa>().flatten();
    let v6 =
        v6.map(|record| (*record.owner() == canonical, record.ttl(), record.data().addr().into()));
    for (is_asked_for, ttl, ip) in v4.chain(v6) {
        if is_asked_for && hints.len() < limits::ADDRESSES_PER_ANSWER {
            hints.push(Hint { name: name.clone(), ip, ttl: ttl.into_duration() });
        }
    }
    Ok(hints)
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, str::FromStr as _};

    use domain::{
        base::{MessageBuilder, Name, iana::Class},
        rdata::{Cname, Txt},
    };
    use proptest::prelude::*;

    use super::*;

    type Text = Name<Vec<u8>>;

    fn name(text: &str) -> Text {
        Text::from_str(text).expect("a name")
    }

    enum Row {
        Address(&'static str, [u8; 4]),
        Address6(&'static str, &'static str),
        Alias(&'static str, &'static str),
    }

    fn answer(asked: &str, rows: &[Row]) -> Vec<u8> {
        let mut message = MessageBuilder::new_vec();
        message.header_mut().set_qr(true);
        let mut question = message.question();
        question.push((name(asked), Rtype::A)).expect("room");
        let mut answer = question.answer();
        for row in rows {
            match row {
                Row::Address(owner, ip) => {
                    let data = A::new(Ipv4Addr::from(*ip));
                    answer.push((name(owner), Class::IN, 300_u32, data)).expect("room");
                }
                Row::Address6(owner, ip) => {
                    let data = Aaaa::new(ip.parse().expect("an address"));
                    answer.push((name(owner), Class::IN, 300_u32, data)).expect("room");
                }
                Row::Alias(owner, to) => {
                    let data = Cname::new(name(to));
                    answer.push((name(owner), Class::IN, 300_u32, data)).expect("room");
                }
            }
        }
        answer.finish()
    }

    fn found(message: &[u8]) -> Vec<(String, String)> {
        let hints = read(message).expect("well formed");
        assert!(hints.iter().all(|hint| hint.ttl == Duration::from_mins(5)));
        hints.into_iter().map(|hint| (hint.name.into(), hint.ip.to_string())).collect()
    }

    fn pair(name: &str, ip: &str) -> (String, String) {
        (name.to_owned(), ip.to_owned())
    }

    #[test]
    fn addresses_of_either_kind_belong_to_the_name_that_was_asked_for() {
        let rows = [
            Row::Address("api.Example.com", [192, 0, 2, 1]),
            Row::Address6("API.example.com", "2001:db8::1"),
        ];
        let found = found(&answer("API.example.com", &rows));
        assert_eq!(
            found,
            [pair("api.example.com", "192.0.2.1"), pair("api.example.com", "2001:db8::1")]
        );
    }

    #[test]
    fn aliases_are_followed_in_whatever_order_they_come() {
        let rows = [
            Row::Address("edge.cdn.example", [192, 0, 2, 1]),
            Row::Alias("api.cdn.example", "edge.cdn.example"),
            Row::Alias("api.example.com", "api.cdn.example"),
        ];
        assert_eq!(
            found(&answer("api.example.com", &rows)),
            [pair("api.example.com", "192.0.2.1")]
        );
    }

    #[test]
    fn what_is_said_of_other_names_is_not_believed() {
        let rows = [
            Row::Address("bank.example", [192, 0, 2, 66]),
            Row::Alias("bank.example", "evil.example"),
            Row::Address("evil.example", [192, 0, 2, 1]),
        ];
        assert_eq!(found(&answer("evil.example", &rows)), [pair("evil.example", "192.0.2.1")]);
    }

    #[test]
    fn aliases_in_a_circle_come_to_an_end() {
        let rows = [Row::Alias("a.example", "b.example"), Row::Alias("b.example", "a.example")];
        assert_eq!(read(&answer("a.example", &rows)), Err(Malformed));
    }

    #[test]
    fn what_is_no_answer_or_of_another_kind_says_nothing() {
        let rows = [Row::Address("a.example", [192, 0, 2, 1])];
        let mut query = answer("a.example", &rows);
        query[2] &= 0x7f;
        assert_eq!(read(&query), Ok(Vec::new()));
        let mut refused = answer("a.example", &rows);
        refused[3] |= 5;
        assert_eq!(read(&refused), Ok(Vec::new()));

        let mut message = MessageBuilder::new_vec();
        message.header_mut().set_qr(true);
        let mut question = message.question();
        question.push((name("a.example"), Rtype::TXT)).expect("room");
        let mut text = question.answer();
        let data: Txt<Vec<u8>> = Txt::build_from_slice(b"192.0.2.1").expect("short");
        text.push((name("a.example"), Class::IN, 300_u32, data)).expect("room");
        assert_eq!(read(&text.finish()), Ok(Vec::new()));
    }

    #[test]
    fn an_answer_gives_only_so_many_addresses() {
        let mut message = MessageBuilder::new_vec();
        message.header_mut().set_qr(true);
        let mut question = message.question();
        question.push((name("a.example"), Rtype::A)).expect("room");
        let mut answer = question.answer();
        for last in 0..=u8::MAX {
            let data = A::new(Ipv4Addr::new(192, 0, 2, last));
            answer.push((name("a.example"), Class::IN, 300_u32, data)).expect("room");
        }
        let hints = read(&answer.finish()).expect("well formed");
        assert_eq!(hints.len(), limits::ADDRESSES_PER_ANSWER);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let _ = read(&bytes);
        }

        #[test]
        fn an_answer_that_was_cut_or_changed_is_read_without_a_panic(
            cut in 0_usize..200, place in 0_usize..200, byte in any::<u8>(),
        ) {
            let rows = [
                Row::Alias("a.example", "b.example"),
                Row::Address("b.example", [192, 0, 2, 1]),
                Row::Address6("b.example", "2001:db8::1"),
            ];
            let mut message = answer("a.example", &rows);
            message.truncate(cut.max(1));
            let place = place % message.len();
            message[place] = byte;
            let _ = read(&message);
        }
    }
}
