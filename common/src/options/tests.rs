//! What users write, and what it comes to.

use super::*;

fn conf(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned())).collect()
}

#[test]
fn defaults_are_what_the_table_says() {
    for key in KEYS {
        let set = AppOptions::from_conf(&conf(&[(key.name, key.default)])).unwrap();
        let expected = AppOptions { task_failures_max: set.task_failures_max, ..AppOptions::default() };
        assert_eq!(set, expected, "{}", key.name);
    }
}

#[test]
fn sizes_and_times() {
    for (text, expect) in [("1g", 1 << 30), ("512M", 512 << 20), ("7", 7), ("2kb", 2048), ("1t", 1 << 40)] {
        assert_eq!(bytes(text), Ok(expect), "{text}");
    }
    for (text, expect) in [("100ms", 100), ("3s", 3_000), ("2min", 120_000), ("1h", 3_600_000), ("5", 5)] {
        assert_eq!(millis(text), Ok(expect), "{text}");
    }
    for text in ["", "g", "-1g", "1.5g", "1x", "99999999999t", "1é"] {
        assert!(bytes(text).is_err() && millis(text).is_err(), "{text}");
    }
}

#[test]
fn numbers_with_a_point() {
    for (text, expect) in [("3", 3_000), ("1.5", 1_500), ("0.75", 750), ("0.0009", 0), ("2.1234", 2_123)] {
        assert_eq!(permille(text), Ok(expect), "{text}");
    }
    for text in ["", ".", "1.", ".5", "1.5.2", "1e3", "-1", "5000000", "1,5"] {
        assert!(permille(text).is_err(), "{text}");
    }
}

#[test]
fn what_is_not_in_the_table_cannot_be_set() {
    for (key, help) in [
        ("spark.executor.memroy", "did you mean spark.executor.memory?"),
        ("master.listen", "`firesteel config keys` lists what it can set"),
        ("spark.executorEnv.LD_PRELOAD", "`firesteel config keys` lists what it can set"),
    ] {
        let error = AppOptions::from_conf(&conf(&[(key, "1")])).unwrap_err();
        assert_eq!((error.code, error.help.as_str()), (ErrorCode::ConfigInvalid, help), "{key}");
    }
    for (key, text) in [
        ("spark.executor.memory", "lots"),
        ("spark.scheduler.pool", "a b"),
        ("spark.speculation", "yes"),
        ("spark.speculation.quantile", "1.1"),
        ("spark.speculation.multiplier", "-1"),
        ("spark.excludeOnFailure.stage.maxFailedTasksPerExecutor", "0"),
        ("firesteel.network", "yes"),
    ] {
        let error = AppOptions::from_conf(&conf(&[(key, text)])).unwrap_err();
        assert!(error.message.starts_with(&format!("{key}: '{text}'")), "{error}");
    }
}
