//! Makes TPC-H tables as Parquet files: `tpch DIR SCALE FILES` prints `TABLE=DIRECTORY` lines.
//!
//! For scripts, which shall not be built with DataFusion themselves.

#[path = "../../sql/tests/tpch/mod.rs"]
mod tpch;

use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [dir, scale, files] = args.as_slice() else {
        return Err("usage: tpch DIR SCALE FILES".into());
    };
    for (table, path) in tpch::generate(Path::new(dir), scale.parse()?, files.parse()?)? {
        println!("{table}={path}");
    }
    Ok(())
}
