//! Accumulators, and what a task knows of itself.

use crate::{cases, clean, sorted};
use firesteel::testing::{LocalRunner, run_on};
use firesteel::{Accumulate, TaskContext, Unique};
use proptest::collection::vec;
use proptest::prelude::*;
use std::cell::RefCell;
use std::rc::Rc;

/// The longest text, as a user's own accumulator.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct Longest(String);
firesteel::record!(Longest);

impl Accumulate for Longest {
    fn zero() -> Self {
        Self(String::new())
    }

    fn merge(&mut self, other: Self) {
        if (other.0.len(), &other.0) > (self.0.len(), &self.0) {
            *self = other;
        }
    }
}

proptest! {
    #![proptest_config(cases(32))]


    #[test]
    fn accumulators(words in vec("[a-d]{0,5}", 0..40), parts in 1_usize..5) {
        let (count, sum, all, unique, longest) = clean(|cx| {
            let (count, sum) = (cx.accumulator::<i64>(), cx.accumulator::<f64>());
            let (all, unique) = (cx.accumulator::<Vec<String>>(), cx.accumulator::<Unique<u64>>());
            let longest = cx.accumulator::<Longest>();
            let words = cx.parallelize(words.clone(), parts);
            let seen = words.map_with((count.clone(), sum.clone()), |(count, sum), word: String| {
                count.add(1);
                sum.add(0.5);
                (word.len() as u64 % 3, word)
            });
            // The first two count in map tasks, the others in result tasks.
            seen.group_by_key_in(3).foreach(
                (all.clone(), unique.clone(), longest.clone()),
                |(all, unique, longest), (len, words)| {
                    unique.update(|set| {
                        set.0.insert(len);
                    });
                    for word in words {
                        longest.add(Longest(word.clone()));
                        all.push(word);
                    }
                },
            )?;
            count.add(100);
            Ok((count.value(), sum.value(), all.value(), unique.value(), longest.value()))
        });
        prop_assert_eq!(count, Some(100 + words.len() as i64));
        prop_assert_eq!(sum, Some(0.5 * words.len() as f64));
        prop_assert_eq!(all.map(sorted), Some(sorted(words.clone())));
        prop_assert_eq!(unique, Some(Unique(words.iter().map(|word| word.len() as u64 % 3).collect())));
        let model = words.into_iter().map(|word| (word.len(), word)).max().unwrap_or_default().1;
        prop_assert_eq!(longest, Some(Longest(model)));
    }
}

#[test]
fn the_additions_of_one_attempt_count() {
    let runner = LocalRunner::with_rivals(2);
    let (sum, mapped) = run_on(&runner, |cx| {
        let (sum, mapped) = (cx.accumulator::<u64>(), cx.accumulator::<u64>());
        let numbers = cx.range(0, 100, 7).map_with(mapped.clone(), |mapped, n| {
            mapped.add(1);
            (n % 10, n)
        });
        numbers.reduce_by_key_in(4, |a, b| *a += b).foreach(sum.clone(), |sum, (_, n)| sum.add(n as u64))?;
        sum.reset();
        numbers.count()?;
        Ok((sum.value(), mapped.value()))
    })
    .unwrap();
    // Transformations count each time they run: once for the shuffle, once for the count.
    assert_eq!((sum, mapped), (Some(0), Some(200)));
}

thread_local! {
    static ENDED: Rc<RefCell<Vec<(u32, bool)>>> = Rc::default();
}

#[test]
fn a_task_knows_itself() {
    assert_eq!(TaskContext::get(), None);
    let seen = clean(|cx| {
        cx.range(0, 6, 3)
            .map(|n| {
                let task = TaskContext::get();
                let task =
                    task.map(|task| (task.partition_id(), task.attempt_number(), task.task_attempt_id()));
                (n, task.unwrap_or_default())
            })
            .collect()
    });
    let partitions: Vec<(i64, u32, u32)> = seen.iter().map(|(n, task)| (*n, task.0, task.1)).collect();
    assert_eq!(partitions, (0..6).map(|n| (n, n as u32 / 2, 0)).collect::<Vec<_>>());
    assert_ne!(seen[0].1.2, seen[2].1.2);
    let failed = firesteel::testing::run(|cx| {
        cx.range(0, 2, 2)
            .map_partitions(|part| {
                let task = TaskContext::get().unwrap();
                task.on_completion(move |succeeded| {
                    ENDED.with(|ended| ended.borrow_mut().push((task.partition_id(), succeeded)));
                });
                part
            })
            .zip(&cx.parallelize(vec![1_u8], 2))
            .count()
    });
    assert!(failed.is_err());
    assert_eq!(ENDED.with(|ended| ended.borrow().clone()), [(0, false)]);
    assert_eq!(TaskContext::get(), None);
}
