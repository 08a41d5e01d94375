//! Every limit of links between machines, and of the pages of figures: unit, reason, and what happens when it is reached.

/// Bytes of an edge's name. Longer: it is refused in configurations, by `hearthctl edge add` and in `Hello`.
pub const EDGE_NAME_BYTES_MAX: usize = 64;

/// Bytes of a question of who collects figures, with its header fields. Longer: `431`.
pub const QUESTION_BYTES_MAX: usize = 8 * 1024;
