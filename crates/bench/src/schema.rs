//! The published JSON schema of records, made from the types themselves.

use std::path::Path;

use crate::record::Record;

/// Where the schema lies in the repository.
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/record.schema.json");

/// Set to write the schema instead of comparing it.
const BLESS: &str = "SLICEWISE_BLESS";

fn schema() -> String {
    let mut schema = schemars::schema_for!(Record);
    schema.insert("title".into(), "A record of slicewise bench".into());
    crate::json::pretty(&schema)
}

#[test]
fn the_published_schema_is_that_of_the_types() {
    let path = Path::new(FILE);
    if std::env::var_os(BLESS).is_some() {
        crate::store::write_atomically(path, schema().as_bytes()).unwrap();
    }
    let published = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        published == schema(),
        "docs/record.schema.json is not what the types say; run: {BLESS}=1 cargo test -p slicewise-bench schema"
    );
}

#[test]
fn every_field_of_a_record_is_in_the_schema() {
    let schema: serde_json::Value = serde_json::from_str(&schema()).unwrap();
    let record = serde_json::to_value(crate::record::tests::sample()).unwrap();
    let properties = &schema["properties"];
    let arm = &schema["$defs"]["Arm"]["properties"];
    let missing = |object: &serde_json::Value, properties: &serde_json::Value| {
        let keys = object.as_object().unwrap().keys().cloned();
        let known = properties.as_object().unwrap();
        keys.filter(|k| !known.contains_key(k)).collect::<Vec<_>>()
    };
    assert_eq!(missing(&record, properties), [""; 0]);
    assert_eq!(missing(&record["arms"][0], arm), [""; 0]);
    // A newer slicewise may add fields, and an older one must not refuse them.
    assert!(schema.get("additionalProperties").is_none());
}
