#![doc = include_str!("../README.md")]

#[allow(
    clippy::all,
    clippy::unwrap_used,
    clippy::undocumented_unsafe_blocks,
    clippy::allow_attributes_without_reason,
    missing_docs,
    unreachable_pub,
    unused_imports,
    dead_code,
    reason = "written by the FlatBuffers compiler"
)]
#[rustfmt::skip]
mod generated;

pub use flatbuffers;
pub use generated::ratel::{
    TableIndex, TableIndexArgs, finish_table_index_buffer, root_as_table_index, table_index_buffer_has_identifier,
};

#[cfg(test)]
mod tests {
    use xxhash_rust::xxh3::xxh3_64;

    #[test]
    fn the_generated_code_belongs_to_the_schema() {
        let schema_hash = xxh3_64(include_bytes!("../schemas/table_index.fbs"));
        assert_eq!(
            include_str!("generated.hash").trim(),
            format!("{schema_hash:016x}"),
            "the schema has changed: run `cargo xtask codegen`"
        );
    }
}
