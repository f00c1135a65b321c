//! The `ratel` tool.
fn main() {}
