//! The JSON schema of the configuration: what editors complete by, what `shape` checks by, and what the reference says.

use std::sync::OnceLock;

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use super::given::Given;
use super::path::{KeyPath, Step};

/// The schema of the whole file (JSON Schema 2020-12), made once.
///
/// Without references and without `null`, which TOML does not have: every value has one `type` or a list of values.
pub fn schema() -> &'static Value {
    static SCHEMA: OnceLock<Value> = OnceLock::new();
    SCHEMA.get_or_init(|| {
        let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
        let mut schema = simplified(
            settings
                .into_generator()
                .into_root_schema_for::<Given>()
                .to_value(),
        );
        for place in ["/properties/listener/items", "/properties/route/items"] {
            inherit(&mut schema, place);
        }
        schema
    })
}

/// Whether a key that is absent takes what `[defaults]` says.
pub fn is_inherited(schema: &Value) -> bool {
    schema.get(INHERITED).is_some()
}

/// Marks the keys that hold from `[defaults]` where they are absent.
const INHERITED: &str = "x-inherited";

/// Takes the defaults of a table's keys that stand in `[defaults]`, too: they are the defaults of that one.
fn inherit(schema: &mut Value, place: &str) {
    let Some(defaults) = schema.pointer("/properties/defaults/properties").cloned() else {
        return;
    };
    let keys = schema
        .pointer_mut(place)
        .and_then(|table| table.get_mut("properties"))
        .and_then(Value::as_object_mut);
    for (key, schema) in keys.into_iter().flatten() {
        let Some(schema) = schema.as_object_mut().filter(|_| defaults.get(key).is_some()) else {
            continue;
        };
        schema.remove("default");
        schema.insert(INHERITED.to_owned(), Value::Bool(true));
    }
}

/// The part of the schema that a value must follow; `None` where the schema knows no such value.
pub fn schema_at(path: &KeyPath) -> Option<&'static Value> {
    path.steps().iter().try_fold(schema(), |schema, step| match step {
        Step::Key(key) => match schema.get("properties") {
            Some(known) => known.get(key),
            // A table whose keys are free.
            None => schema.get("additionalProperties"),
        },
        Step::Index(_) => schema.get("items"),
    })
}

/// The values that a schema lists, with what each means; empty where it lists none.
pub fn choices(schema: &Value) -> Vec<(&str, &str)> {
    let listed = schema
        .get("enum")
        .or_else(|| schema.get("oneOf"))
        .and_then(Value::as_array);
    listed
        .into_iter()
        .flatten()
        .filter_map(|choice| {
            let value = choice.get("const").unwrap_or(choice).as_str()?;
            Some((
                value,
                choice
                    .get("description")
                    .and_then(Value::as_str)
                    .unwrap_or_default(),
            ))
        })
        .collect()
}

/// A value as it stands in a file.
pub fn as_written(value: &Value) -> String {
    let pairs = value.as_object().map(|members| {
        let pair = |(key, value): (&String, &Value)| format!("{key} = {value}");
        members.iter().map(pair).collect::<Vec<_>>().join(", ")
    });
    pairs.map_or_else(|| value.to_string(), |pairs| format!("{{ {pairs} }}"))
}

/// A schema without the `null`s and formats that stand for `Option` and the widths of Rust's numbers.
fn simplified(schema: Value) -> Value {
    match schema {
        Value::Array(items) => Value::Array(items.into_iter().map(simplified).collect()),
        Value::Object(members) => simplified_object(members),
        other => other,
    }
}

fn simplified_object(mut members: Map<String, Value>) -> Value {
    if let Some(Value::Array(alternatives)) = members.remove("anyOf") {
        for alternative in alternatives
            .into_iter()
            .filter(|a| a.get("type") != Some(&Value::from("null")))
        {
            let Value::Object(alternative) = alternative else {
                continue;
            };
            for (key, value) in alternative {
                members.entry(key).or_insert(value);
            }
        }
    }
    let is_number = members.get("type").is_some_and(|kind| {
        ["integer", "number"]
            .iter()
            .any(|name| kind.to_string().contains(name))
    });
    if is_number {
        members.remove("format");
    }
    if let Some(Value::Array(types)) = members.get_mut("type") {
        types.retain(|kind| kind != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            members.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(values)) = members.get_mut("enum") {
        values.retain(|value| !value.is_null());
    }
    let simple = members.into_iter().map(|(key, value)| {
        // What stands in these is data, not schema.
        let value = match (key.as_str(), value) {
            ("default" | "examples" | "required" | "const", data) => data,
            // Their names are our own: one may be called as a word of schemas is.
            ("properties", Value::Object(keys)) => {
                let keys = keys.into_iter().map(|(key, schema)| (key, simplified(schema)));
                Value::Object(keys.collect())
            }
            (_, schema) => simplified(schema),
        };
        (key, value)
    });
    Value::Object(simple.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_described(name: &str, schema: &Value) {
        for (key, schema) in schema
            .get("properties")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            let name = format!("{name}.{key}");
            let described = schema
                .get("description")
                .and_then(Value::as_str)
                .unwrap_or_default();
            assert!(
                described.ends_with('.') || described.ends_with('?'),
                "{name} is not described"
            );
            let choices = choices(schema);
            assert!(
                schema.get("type").is_some_and(Value::is_string) || !choices.is_empty(),
                "{name}: {schema}"
            );
            check_described(&name, schema);
            check_described(&name, schema.get("items").unwrap_or(&Value::Null));
        }
    }

    #[test]
    fn every_key_has_a_description_and_one_type() {
        check_described("", schema());
        assert!(!schema().to_string().contains("null"), "{}", schema());
        assert!(!schema().to_string().contains("$ref"));
    }

    #[test]
    fn bounds_and_defaults_stand_in_the_schema() {
        let weight = schema_at(
            &KeyPath::top("upstream")
                .index(3)
                .key("endpoints")
                .index(0)
                .key("weight"),
        );
        let weight = weight.unwrap();
        assert_eq!(
            (&weight["minimum"], &weight["maximum"], &weight["default"]),
            (&0.into(), &1000.into(), &1.into())
        );
        let vip = schema_at(&KeyPath::top("vip").index(0)).unwrap();
        assert_eq!(vip["additionalProperties"], false);
        assert_eq!(choices(&vip["properties"]["steering"])[0].0, "flow-hash");
        let dataplane = schema_at(&KeyPath::top("dataplane")).unwrap();
        assert_eq!(dataplane["properties"]["interfaces"]["minItems"], 1);
    }
}
