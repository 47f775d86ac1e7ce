//! The tools of a request: hashed, and told apart by who runs them.
//!
//! What a provider runs itself goes on for as long as it likes, with the results in what the model is
//! given next: what such a call costs can't be told before it is over.

use std::{borrow::Cow, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
};

use super::{
    canonical::{Fields, Items, Json},
    json::{Said, Text},
    keys::Keys,
};
use crate::call::Unmetered;

/// How an API says who runs a tool. What it may have in future, the provider runs.
pub(super) trait Toolbox {
    /// Whether the client runs a tool that has this field.
    fn is_clients_with(_field: &str) -> bool {
        true
    }

    /// Whether the client runs this tool, as what it says of itself has it.
    fn is_clients(_tool: &Nature<'_>) -> bool {
        true
    }
}

/// What a tool says of itself.
#[derive(Debug, Default)]
pub(super) struct Nature<'a> {
    /// Its type; empty if it has none.
    pub(super) kind: Cow<'a, str>,
    /// Who executes it, as it says.
    pub(super) execution: Cow<'a, str>,
    /// The type of its environment.
    pub(super) environment: Cow<'a, str>,
}

/// The tools of one list, each reduced as soon as it is parsed.
#[derive(Debug)]
pub(super) struct Tools<B> {
    items: Items,
    hosted: bool,
    of: PhantomData<B>,
}

impl<B> Default for Tools<B> {
    fn default() -> Self {
        Self { items: Items::default(), hosted: false, of: PhantomData }
    }
}

impl<B> Tools<B> {
    /// The hash of the list, unless it is empty.
    pub(super) fn hash(&self) -> Option<Json> {
        self.items.if_any()
    }

    pub(super) fn unmetered(&self) -> Option<Unmetered> {
        self.hosted.then_some(Unmetered::HostedTools)
    }
}

/// One tool, or a mark for the cache in a tool's place, which says nothing.
struct Tool<B> {
    hash: Option<Json>,
    hosted: bool,
    of: PhantomData<B>,
}

/// Where a tool runs.
#[derive(Default)]
struct Environment<'a> {
    kind: Cow<'a, str>,
    hash: Option<Json>,
}

impl<B> Tools<B> {
    fn push(&mut self, tool: &Tool<B>) {
        if let Some(hash) = tool.hash {
            self.items.push(hash);
        }
        self.hosted |= tool.hosted;
    }
}

impl<'de, B: Toolbox> Deserialize<'de> for Tools<B> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ToolsVisitor<B>(PhantomData<B>);

        impl<'de, B: Toolbox> Visitor<'de> for ToolsVisitor<B> {
            type Value = Tools<B>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of tools, a tool or null")
            }

            fn visit_unit<E>(self) -> Result<Tools<B>, E> {
                Ok(Tools::default())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Tools<B>, A::Error> {
                let mut tools = Tools::default();
                while let Some(tool) = seq.next_element()? {
                    tools.push(&tool);
                }
                Ok(tools)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Tools<B>, A::Error> {
                let mut tools = Tools::default();
                tools.push(&Tool::deserialize(MapAccessDeserializer::new(map))?);
                Ok(tools)
            }
        }

        deserializer.deserialize_any(ToolsVisitor(PhantomData))
    }
}

impl<'de, B: Toolbox> Deserialize<'de> for Tool<B> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ToolVisitor<B>(PhantomData<B>);

        impl<'de, B: Toolbox> Visitor<'de> for ToolVisitor<B> {
            type Value = Tool<B>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a tool")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tool<B>, A::Error> {
                let mut nature = Nature::default();
                let mut fields = Fields::default();
                let mut keys = Keys::default();
                let mut hosted = false;
                while let Some(Text(name)) = keys.next_of(&mut map)? {
                    let value = match &*name {
                        "cachePoint" => {
                            map.next_value::<IgnoredAny>()?;
                            continue;
                        }
                        "type" => text(&mut nature.kind, &mut map)?,
                        "execution" => text(&mut nature.execution, &mut map)?,
                        "environment" => {
                            let environment: Environment<'de> = map.next_value()?;
                            nature.environment = environment.kind;
                            environment.hash
                        }
                        _ => map.next_value()?,
                    };
                    hosted |= value.is_some() && !B::is_clients_with(&name);
                    fields.add_some(&name, value);
                }
                let hash = (!fields.is_empty()).then(|| fields.hash());
                hosted |= !B::is_clients(&nature);
                Ok(Tool { hash, hosted, of: PhantomData })
            }
        }

        deserializer.deserialize_map(ToolVisitor(PhantomData))
    }
}

/// A text and its hash, or something else, which says nothing here.
fn text<'de, A: MapAccess<'de>>(
    into: &mut Cow<'de, str>,
    map: &mut A,
) -> Result<Option<Json>, A::Error> {
    Said(*into) = map.next_value()?;
    Ok((!into.is_empty()).then(|| Json::text(into)))
}

impl<'de: 'a, 'a> Deserialize<'de> for Environment<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EnvironmentVisitor;

        impl<'de> Visitor<'de> for EnvironmentVisitor {
            type Value = Environment<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object, a text or null")
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Environment::default())
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Environment { kind: Cow::Owned(text.to_owned()), hash: Some(Json::text(text)) })
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut kind = Cow::default();
                let mut fields = Fields::default();
                let mut keys = Keys::default();
                while let Some(Text(name)) = keys.next_of(&mut map)? {
                    let value = match &*name {
                        "type" => text(&mut kind, &mut map)?,
                        _ => map.next_value()?,
                    };
                    fields.add_some(&name, value);
                }
                Ok(Environment { kind, hash: Some(fields.hash()) })
            }
        }

        deserializer.deserialize_any(EnvironmentVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Ours;

    impl Toolbox for Ours {
        fn is_clients_with(field: &str) -> bool {
            field != "search"
        }

        fn is_clients(tool: &Nature<'_>) -> bool {
            matches!(&*tool.kind, "" | "function") && matches!(&*tool.environment, "" | "local")
        }
    }

    fn tools(json: &str) -> Tools<Ours> {
        serde_json::from_str(json).expect(json)
    }

    #[test]
    fn a_list_hashes_as_the_json_that_it_is() {
        for list in [
            r#"[{"type":"function","function":{"name":"a"}},{"environment":{"type":"local","x":[1]}}]"#,
            r#"[{"x":null,"type":null,"environment":null,"name":"a"}]"#,
            r#"[{"execution":"client","cache_control":{"type":"ephemeral"}}]"#,
        ] {
            let json: Json = serde_json::from_str(list).expect(list);
            assert_eq!(tools(list).hash(), Some(json), "{list}");
        }
        let marked = r#"[{"name":"a"},{"cachePoint":{"type":"default"}}]"#;
        assert_eq!(tools(marked).hash(), tools(r#"{"name":"a"}"#).hash());
        for none in ["[]", "null", r#"[{"cachePoint":{}}]"#] {
            assert_eq!(tools(none).hash(), None, "{none}");
        }
        assert!(serde_json::from_str::<Tools<Ours>>("[1]").is_err());
    }

    #[test]
    fn one_tool_that_the_provider_runs_is_enough() {
        let unmetered = |json| tools(json).unmetered();
        for ours in [
            "[]",
            r#"[{"name":"a"},{"type":"function"},{"type":null}]"#,
            r#"[{"search":null,"environment":{"type":"local"}}]"#,
        ] {
            assert_eq!(unmetered(ours), None, "{ours}");
        }
        for theirs in [
            r#"[{"type":"function"},{"type":"web"}]"#,
            r#"[{"search":{}}]"#,
            r#"[{"environment":{"type":"remote"}}]"#,
            r#"[{"environment":"remote"}]"#,
        ] {
            assert_eq!(unmetered(theirs), Some(Unmetered::HostedTools), "{theirs}");
        }
    }
}
