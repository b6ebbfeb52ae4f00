//! What the sources say of the types in requests and answers: the comments before structs, enums and fields.
//! It reads lines, not Rust; of two types with one name it knows none.

use std::collections::BTreeMap;

/// Where the types of requests and answers are written down.
const SOURCES: &[&str] = &[
    include_str!("../../../../common/src/http.rs"),
    include_str!("../../../../common/src/error.rs"),
    include_str!("../../../../common/src/plugin.rs"),
    include_str!("../../../../common/src/sandbox.rs"),
    include_str!("../applications.rs"),
    include_str!("../audit.rs"),
    include_str!("../events.rs"),
    include_str!("../logs.rs"),
    include_str!("../plugins.rs"),
    include_str!("../spark/messages.rs"),
    include_str!("../workers.rs"),
];

/// Comments by type, and by field (a type's own under the empty name).
pub(super) struct Docs(BTreeMap<(String, String), String>);

impl Default for Docs {
    fn default() -> Self {
        let mut docs = BTreeMap::new();
        let mut known = Vec::new();
        for source in SOURCES {
            read(source, &mut docs, &mut known);
        }
        known.sort();
        for pair in known.windows(2).filter(|pair| pair[0] == pair[1]) {
            docs.retain(|(name, _), _| *name != pair[0]);
        }
        Self(docs)
    }
}

impl Docs {
    pub(super) fn of_type(&self, name: &str) -> Option<&str> {
        self.of_field(name, "")
    }

    pub(super) fn of_field(&self, name: &str, field: &str) -> Option<&str> {
        self.0.get(&(name.to_owned(), field.to_owned())).map(String::as_str)
    }
}

fn read(source: &str, docs: &mut BTreeMap<(String, String), String>, known: &mut Vec<String>) {
    let (mut comment, mut renamed, mut within) = (Vec::new(), None, String::new());
    for line in source.lines() {
        let text = line.trim();
        if let Some(words) = text.strip_prefix("///") {
            comment.push(words.trim());
            continue;
        }
        if text.starts_with("#[") {
            let name = text.split_once("rename = \"").and_then(|(_, rest)| rest.split_once('"'));
            renamed = name.map(|(name, _)| name.to_owned()).or(renamed);
            continue;
        }
        let field = text.split_once(": ").map(|(name, _)| name.rsplit(' ').next().unwrap_or(name));
        let key = match (type_name(text), field) {
            (Some(name), _) => {
                within = name.to_owned();
                known.push(within.clone());
                Some(String::new())
            }
            (None, Some(field)) if line.starts_with("    ") && !line.starts_with("     ") => {
                Some(renamed.take().unwrap_or_else(|| field.to_owned()))
            }
            _ => None,
        };
        if let Some(key) = key.filter(|_| !comment.is_empty() && !within.is_empty()) {
            docs.insert((within.clone(), key), comment.join(" "));
        }
        if line.starts_with('}') {
            within.clear();
        }
        comment.clear();
        renamed = None;
    }
}

fn type_name(text: &str) -> Option<&str> {
    let words: Vec<&str> = text.split(' ').collect();
    let at = words.iter().position(|word| matches!(*word, "struct" | "enum"))?;
    text.ends_with('{').then(|| words.get(at + 1).copied()).flatten()
}
