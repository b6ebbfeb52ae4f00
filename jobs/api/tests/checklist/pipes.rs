//! Records through commands.

use crate::{cases, clean};
use firesteel::ErrorCode;
use firesteel::testing::run;
use proptest::collection::vec;
use proptest::prelude::*;

proptest! {
    #![proptest_config(cases(12))]


    #[test]
    fn records_go_through_a_command(words in vec("[a-e]{0,6}", 0..60), parts in 1_usize..4) {
        let (same, upper, sorted, counts) = clean(|cx| {
            let words = cx.parallelize(words.clone(), parts);
            Ok((
                words.pipe(&["cat"], &[])?.collect()?,
                words.pipe(&["tr", "a-e", "A-E"], &[])?.collect()?,
                words.pipe(&["sort"], &[("LC_ALL", "C")])?.glom().collect()?,
                words.pipe(&["wc", "-l"], &[])?.map(|line| line.trim().parse::<usize>().ok()).collect()?,
            ))
        });
        let partitions = crate::parts_of(&words, parts);
        prop_assert_eq!(upper, words.iter().map(|word| word.to_uppercase()).collect::<Vec<_>>());
        prop_assert_eq!(same, words);
        prop_assert_eq!(counts, partitions.iter().map(|part| Some(part.len())).collect::<Vec<_>>());
        prop_assert_eq!(sorted, partitions.into_iter().map(crate::sorted).collect::<Vec<_>>());
    }
}

/// Much more than pipes and queues hold, in both directions at once.
#[test]
fn long_partitions_do_not_block() {
    let (through, twice) = clean(|cx| {
        let lines = cx.range(0, 300_000, 1).map(|n| format!("{n:040}"));
        let copied = lines.pipe(&["cat"], &[])?;
        let twice = copied.pipe(&["cat"], &[])?.filter(|line| line.ends_with("99999")).count()?;
        let equal = lines.zip(&copied).filter(|(a, b)| a == b).count()?;
        Ok((equal, twice))
    });
    assert_eq!((through, twice), (300_000, 3));
}

#[test]
fn a_command_need_not_read_and_need_not_be_listened_to() {
    let (first, taken, none, value) = clean(|cx| {
        let lines = cx.range(0, 200_000, 2).map(|n| n.to_string());
        Ok((
            lines.pipe(&["head", "-n", "1"], &[])?.collect()?,
            lines.pipe(&["cat"], &[])?.take(3)?,
            lines.pipe(&["true"], &[])?.count()?,
            cx.range(0, 1, 1).pipe(&["printenv", "OF_THE_JOB"], &[("OF_THE_JOB", "a b;c")])?.collect()?,
        ))
    });
    assert_eq!(first, ["0", "100000"]);
    assert_eq!(taken, ["0", "1", "2"]);
    assert_eq!((none, value), (0, vec!["a b;c".to_owned()]));
}

#[test]
fn a_command_that_fails_says_why() {
    let piped = |command: &[&str]| run(|cx| cx.range(0, 5, 1).pipe(command, &[])?.count());
    assert_eq!(piped(&[]).unwrap_err().code, ErrorCode::BadArgument);
    let missing = piped(&["there-is-no-such-program"]).unwrap_err();
    assert_eq!(missing.code, ErrorCode::BadArgument);
    assert!(missing.message.contains("there-is-no-such-program"), "{missing}");
    let failed = piped(&["cat", "/there/is/no/such/file"]).unwrap_err();
    assert_eq!(failed.code, ErrorCode::JobFailed);
    assert!(failed.message.contains("exit status: 1") && failed.message.contains("No such file"), "{failed}");
    assert!(failed.detail.contains("/there/is/no/such/file"), "{}", failed.detail);
    // Words of an argument stay words: no shell looks at them.
    let words = run(|cx| cx.range(0, 1, 1).pipe(&["printf", "%s\n", "$HOME; `id` *"], &[])?.collect());
    assert_eq!(words.unwrap(), ["$HOME; `id` *"]);
    let bytes = piped(&["printf", "\\377\\n"]).unwrap_err();
    assert!(bytes.message.contains("not UTF-8"), "{bytes}");
}
