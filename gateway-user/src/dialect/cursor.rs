//! A JSON document read value by value, so that a reader can go on from where another one was.

use std::mem;

use serde::{Deserialize, de::IgnoredAny};
use serde_json::Deserializer;

use super::{NotUnderstood, json::Text};

/// A place in a document.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'a> {
    document: &'a [u8],
    at: usize,
}

/// A field's value, and whether it has come.
#[derive(Debug, Default)]
pub(super) struct Once<T> {
    pub(super) value: T,
    pub(super) seen: bool,
}

/// Reads a document that is one object, as [`Cursor::object`] does.
pub(super) fn read<'a>(
    document: &'a [u8],
    read: impl FnMut(&str, &mut Cursor<'a>) -> Result<(), NotUnderstood>,
) -> Result<(), NotUnderstood> {
    let mut cursor = Cursor::new(document, 0);
    cursor.object(read)?;
    if cursor.is_at_end() { Ok(()) } else { Err(NotUnderstood::NotJson) }
}

impl<'a> Cursor<'a> {
    pub(super) const fn new(document: &'a [u8], at: usize) -> Self {
        Self { document, at }
    }

    /// Bytes before it.
    pub(super) const fn at(&self) -> usize {
        self.at
    }

    /// The next byte that is not blank.
    pub(super) fn peek(&mut self) -> Option<u8> {
        loop {
            let byte = *self.document.get(self.at)?;
            if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return Some(byte);
            }
            self.at += 1;
        }
    }

    /// Takes that byte, if it is this one.
    pub(super) fn takes(&mut self, byte: u8) -> bool {
        let is = self.peek() == Some(byte);
        self.at += usize::from(is);
        is
    }

    /// Takes that byte, which must be this one.
    pub(super) fn take(&mut self, byte: u8) -> Result<(), NotUnderstood> {
        if self.takes(byte) { Ok(()) } else { Err(NotUnderstood::NotJson) }
    }

    /// After an item of an array or an object that ends in this byte: whether another one follows.
    pub(super) fn goes_on(&mut self, end: u8) -> Result<bool, NotUnderstood> {
        if self.takes(end) {
            return Ok(false);
        }
        self.take(b',').map(|()| true)
    }

    /// The name of a field, up to its value.
    pub(super) fn name(&mut self) -> Result<Text<'a>, NotUnderstood> {
        if self.peek() != Some(b'"') {
            return Err(NotUnderstood::NotJson);
        }
        let name = self.value()?;
        self.take(b':')?;
        Ok(name)
    }

    pub(super) fn value<T: Deserialize<'a>>(&mut self) -> Result<T, NotUnderstood> {
        let rest = self.document.get(self.at..).unwrap_or_default();
        let mut values = Deserializer::from_slice(rest).into_iter();
        let value = values.next().ok_or(NotUnderstood::NotJson)??;
        self.at += values.byte_offset();
        Ok(value)
    }

    /// Passes over a value.
    pub(super) fn skip(&mut self) -> Result<(), NotUnderstood> {
        self.value::<IgnoredAny>().map(drop)
    }

    /// The value of a field that may come once: one that comes again could be read either way.
    pub(super) fn once<T: Deserialize<'a>>(
        &mut self,
        field: &mut Once<T>,
    ) -> Result<(), NotUnderstood> {
        if mem::replace(&mut field.seen, true) {
            return Err(NotUnderstood::DuplicateKey);
        }
        field.value = self.value()?;
        Ok(())
    }

    /// An object: `read` is given the name of each field, and takes its value.
    pub(super) fn object(
        &mut self,
        mut read: impl FnMut(&str, &mut Self) -> Result<(), NotUnderstood>,
    ) -> Result<(), NotUnderstood> {
        if !self.takes(b'{') {
            self.skip()?;
            return Err(NotUnderstood::NotThisShape);
        }
        let mut goes_on = !self.takes(b'}');
        while goes_on {
            let Text(name) = self.name()?;
            read(&name, self)?;
            goes_on = self.goes_on(b'}')?;
        }
        Ok(())
    }

    /// What `read` makes of the next value, and how many bytes it has.
    pub(super) fn sized<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, NotUnderstood>,
    ) -> Result<(T, u64), NotUnderstood> {
        self.peek();
        let start = self.at;
        let value = read(self)?;
        Ok((value, (self.at - start) as u64))
    }

    /// The next value, as it is written.
    pub(super) fn raw(&mut self) -> Result<&'a [u8], NotUnderstood> {
        self.peek();
        let start = self.at;
        self.value::<IgnoredAny>()?;
        Ok(self.document.get(start..self.at).unwrap_or_default())
    }

    /// Where the last item of the array or object before the cursor ends, if it has any.
    pub(super) fn end_of_item(&self) -> usize {
        let before = self.document.get(..self.at.saturating_sub(1)).unwrap_or_default();
        before.trim_ascii_end().len()
    }

    /// Whether nothing follows.
    pub(super) fn is_at_end(&mut self) -> bool {
        self.peek().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_one_by_one() {
        let mut cursor = Cursor::new(br#" { "a" : 1 , "b":[2,"}"] } "#, 0);
        assert_eq!(cursor.take(b'{'), Ok(()));
        assert_eq!(cursor.name().expect("a name").0, "a");
        assert_eq!(cursor.value(), Ok(1));
        assert_eq!(cursor.goes_on(b'}'), Ok(true));
        assert_eq!(cursor.name().expect("a name").0, "b");
        assert_eq!(cursor.raw(), Ok(&br#"[2,"}"]"#[..]));
        assert_eq!(cursor.end_of_item(), r#" { "a" : 1 , "b":[2,"}""#.len());
        assert_eq!(cursor.goes_on(b'}'), Ok(false));
        assert!(cursor.is_at_end());
        assert_eq!(cursor.value::<u8>(), Err(NotUnderstood::NotJson));
    }

    #[test]
    fn objects_are_read_field_by_field() {
        let read = |text: &'static str| {
            let (mut names, mut once) = (String::new(), Once::<u8>::default());
            let mut cursor = Cursor::new(text.as_bytes(), 0);
            let end = cursor.object(|name, cursor| {
                names.push_str(name);
                if name == "a" { cursor.once(&mut once) } else { cursor.skip() }
            });
            end.map(|()| (names, once.value))
        };
        assert_eq!(read(r#" { "a" : 7 , "x": {"a": 3}, "y":[] } "#), Ok(("axy".to_owned(), 7)));
        assert_eq!(read("{}"), Ok((String::new(), 0)));
        assert_eq!(read(r#"{"a":1,"a":1}"#), Err(NotUnderstood::DuplicateKey));
        for other in ["[1]", "7", r#"{"a":"x"}"#] {
            assert_eq!(read(other), Err(NotUnderstood::NotThisShape), "{other}");
        }
        for broken in ["", "{", "[", r#"{"a":1,}"#, r#"{"a":1]"#, r#"{"a" 1}"#, "{,}"] {
            assert_eq!(read(broken), Err(NotUnderstood::NotJson), "{broken}");
        }
    }

    #[test]
    fn what_is_no_json_is_told_from_what_is_another_value() {
        let value = |text: &'static str| Cursor::new(text.as_bytes(), 0).value::<u8>();
        assert_eq!(value("[1"), Err(NotUnderstood::NotThisShape));
        assert_eq!(value("1x"), Err(NotUnderstood::NotJson));
        assert_eq!(Cursor::new(b"1]", 0).goes_on(b'}'), Err(NotUnderstood::NotJson));
        assert!(Cursor::new(b"a:1", 0).name().is_err());
    }
}
