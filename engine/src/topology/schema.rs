//! The JSON Schema of topology files, from the same types that decode them.

use schemars::generate::SchemaSettings;
use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::registry::{Entry, Kinds, Registry, Role};

use super::spec::{StageSpec, TopologySpec};

/// The schema of a topology file that uses the kinds of a registry. Editors take it by
/// `# yaml-language-server: $schema=…`.
pub fn schema(registry: &Registry) -> Value {
    let mut generator = SchemaSettings::draft07().into_generator();
    let connections = one_of(&registry.connections, &mut generator);
    let stores = one_of(&registry.stores, &mut generator);
    let dead_letters = one_of(&registry.dead_letters, &mut generator);
    let stage = stage(registry, &mut generator);
    let mut root = generator.clone().into_root_schema_for::<TopologySpec>().to_value();
    let definitions = generator.take_definitions(true);
    if let Some(properties) = root.get_mut("properties").and_then(Value::as_object_mut) {
        properties.insert("connections".into(), json!({ "type": "object", "additionalProperties": connections }));
        properties.insert("checkpoints".into(), stores);
        properties.insert("dead_letters".into(), dead_letters);
        properties.insert("stages".into(), json!({ "type": "object", "additionalProperties": stage }));
    }
    if let Some(root) = root.as_object_mut() {
        root.insert("additionalProperties".into(), false.into());
        root.insert("title".into(), "Telemill topology".into());
        let known = root.entry("definitions").or_insert_with(|| Value::Object(Map::new()));
        if let Some(known) = known.as_object_mut() {
            known.extend(definitions);
        }
    }
    root
}

/// A mapping with exactly one of the kinds.
fn one_of<T>(kinds: &Kinds<T>, generator: &mut SchemaGenerator) -> Value {
    let properties: Map<String, Value> =
        kinds.iter().map(|(kind, entries)| (kind.to_owned(), spec_of(entries, generator))).collect();
    json!({
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
        "minProperties": 1,
        "maxProperties": 1,
    })
}

/// A stage: what every stage has, and one kind.
fn stage(registry: &Registry, generator: &mut SchemaGenerator) -> Value {
    let common = generator.subschema_for::<StageSpec>().to_value();
    let common = resolve(common, generator);
    let mut properties = common.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
    let mut kinds = Vec::new();
    for (kind, entries) in registry.stages.iter() {
        properties.insert(kind.to_owned(), spec_of(entries, generator));
        let needs_inputs = entries.iter().all(|entry| entry.role != Role::Source);
        let required: Vec<&str> = std::iter::once(kind).chain(needs_inputs.then_some("inputs")).collect();
        kinds.push(json!({ "required": required }));
    }
    json!({ "type": "object", "properties": properties, "additionalProperties": false, "oneOf": kinds })
}

/// What a kind may say: what one of its implementations takes. Which one is decided by the connection, which a schema
/// cannot follow.
fn spec_of<T>(entries: &[Entry<T>], generator: &mut SchemaGenerator) -> Value {
    let mut specs = entries.iter().map(|entry| (entry.schema)(generator).to_value());
    match (specs.next(), specs.collect::<Vec<_>>()) {
        (Some(one), rest) if rest.is_empty() => one,
        (first, rest) => json!({ "anyOf": first.into_iter().chain(rest).collect::<Vec<_>>() }),
    }
}

/// What a reference to a definition stands for.
fn resolve(schema: Value, generator: &SchemaGenerator) -> Value {
    let name = schema.get("$ref").and_then(Value::as_str).and_then(|path| path.rsplit('/').next());
    match name.and_then(|name| generator.definitions().get(name)) {
        Some(definition) => Schema::try_from(definition.clone()).map_or(schema, Schema::to_value),
        None => schema,
    }
}
