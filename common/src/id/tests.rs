//! Ids are printed, parsed and encoded without loss.

use super::{AppAttemptId, AppId, Epoch, PluginHash, StageId, TaskId, WorkerId};
use crate::protocol::codec;
use proptest::prelude::*;

#[test]
fn ids_have_stable_names() {
    let app = AppAttemptId { app: AppId(3), attempt: 1 };
    assert_eq!(app.to_string(), "app-3.1");
    let task = TaskId { app, stage: StageId(2), partition: 7, attempt: 4 };
    assert_eq!(task.to_string(), "app-3.1/stage-2/7.4");
    assert_eq!(serde_json::to_string(&WorkerId(5)).unwrap(), "5");
    assert_eq!(("worker-5".parse(), "5".parse()), (Ok(WorkerId(5)), Ok(WorkerId(5))));
}

#[test]
fn what_is_no_id_is_refused() {
    for text in [
        "",
        "+3",
        "-3",
        "3 ",
        "app-",
        "app-x",
        "app--3",
        "app-+3",
        "App-3",
        "app-18446744073709551616",
        "app-3 ",
        "worker-3",
    ] {
        let error = text.parse::<AppId>().unwrap_err();
        assert_eq!(error.to_string(), format!("'{text}' is not an id of the form app-N"));
    }
    let long = "0".repeat(65);
    let wide = "é".repeat(32);
    for text in ["", "00", &long, &wide, &"g".repeat(64), &format!("+{}", "0".repeat(63))] {
        assert!(text.parse::<PluginHash>().is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn ids_parse_back(number in any::<u64>(), hash in any::<[u8; 32]>()) {
        prop_assert_eq!(AppId(number).to_string().parse::<AppId>().unwrap(), AppId(number));
        prop_assert_eq!(Epoch(number).to_string().parse::<Epoch>().unwrap(), Epoch(number));
        let stage = StageId(number as u32);
        prop_assert_eq!(stage.to_string().parse::<StageId>().unwrap(), stage);
        let hash = PluginHash(hash);
        prop_assert_eq!(hash.to_string().parse::<PluginHash>().unwrap(), hash);
        prop_assert_eq!(codec::decode::<PluginHash>(&codec::encode(&hash).unwrap()).unwrap(), hash);
        let json = serde_json::to_string(&hash).unwrap();
        prop_assert_eq!(serde_json::from_str::<PluginHash>(&json).unwrap(), hash);
    }

    #[test]
    fn no_text_makes_parsing_panic(text in ".{0,80}") {
        if let Ok(hash) = text.parse::<PluginHash>() {
            prop_assert_eq!(hash.to_string(), text.to_lowercase());
        }
    }
}
