//! The configuration as a serde data format: a map whose values are strings, or JSON text where something else is wanted.
use serde::{
    Deserializer,
    de::{DeserializeOwned, Error as _, IntoDeserializer, Visitor, value::StringDeserializer},
    forward_to_deserialize_any,
};

type Error = serde_json::Error;

/// Reads every key and its text into `T`.
pub(crate) fn read<T: DeserializeOwned>(entries: Vec<(String, String)>) -> Result<T, String> {
    let entries = entries.into_iter().map(|(key, text)| (key.clone(), Text { key, text }));
    T::deserialize(serde::de::value::MapDeserializer::<_, Error>::new(entries)).map_err(|error| error.to_string())
}

/// The text of one key.
struct Text {
    key: String,
    text: String,
}

impl Text {
    fn string(self) -> StringDeserializer<Error> {
        self.text.into_deserializer()
    }

    /// Reads the text as JSON; errors name the key.
    fn json<'de, V: Visitor<'de>>(
        self,
        read: impl FnOnce(serde_json::Value) -> Result<V::Value, Error>,
    ) -> Result<V::Value, Error> {
        let value = serde_json::from_str(&self.text).map_err(|_| {
            // Without the text, which may be a secret in the wrong place.
            Error::custom(format!("`{}` is a text, which is not what is expected", self.key))
        })?;
        read(value).map_err(|error| Error::custom(format!("`{}`: {error}", self.key)))
    }
}

impl IntoDeserializer<'_, Error> for Text {
    type Deserializer = Self;
    fn into_deserializer(self) -> Self {
        self
    }
}

macro_rules! read_as_json {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            self.json::<V>(|value| value.$method(visitor))
        }
    )*};
}

impl<'de> Deserializer<'de> for Text {
    type Error = Error;

    /// For types that take what comes (untagged enums): JSON if the text is JSON, a string if not.
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match serde_json::from_str::<serde_json::Value>(&self.text) {
            Ok(_) => self.json::<V>(|value| value.deserialize_any(visitor)),
            Err(_) => self.string().deserialize_any(visitor),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.string().deserialize_any(visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.string().deserialize_any(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let key = self.key.clone();
        match serde_json::from_str::<serde_json::Value>(&self.text) {
            Ok(value) if value.is_object() => value.deserialize_enum(name, variants, visitor),
            _ => self.string().deserialize_enum(name, variants, visitor),
        }
        .map_err(|error| Error::custom(format!("`{key}`: {error}")))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    read_as_json! {
        deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_u8 deserialize_u16
        deserialize_u32 deserialize_u64 deserialize_f32 deserialize_f64 deserialize_seq deserialize_map deserialize_unit
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.json::<V>(|value| value.deserialize_struct(name, fields, visitor))
    }

    forward_to_deserialize_any! { i128 u128 char bytes byte_buf unit_struct tuple tuple_struct identifier }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use std::{collections::BTreeMap, net::IpAddr};

    #[derive(Debug, Default, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
    struct Settings {
        text: String,
        number: u16,
        share: f64,
        on: bool,
        list: Vec<String>,
        table: BTreeMap<String, u8>,
        nested: Option<Nested>,
        mode: Mode,
        address: Option<IpAddr>,
        several_words: Option<u8>,
        either: Option<Either>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Nested {
        mode: Mode,
    }

    #[derive(Debug, Default, Deserialize, PartialEq)]
    #[serde(rename_all = "kebab-case")]
    enum Mode {
        #[default]
        Off,
        Full,
        Limited(u8),
        Between {
            low: u8,
        },
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(untagged)]
    enum Either {
        Number(u8),
        Text(String),
    }

    fn settings(entries: &[(&str, &str)]) -> Result<Settings, String> {
        read(
            entries
                .iter()
                .map(|(key, text)| ((*key).to_owned(), (*text).to_owned()))
                .collect(),
        )
    }

    #[test]
    fn every_kind_of_value() {
        for (key, text, expected) in [
            (
                "text",
                "plain",
                Settings {
                    text: "plain".into(),
                    ..Settings::default()
                },
            ),
            // What looks like JSON is a string where one is wanted.
            (
                "text",
                "8080",
                Settings {
                    text: "8080".into(),
                    ..Settings::default()
                },
            ),
            ("text", "", Settings::default()),
            (
                "number",
                "8080",
                Settings {
                    number: 8080,
                    ..Settings::default()
                },
            ),
            (
                "share",
                "0.5",
                Settings {
                    share: 0.5,
                    ..Settings::default()
                },
            ),
            (
                "on",
                "true",
                Settings {
                    on: true,
                    ..Settings::default()
                },
            ),
            (
                "list",
                r#"["a","b"]"#,
                Settings {
                    list: vec!["a".into(), "b".into()],
                    ..Settings::default()
                },
            ),
            (
                "table",
                r#"{"a":1}"#,
                Settings {
                    table: BTreeMap::from([("a".into(), 1)]),
                    ..Settings::default()
                },
            ),
            (
                "nested",
                r#"{"mode":"full"}"#,
                Settings {
                    nested: Some(Nested { mode: Mode::Full }),
                    ..Settings::default()
                },
            ),
            (
                "mode",
                "full",
                Settings {
                    mode: Mode::Full,
                    ..Settings::default()
                },
            ),
            (
                "mode",
                r#"{"limited":3}"#,
                Settings {
                    mode: Mode::Limited(3),
                    ..Settings::default()
                },
            ),
            (
                "mode",
                r#"{"between":{"low":1}}"#,
                Settings {
                    mode: Mode::Between { low: 1 },
                    ..Settings::default()
                },
            ),
            (
                "address",
                "::1",
                Settings {
                    address: Some("::1".parse().unwrap()),
                    ..Settings::default()
                },
            ),
            (
                "several-words",
                "1",
                Settings {
                    several_words: Some(1),
                    ..Settings::default()
                },
            ),
            (
                "either",
                "7",
                Settings {
                    either: Some(Either::Number(7)),
                    ..Settings::default()
                },
            ),
            (
                "either",
                "seven",
                Settings {
                    either: Some(Either::Text("seven".into())),
                    ..Settings::default()
                },
            ),
        ] {
            assert_eq!(settings(&[(key, text)]), Ok(expected), "{key} = {text}");
        }
        assert_eq!(settings(&[]), Ok(Settings::default()));
    }

    #[test]
    fn errors_name_the_key() {
        for (key, text) in [
            ("number", "many"),
            ("number", "70000"),
            ("number", "-1"),
            ("on", "yes"),
            ("list", "a"),
            ("list", r#"{"a":1}"#),
            ("table", r#"{"a":"b"}"#),
            ("nested", r#"{"modes":"full"}"#),
            ("mode", "half"),
            ("mode", r#"{"limited":"x"}"#),
            ("several_words", "1"),
            ("unknown", "1"),
        ] {
            let error = settings(&[(key, text)]).unwrap_err();
            assert!(error.contains(&format!("`{key}`")), "{key} = {text}: {error}");
        }
    }
}
