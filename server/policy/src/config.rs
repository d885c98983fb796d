//! A policy's configuration, as `wasi:config/store` tells it.
use toml::{Table, Value};

/// The entries of a table, sorted by key: strings as they are, everything else as JSON text. The error is one line for the
/// operator.
pub(crate) fn entries(config: &Table) -> Result<Vec<(String, String)>, String> {
    let mut entries = Vec::with_capacity(config.len());
    for (key, value) in config {
        let text = match value {
            Value::String(text) => text.clone(),
            value => json(value)
                .map_err(|reason| format!("its configuration {key:?} {reason}"))?
                .to_string(),
        };
        entries.push((key.clone(), text));
    }
    entries.sort();
    Ok(entries)
}

fn json(value: &Value) -> Result<serde_json::Value, &'static str> {
    Ok(match value {
        Value::String(text) => text.as_str().into(),
        Value::Integer(number) => (*number).into(),
        Value::Float(number) => serde_json::Number::from_f64(*number)
            .ok_or("has a number that JSON lacks")?
            .into(),
        Value::Boolean(value) => (*value).into(),
        Value::Datetime(moment) => moment.to_string().into(),
        Value::Array(values) => values.iter().map(json).collect::<Result<Vec<_>, _>>()?.into(),
        Value::Table(table) => {
            let entries = table.iter().map(|(key, value)| Ok((key.clone(), json(value)?)));
            serde_json::Value::Object(entries.collect::<Result<_, &'static str>>()?)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_stay_and_the_rest_becomes_json() {
        let config: Table = "
            text = \"a \\\"b\\\"\"
            number = 3
            list = [\"a\", { b = 1.5, c = true }]
            day = 2026-01-02
        "
        .parse()
        .unwrap();
        let expected = [
            ("day", "\"2026-01-02\""),
            ("list", "[\"a\",{\"b\":1.5,\"c\":true}]"),
            ("number", "3"),
            ("text", "a \"b\""),
        ];
        let expected: Vec<_> = expected.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        assert_eq!(entries(&config), Ok(expected));
    }

    #[test]
    fn a_number_that_json_lacks_is_refused() {
        let config: Table = "rate = inf".parse().unwrap();
        assert_eq!(
            entries(&config),
            Err("its configuration \"rate\" has a number that JSON lacks".into())
        );
    }
}
