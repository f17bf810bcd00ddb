//! What the suites share: the engines that are there.

use std::sync::Arc;

use slicewise_engines::{Availability, ENGINES, Engine, installed, load};

/// Every engine that is there, loaded. `SLICEWISE_REQUIRE_ENGINES=a,b` (or `all`) turns the absence
/// of a named one into a failure; the others are printed as skipped.
pub(crate) fn engines_present() -> Vec<Arc<dyn Engine>> {
    let required = std::env::var("SLICEWISE_REQUIRE_ENGINES").unwrap_or_default();
    let required: Vec<&str> = match required.as_str() {
        "all" => ENGINES.to_vec(),
        names => names
            .split(',')
            .map(str::trim)
            .filter(|n| !n.is_empty())
            .collect(),
    };
    for name in &required {
        assert!(ENGINES.contains(name), "'{name}' is not an engine");
    }
    let mut engines = Vec::new();
    for found in installed() {
        let name = found.engine();
        let is_required = required.contains(&name) || name == "native";
        match (found, load(name)) {
            (_, Ok(engine)) => engines.push(engine),
            (_, Err(error)) if is_required => panic!("{name} is required: {error}"),
            (Availability::Missing { fix, .. }, Err(_)) => println!("{name}: skipped; {fix}"),
            // A library that is there and does not load is not an absent one.
            (_, Err(error)) => panic!("{error}"),
        }
    }
    engines
}
