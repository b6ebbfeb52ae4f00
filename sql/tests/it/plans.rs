//! Approved texts: into which stages four queries are cut. `FIRESTEEL_APPROVE=1` writes them.

use crate::data::{Tpch, staged};
use crate::queries::{Q1, Q3, Q15, Q18};
use firesteel_sql::stages_text;
use std::path::Path;

#[test]
fn stages_are_as_approved() {
    let tpch = Tpch::new();
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/plans");
    let place = tpch.dir.path().to_str().unwrap().trim_start_matches('/').to_owned();
    for (name, text) in [("q1", Q1), ("q3", Q3), ("q15", Q15), ("q18", Q18)] {
        let (_, runner) = staged(text, &tpch.tables);
        let mine = stages_text(&runner.specs()).unwrap().replace(&place, "TPCH");
        let file = dir.join(format!("{name}.txt"));
        if std::env::var_os("FIRESTEEL_APPROVE").is_some() {
            std::fs::create_dir_all(&dir).unwrap();
            std::fs::write(&file, &mine).unwrap();
        }
        let approved = std::fs::read_to_string(&file).unwrap();
        assert!(mine == approved, "{name} is cut in another way than {} says:\n{mine}", file.display());
    }
}
