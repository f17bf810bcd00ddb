//! Encoders, decoders and volumetric networks as graphs, with their weights.
