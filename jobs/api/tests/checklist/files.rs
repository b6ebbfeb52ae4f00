//! Sources and outputs that are not lines of text.

use crate::{cases, sorted};
use firesteel::ErrorCode;
use firesteel::testing::run;
use proptest::collection::vec;
use proptest::prelude::*;

proptest! {
    #![proptest_config(cases(16))]


    #[test]
    fn objects_come_back_as_they_were(
        records in vec(("[a-zé]{0,9}", any::<f64>(), vec(any::<i16>(), 0..4)), 0..50),
        parts in 1_usize..5,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out").display().to_string();
        let (read, partitions) = run(|cx| {
            cx.parallelize(records.clone(), parts).save_as_object_file(&path)?;
            let read = cx.object_file::<(String, f64, Vec<i16>)>(&path)?;
            Ok((read.collect()?, read.partitions()?))
        })
        .unwrap();
        prop_assert_eq!(partitions, parts);
        let bits = |all: Vec<(String, f64, Vec<i16>)>| {
            all.into_iter().map(|(a, b, c)| (a, b.to_bits(), c)).collect::<Vec<_>>()
        };
        prop_assert_eq!(bits(read), bits(records));
    }

    #[test]
    fn records_of_one_length(bytes in vec(any::<u8>(), 0..200), length in 1_u32..9) {
        let dir = tempfile::tempdir().unwrap();
        let whole = bytes.len() / length as usize * length as usize;
        std::fs::write(dir.path().join("records"), &bytes[..whole]).unwrap();
        let path = dir.path().display().to_string();
        let read = run(|cx| cx.binary_records(&path, length)?.collect()).unwrap();
        prop_assert_eq!(read, bytes[..whole].chunks(length as usize).map(<[u8]>::to_vec).collect::<Vec<_>>());
    }
}

#[test]
fn whole_files_come_with_their_paths() {
    let dir = tempfile::tempdir().unwrap();
    let texts = [("a.txt", "one\ntwo\n"), ("b.txt", ""), ("c.txt", "é")];
    for (name, text) in texts {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    let path = dir.path().display().to_string();
    let (whole, binary) =
        run(|cx| Ok((cx.whole_text_files(&path)?.collect()?, cx.binary_files(&path)?.collect()?))).unwrap();
    let model =
        sorted(texts.map(|(name, text)| (dir.path().join(name).display().to_string(), text.to_owned())));
    assert_eq!(sorted(whole), model);
    let bytes = binary.into_iter().map(|(path, bytes)| (path, String::from_utf8(bytes).unwrap()));
    assert_eq!(sorted(bytes), model);
    std::fs::write(dir.path().join("d.txt"), [b'x', 0xff]).unwrap();
    let error = run(|cx| cx.whole_text_files(&path)?.count()).unwrap_err();
    assert_eq!(error.code, ErrorCode::InputNotReadable);
    assert!(error.message.contains("d.txt: byte 1 is not UTF-8"), "{error}");
}

#[test]
fn damaged_and_foreign_files_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out").display().to_string();
    let records: Vec<u64> = (0..500).collect();
    run(|cx| cx.parallelize(records.clone(), 1).save_as_object_file(&path)).unwrap();
    let count = || run(|cx| cx.object_file::<u64>(&path)?.count());
    assert_eq!(count().unwrap(), 500);
    let exists = run(|cx| cx.parallelize(records.clone(), 1).save_as_object_file(&path)).unwrap_err();
    assert_eq!(exists.code, ErrorCode::OutputExists);
    let foreign = run(|cx| cx.object_file::<String>(&path)?.count()).unwrap_err();
    assert!(foreign.message.contains("not of type") && foreign.message.contains("String"), "{foreign}");
    let file = dir.path().join("out/part-00000");
    let whole = std::fs::read(&file).unwrap();
    for at in (0..whole.len()).step_by(7) {
        let mut damaged = whole.clone();
        damaged[at] ^= 1 << (at % 8);
        std::fs::write(&file, &damaged).unwrap();
        assert_eq!(count().unwrap_err().code, ErrorCode::InputNotReadable, "byte {at}");
    }
    for len in [0, 1, 63, 64, whole.len() - 64, whole.len() - 1] {
        std::fs::write(&file, &whole[..len]).unwrap();
        assert_eq!(count().unwrap_err().code, ErrorCode::InputNotReadable, "{len} bytes");
    }
    std::fs::write(dir.path().join("odd"), [0; 10]).unwrap();
    let odd =
        run(|cx| cx.binary_records(&dir.path().join("odd").display().to_string(), 3)?.count()).unwrap_err();
    assert!(odd.message.contains("10 bytes"), "{odd}");
}
