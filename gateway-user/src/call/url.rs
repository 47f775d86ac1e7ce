//! URLs, as far as it takes to tell whether what is asked for is what a tool call names.

use xxhash_rust::xxh3::xxh3_64;

use crate::limits;

/// A hash of an `http` or `https` URL in its normal form (RFC 3986, section 6.2): scheme and host in
/// lower case, without user, default port and fragment, with `/` for no path, and with one spelling of
/// what is percent-encoded. The text itself is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Url(u64);

/// A URL in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mention {
    pub url: Url,
    /// Whether the text is nothing else.
    pub is_whole: bool,
}

/// The schemes that are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    Http,
    Https,
}

impl Url {
    /// Of an absolute one. `None` if it is none of these, or too long.
    #[must_use]
    pub fn of(text: &str) -> Option<Self> {
        let (scheme, after) = text.split_once("://")?;
        let scheme = [Scheme::Https, Scheme::Http]
            .into_iter()
            .find(|known| known.name().eq_ignore_ascii_case(scheme))?;
        let end = after.find(['/', '?', '#']).unwrap_or(after.len());
        let (authority, rest) = after.split_at(end);
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        Self::normal(scheme, host, rest)
    }

    /// Of what a request asks for: by the host that it names, and its target as it was sent.
    /// `is_secure`: it came in TLS.
    #[must_use]
    pub fn of_request(is_secure: bool, host: Option<&str>, target: &str) -> Option<Self> {
        if target.starts_with('/') {
            let scheme = if is_secure { Scheme::Https } else { Scheme::Http };
            Self::normal(scheme, host?, target)
        } else {
            Self::of(target)
        }
    }

    /// Of what an answer to such a request refers to (RFC 3986, section 4.2), unless that is relative
    /// to the path, which is rare.
    #[must_use]
    pub fn of_reference(is_secure: bool, host: Option<&str>, reference: &str) -> Option<Self> {
        if reference.starts_with("//") {
            let scheme = if is_secure { Scheme::Https } else { Scheme::Http };
            Self::of(&format!("{}:{reference}", scheme.name()))
        } else {
            Self::of_request(is_secure, host, reference)
        }
    }

    /// `rest` is the path and what follows it.
    fn normal(scheme: Scheme, host: &str, rest: &str) -> Option<Self> {
        let host = host.strip_suffix(scheme.default_port()).unwrap_or(host);
        let host = host.strip_suffix(':').unwrap_or(host);
        let rest = rest.split_once('#').map_or(rest, |(before, _)| before);
        if host.is_empty() || host.len() + rest.len() > limits::URL_BYTES {
            return None;
        }
        let mut normal = Vec::with_capacity(scheme.name().len() + host.len() + rest.len() + 1);
        normal.extend_from_slice(scheme.name().as_bytes());
        normal.extend(host.bytes().map(|byte| byte.to_ascii_lowercase()));
        if !rest.starts_with('/') {
            normal.push(b'/');
        }
        spell(rest.as_bytes(), &mut normal);
        Some(Self(xxh3_64(&normal)))
    }
}

impl Mention {
    /// Those in a text, in the order in which they stand there. `is_cut`: there was more of the text,
    /// so that one which goes up to its end may not be whole.
    pub fn all_in(text: &str, is_cut: bool) -> impl Iterator<Item = Self> + '_ {
        let text = if is_cut { text } else { text.trim_ascii() };
        let is_one = !is_cut && !text.contains(ends);
        let whole = Some(text).filter(|_| is_one).and_then(Url::of);
        let mut rest = if whole.is_some() { "" } else { text };
        let parts = std::iter::from_fn(move || {
            loop {
                let (found, after) = next_in(rest, is_cut)?;
                rest = after;
                if let Some(url) = Url::of(found) {
                    return Some(Self { url, is_whole: false });
                }
            }
        });
        whole.map(|url| Self { url, is_whole: true }).into_iter().chain(parts)
    }
}

impl Scheme {
    const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    const fn default_port(self) -> &'static str {
        match self {
            Self::Http => ":80",
            Self::Https => ":443",
        }
    }
}

/// What may be the text's next URL, and what follows it.
fn next_in(text: &str, is_cut: bool) -> Option<(&str, &str)> {
    let mut from = 0;
    loop {
        let colon = from + text.get(from..)?.find("://")?;
        from = colon + 3;
        let before = text.get(..colon)?;
        let letters = before.bytes().rev().take_while(u8::is_ascii_alphanumeric).count();
        let start = colon - letters;
        let length = text.get(from..)?.find(ends).unwrap_or(text.len() - from);
        let end = from + length;
        // Shells and prose put it before other things without a blank.
        let found = text.get(start..end)?;
        let found = found.split_once("&&").map_or(found, |(before, _)| before);
        if !(is_cut && start + found.len() == text.len()) {
            return Some((without_punctuation(found), text.get(end..)?));
        }
    }
}

/// What no URL has in it where it stands in other text.
fn ends(character: char) -> bool {
    character.is_whitespace() || character.is_control() || "\"'`<>\\|{}".contains(character)
}

/// A text without what ends the sentence, or the bracket, that a URL stands in.
fn without_punctuation(mut text: &str) -> &str {
    loop {
        let count = |of: char| text.matches(of).count();
        let is_closed = |open, close| count(open) >= count(close);
        text = match text.as_bytes().last() {
            Some(b'.' | b',' | b';' | b':' | b'!' | b'?' | b'*') => &text[..text.len() - 1],
            Some(b')') if !is_closed('(', ')') => &text[..text.len() - 1],
            Some(b']') if !is_closed('[', ']') => &text[..text.len() - 1],
            _ => return text,
        };
    }
}

/// Clients differ in what they encode; what is encoded, and needn't be, means the same.
fn spell(mut bytes: &[u8], spelt: &mut Vec<u8>) {
    loop {
        let end = bytes.iter().position(|&byte| !STANDS[usize::from(byte)]);
        let (stands, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
        spelt.extend_from_slice(stands);
        let Some((first, after)) = rest.split_first() else { return };
        bytes = after;
        match encoded(after).filter(|_| *first == b'%') {
            Some((byte, after)) => {
                bytes = after;
                if is_plain(byte) {
                    spelt.push(byte);
                } else {
                    encode(byte, spelt);
                }
            }
            None if *first == b'%' => spelt.push(b'%'),
            None => encode(*first, spelt),
        }
    }
}

/// The byte whose two hexadecimal digits stand there, and what follows them.
fn encoded(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let (digits, after) = bytes.split_first_chunk::<2>()?;
    let [high, low] = digits.map(|digit| char::from(digit).to_digit(16));
    let byte = u8::try_from(high? * 16 + low?).ok()?;
    Some((byte, after))
}

fn encode(byte: u8, spelt: &mut Vec<u8>) {
    let digit = |of: u8| HEX[usize::from(of & 15)];
    spelt.extend([b'%', digit(byte >> 4), digit(byte)]);
}

/// What means the same whether it is encoded or not.
const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// Which bytes stand for themselves: those, and what means something else when it is encoded.
const STANDS: [bool; 256] = {
    let mut stands = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        stands[byte as usize] = is_plain(byte);
        byte += 1;
    }
    let mut at = 0;
    while at < RESERVED.len() {
        stands[RESERVED[at] as usize] = true;
        at += 1;
    }
    stands
};

const RESERVED: &[u8] = b":/?#[]@!$&'()*+,;=";

const HEX: &[u8; 16] = b"0123456789ABCDEF";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn url(text: &str) -> Url {
        Url::of(text).expect("a URL")
    }

    #[test]
    fn spellings_of_one_url_are_equal() {
        for (one, other) in [
            ("HTTPS://Example.COM:443", "https://example.com/#top"),
            ("http://u:p@a.test:80/b?c#d", "http://a.test/b?c"),
            ("http://a.test?q=1", "http://a.test/?q=1"),
            ("http://a.test/%7Eme/%c3%bc x", "http://a.test/~me/ü%20x"),
            ("http://[::1]:80/", "http://[::1]"),
            ("http://a.test:/100%", "http://a.test/100%"),
        ] {
            assert_eq!(url(one), url(other), "{one}");
        }
    }

    #[test]
    fn what_asks_for_something_else_differs() {
        let same = url("https://a.test/b?c=d");
        for other in [
            "http://a.test/b?c=d",
            "https://b.test/b?c=d",
            "https://a.test:8443/b?c=d",
            "https://a.test/B?c=d",
            "https://a.test/b/?c=d",
            "https://a.test/b",
            "https://a.test/b?c%3Dd",
        ] {
            assert_ne!(same, url(other), "{other}");
        }
        let long = format!("http://a.test/{}", "x".repeat(limits::URL_BYTES));
        for none in ["", "a.test/b", "ftp://a.test/", "https://", "https:///b", "xhttp://a/", &long]
        {
            assert_eq!(Url::of(none), None, "{none}");
        }
    }

    #[test]
    fn a_request_asks_for_what_its_host_and_target_say() {
        let of = |is_secure, host, target| Url::of_request(is_secure, host, target);
        assert_eq!(of(true, Some("A.test"), "/b?c"), Some(url("https://a.test/b?c")));
        assert_eq!(of(false, Some("a.test:8080"), "/"), Some(url("http://a.test:8080")));
        assert_eq!(of(false, None, "http://a.test/b"), Some(url("http://a.test/b")), "a proxy's");
        assert_eq!(of(true, Some("a.test"), "//b.test/c"), Some(url("https://a.test//b.test/c")));
        let refers = |to| Url::of_reference(true, Some("a.test"), to);
        assert_eq!(refers("//b.test/c"), Some(url("https://b.test/c")));
        assert_eq!(refers("/c"), Some(url("https://a.test/c")));
        assert_eq!((refers("http://b.test"), refers("c")), (Some(url("http://b.test")), None));
        for none in [of(true, None, "/b"), of(true, Some("a.test"), "*"), of(true, None, "a:443")] {
            assert_eq!(none, None);
        }
    }

    fn all(text: &str) -> Vec<Mention> {
        Mention::all_in(text, false).collect()
    }

    fn part(text: &str) -> Mention {
        Mention { url: url(text), is_whole: false }
    }

    #[test]
    fn urls_are_found_in_other_text() {
        assert_eq!(
            all(" https://a.test/b,c. \n"),
            [Mention { is_whole: true, ..part("https://a.test/b,c.") }]
        );
        let (b, c) = ("https://a.test/b?x=1&y=2", "http://c.test");
        assert_eq!(all(&format!("curl -s '{b}' | grep x && curl {c};")), [part(b), part(c)]);
        assert_eq!(all(&format!("curl {c}&&curl \"{b}\"")), [part(c), part(b)]);
        assert_eq!(all(&format!("[b]({b}), see {c}.")), [part(b), part(c)]);
        let bracket = "https://a.test/Foo_(bar)";
        assert_eq!(all(&format!("({bracket})")), [part(bracket)]);
        assert_eq!(all("git+https://a.test/b ftp://c http:// ://"), [part("https://a.test/b")]);
        let cut: Vec<_> = Mention::all_in("see http://c.test and https://a.te", true).collect();
        assert_eq!(cut, [part(c)]);
        assert_eq!(Mention::all_in("https://a.te", true).count(), 0);
    }

    proptest! {
        #[test]
        fn any_text_can_be_looked_through(text in r#"(http|s|://|[a-zé%&()\[\]./ "]){0,40}"#) {
            for is_cut in [false, true] {
                prop_assert!(Mention::all_in(&text, is_cut).count() <= text.len());
            }
            let _ = (Url::of(&text), Url::of_request(true, Some(&text), &text));
        }

        #[test]
        fn a_url_is_found_as_it_is_asked_for(host in "[a-z]{1,9}", path in "(/[a-z0-9%é~_-]{0,9}){0,4}") {
            let text = format!("https://{host}{path}");
            let target = if path.is_empty() { "/" } else { &path };
            let asked = Url::of_request(true, Some(&host), target);
            let found: Vec<_> = Mention::all_in(&format!("get {text} now"), false).collect();
            prop_assert_eq!(found.first().map(|it| it.url), asked);
        }
    }
}
