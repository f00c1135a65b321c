//! How fast the first release is meant to be, as parts of the best log-structured peer's rate in the same run.

/// The goal of a workload; none where there is no goal yet.
pub(crate) fn first_light(workload: &str) -> Option<f64> {
    let (base, threads) = match workload.rsplit_once("-t") {
        Some((base, threads)) => (base, threads.parse().unwrap_or(1)),
        None => (workload, 1),
    };
    let goal = match base {
        "fillseq" | "fillbatch100" => 1.5,
        "fillrandom" | "overwrite" | "deleterandom" => 1.2,
        "fillsync" if threads == 1 => 0.9,
        "fillsync" => 1.0,
        "readrandom" | "seekrandom10" | "seekrandom100" | "readwhilewriting" => 1.0,
        "readmissing" => 0.5,
        "readseq" | "readreverse" => 0.7,
        "open" | "openafterkill" => 1.0,
        _ if ["fillvalue-", "readvalue-", "ycsb-", "overwritelarge-", "gc-"]
            .iter()
            .any(|prefix| base.starts_with(prefix)) =>
        {
            1.0
        }
        _ => return None,
    };
    Some(goal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_matter_to_synced_fills_alone() {
        assert_eq!((first_light("fillsync"), first_light("fillsync-t8")), (Some(0.9), Some(1.0)));
        assert_eq!((first_light("fillrandom"), first_light("fillrandom-t4")), (Some(1.2), Some(1.2)));
        assert_eq!((first_light("openafterkill"), first_light("ycsb-e-t4")), (Some(1.0), Some(1.0)));
        assert_eq!((first_light("readvalue-4k"), first_light("fdatasync")), (Some(1.0), None));
        assert_eq!((first_light("overwritelarge-4k-zipf-t4"), first_light("gc-1k")), (Some(1.0), Some(1.0)));
    }
}
