//! slicewise's own engine: a graph becomes a plan, the plan runs.
