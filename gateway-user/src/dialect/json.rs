//! JSON as clients and servers really write it: types that borrow, bound and forgive.

use std::{borrow::Cow, fmt, iter, marker::PhantomData, option, vec};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
};

use super::NotUnderstood;
use crate::call::Name;

/// A visitor's methods for kinds of values that are read and give a value of their own.
macro_rules! passed_over {
    ($value:expr; $($kind:ident)*) => { $(passed_over!(@$kind $value);)* };
    (@bool $value:expr) => {
        fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
            Ok($value)
        }
    };
    (@u64 $value:expr) => {
        fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
            Ok($value)
        }
    };
    (@i64 $value:expr) => {
        fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
            Ok($value)
        }
    };
    (@f64 $value:expr) => {
        fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
            Ok($value)
        }
    };
    (@str $value:expr) => {
        fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
            Ok($value)
        }
    };
    (@unit $value:expr) => {
        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok($value)
        }
    };
    (@seq $value:expr) => {
        fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
            IgnoredAny.visit_seq(seq).map(|_| $value)
        }
    };
}

/// A string, borrowed from the input unless escapes are in it.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

/// The text, unless it is absent or empty: servers write both for the same.
pub(super) fn given<'t>(text: Option<&'t Text<'_>>) -> Option<&'t str> {
    text.map(|text| &*text.0).filter(|text| !text.is_empty())
}

/// A string, or something else that is passed over and says nothing.
#[derive(Debug, Default)]
pub(super) struct Said<'a>(pub(super) Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Said<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SaidVisitor;

        impl<'de> Visitor<'de> for SaidVisitor {
            type Value = Said<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Said<'de>, E> {
                Ok(Said(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Said<'de>, E> {
                Ok(Said(Cow::Owned(text.to_owned())))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Said<'de>, A::Error> {
                IgnoredAny.visit_map(map).map(|_| Said::default())
            }

            passed_over!(Said::default(); bool u64 i64 f64 unit seq);
        }

        deserializer.deserialize_any(SaidVisitor)
    }
}

/// The first `N` items of an array; the others are skipped. `null` is an empty array.
#[derive(Debug)]
pub(super) struct UpTo<const N: usize, T>(pub(super) Vec<T>);

impl<const N: usize, T> Default for UpTo<N, T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, const N: usize, T: Deserialize<'de>> Deserialize<'de> for UpTo<N, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Items<const N: usize, T>(PhantomData<T>);

        impl<'de, const N: usize, T: Deserialize<'de>> Visitor<'de> for Items<N, T> {
            type Value = UpTo<N, T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array or null")
            }

            fn visit_unit<E>(self) -> Result<UpTo<N, T>, E> {
                Ok(UpTo::default())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<UpTo<N, T>, A::Error> {
                let mut items = Vec::new();
                while items.len() < N {
                    match seq.next_element()? {
                        Some(item) => items.push(item),
                        None => return Ok(UpTo(items)),
                    }
                }
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(UpTo(items))
            }
        }

        deserializer.deserialize_any(Items(PhantomData))
    }
}

/// What the items of an array add up to. Each is let go before the next one is read.
pub(super) trait Gather<'de>: Default {
    type Item: Deserialize<'de>;

    /// Whether further items are not to be read.
    fn is_full(&self) -> bool;

    fn push(&mut self, item: Self::Item);

    /// There were items that were not read.
    fn overflow(&mut self);
}

/// A `G`, gathered of an array. One object counts as an array of it, `null` as an empty one.
#[derive(Debug, Default)]
pub(super) struct Gathered<G>(pub(super) G);

impl<'de, G: Gather<'de>> Deserialize<'de> for Gathered<G> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Items<G>(PhantomData<G>);

        impl<'de, G: Gather<'de>> Visitor<'de> for Items<G> {
            type Value = Gathered<G>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array, an object or null")
            }

            fn visit_unit<E>(self) -> Result<Gathered<G>, E> {
                Ok(Gathered(G::default()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Gathered<G>, A::Error> {
                let mut gathered = G::default();
                gathered.push(G::Item::deserialize(MapAccessDeserializer::new(map))?);
                Ok(Gathered(gathered))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Gathered<G>, A::Error> {
                let mut gathered = G::default();
                while !gathered.is_full() {
                    match seq.next_element()? {
                        Some(item) => gathered.push(item),
                        None => return Ok(Gathered(gathered)),
                    }
                }
                while seq.next_element::<IgnoredAny>()?.is_some() {
                    gathered.overflow();
                }
                Ok(Gathered(gathered))
            }
        }

        deserializer.deserialize_any(Items(PhantomData))
    }
}

/// The same, for arrays that mostly have one item: that one takes no allocation.
#[derive(Debug)]
pub(super) struct MostlyOne<const N: usize, T> {
    first: Option<T>,
    others: Vec<T>,
}

impl<const N: usize, T> Default for MostlyOne<N, T> {
    fn default() -> Self {
        Self { first: None, others: Vec::new() }
    }
}

impl<const N: usize, T> IntoIterator for MostlyOne<N, T> {
    type Item = T;
    type IntoIter = iter::Chain<option::IntoIter<T>, vec::IntoIter<T>>;

    fn into_iter(self) -> Self::IntoIter {
        self.first.into_iter().chain(self.others)
    }
}

impl<'de, const N: usize, T: Deserialize<'de>> Deserialize<'de> for MostlyOne<N, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Items<const N: usize, T>(PhantomData<T>);

        impl<'de, const N: usize, T: Deserialize<'de>> Visitor<'de> for Items<N, T> {
            type Value = MostlyOne<N, T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array or null")
            }

            fn visit_unit<E>(self) -> Result<MostlyOne<N, T>, E> {
                Ok(MostlyOne::default())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<MostlyOne<N, T>, A::Error> {
                let Some(first) = seq.next_element()? else { return Ok(MostlyOne::default()) };
                let mut items = MostlyOne { first: Some(first), others: Vec::new() };
                while items.others.len() + 1 < N {
                    match seq.next_element()? {
                        Some(item) => items.others.push(item),
                        None => return Ok(items),
                    }
                }
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(items)
            }
        }

        deserializer.deserialize_any(Items(PhantomData))
    }
}

/// A `T`, which is an object, or something else that is passed over.
#[derive(Debug)]
pub(super) enum Maybe<T> {
    Is(T),
    IsNot,
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Maybe<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MaybeVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for MaybeVisitor<T> {
            type Value = Maybe<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Maybe<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Maybe::Is)
            }

            passed_over!(Maybe::IsNot; bool u64 i64 f64 str unit seq);
        }

        deserializer.deserialize_any(MaybeVisitor(PhantomData))
    }
}

impl<T> Maybe<T> {
    pub(super) fn known(self) -> Option<T> {
        match self {
            Self::Is(value) => Some(value),
            Self::IsNot => None,
        }
    }

    pub(super) fn as_known(&self) -> Option<&T> {
        match self {
            Self::Is(value) => Some(value),
            Self::IsNot => None,
        }
    }
}

/// A text, or something else that is passed over.
#[derive(Debug, Default)]
pub(super) struct TextOnly<'a>(pub(super) Option<Text<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for TextOnly<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;

        impl<'de> Visitor<'de> for TextVisitor {
            type Value = TextOnly<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(TextOnly(Some(Text(Cow::Borrowed(text)))))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(TextOnly(Some(Text(Cow::Owned(text.to_owned())))))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                IgnoredAny.visit_map(map).map(|_| TextOnly(None))
            }

            passed_over!(TextOnly(None); bool u64 i64 f64 unit seq);
        }

        deserializer.deserialize_any(TextVisitor)
    }
}

/// What a server writes for an error: an object with a code, a type or a status, or a text.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum ErrorReport<'a> {
    Object {
        #[serde(borrow, default)]
        code: Option<ErrorCode<'a>>,
        #[serde(borrow, default, rename = "type")]
        kind: Option<ErrorCode<'a>>,
        #[serde(borrow, default)]
        status: Option<ErrorCode<'a>>,
    },
    Other(IgnoredAny),
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum ErrorCode<'a> {
    Text(#[serde(borrow)] Text<'a>),
    Number(i64),
    Other(IgnoredAny),
}

impl ErrorReport<'_> {
    /// Its code, else its type or status. A code that is a number says the least: it is the HTTP
    /// status.
    pub(super) fn name(&self) -> Name {
        let Self::Object { code, kind, status } = self else { return "error".into() };
        let mut codes = [code, kind, status].into_iter().flatten();
        let text = codes.clone().find_map(ErrorCode::text);
        text.map(Name::shared)
            .or_else(|| codes.find_map(ErrorCode::number))
            .unwrap_or_else(|| "error".into())
    }
}

impl ErrorCode<'_> {
    pub(super) fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self { given(Some(text)) } else { None }
    }

    pub(super) fn number(&self) -> Option<Name> {
        if let Self::Number(number) = self { Some(number.to_string().into()) } else { None }
    }
}

/// A string or a number, where either may name something; anything else says nothing.
#[derive(Clone, Debug)]
pub(super) enum Label<'a> {
    Text(Text<'a>),
    Number(i128),
    Nothing,
}

impl Label<'_> {
    pub(super) fn text(&self) -> Option<String> {
        match self {
            Self::Text(text) => given(Some(text)).map(str::to_owned),
            Self::Number(number) => Some(number.to_string()),
            Self::Nothing => None,
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Label<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct LabelVisitor;

        impl<'de> Visitor<'de> for LabelVisitor {
            type Value = Label<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Label<'de>, E> {
                Ok(Label::Text(Text(Cow::Borrowed(text))))
            }

            fn visit_str<E>(self, text: &str) -> Result<Label<'de>, E> {
                Ok(Label::Text(Text(Cow::Owned(text.to_owned()))))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Label<'de>, E> {
                Ok(Label::Number(number.into()))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Label<'de>, E> {
                Ok(Label::Number(number.into()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Label<'de>, A::Error> {
                IgnoredAny.visit_map(map).map(|_| Label::Nothing)
            }

            passed_over!(Label::Nothing; bool f64 unit seq);
        }

        deserializer.deserialize_any(LabelVisitor)
    }
}

/// How many. Some servers write whole numbers as floats.
#[derive(Clone, Copy, Debug)]
pub(super) enum Count {
    Whole(u64),
    Float(f64),
    Unknown,
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct CountVisitor;

        impl<'de> Visitor<'de> for CountVisitor {
            type Value = Count;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }

            fn visit_u64<E>(self, count: u64) -> Result<Count, E> {
                Ok(Count::Whole(count))
            }

            fn visit_f64<E>(self, count: f64) -> Result<Count, E> {
                Ok(Count::Float(count))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Count, A::Error> {
                IgnoredAny.visit_map(map).map(|_| Count::Unknown)
            }

            passed_over!(Count::Unknown; bool i64 str unit seq);
        }

        deserializer.deserialize_any(CountVisitor)
    }
}

impl Count {
    /// The number, unless it is negative, broken or no number.
    pub(super) fn get(self) -> Option<u64> {
        match self {
            Self::Whole(count) => Some(count),
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "whole, not negative, and the cast saturates"
            )]
            Self::Float(count) if count >= 0.0 && count.fract() == 0.0 => Some(count as u64),
            Self::Float(_) | Self::Unknown => None,
        }
    }
}

impl From<serde_json::Error> for NotUnderstood {
    fn from(error: serde_json::Error) -> Self {
        match error.is_data() {
            // Serde has no kind of error for it, only these words.
            true if error.to_string().starts_with("duplicate field") => Self::DuplicateKey,
            true => Self::NotThisShape,
            false => Self::NotJson,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_without_escapes_is_borrowed() {
        let texts: Vec<Option<Text<'_>>> =
            serde_json::from_str(r#"["plain", "a\nb", null]"#).expect("texts");
        assert!(matches!(&texts[0], Some(Text(Cow::Borrowed("plain")))));
        assert!(matches!(&texts[1], Some(Text(Cow::Owned(text))) if text == "a\nb"));
        assert!(texts[2].is_none());
    }

    #[test]
    fn counts_forgive_what_servers_write() {
        let counts: Vec<Option<Count>> =
            serde_json::from_str(r#"[3, 4.0, -1, -2.0, 1.5, 1e300, "7", null, {}]"#)
                .expect("counts");
        let counts: Vec<_> = counts.into_iter().map(|count| count.and_then(Count::get)).collect();
        let mut expected = vec![Some(3), Some(4), None, None, None, Some(u64::MAX)];
        expected.extend([None; 3]);
        assert_eq!(counts, expected);
    }

    #[test]
    fn items_beyond_the_bound_are_skipped() {
        let items: UpTo<2, u8> = serde_json::from_str("[1, 2, 300, {}]").expect("items");
        assert_eq!(items.0, [1, 2]);
        let none: UpTo<2, u8> = serde_json::from_str("null").expect("no items");
        assert!(none.0.is_empty());
        for (json, wanted) in
            [("null", &[][..]), ("[]", &[]), ("[1]", &[1]), ("[1,2,300]", &[1, 2])]
        {
            let items: MostlyOne<2, u8> = serde_json::from_str(json).expect(json);
            assert_eq!(items.into_iter().collect::<Vec<_>>(), wanted, "{json}");
        }
    }
}
