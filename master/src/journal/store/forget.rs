//! How ended applications leave the journal. One without an outcome stays, whoever asks.

use super::{
    ATTEMPTS, Applied, KEYS, KILLS, OUTCOMES, RESULTS, SUBMISSIONS, StoredSubmission, from_json, key_of,
};
use firesteel_common::id::AppId;
use redb::{ReadableTable, WriteTransaction};

/// Takes away all that is kept of ended applications, with their idempotency keys; gives those that went.
pub(super) fn forget(txn: &WriteTransaction, apps: &[AppId]) -> Applied<Vec<AppId>> {
    let mut gone = Vec::new();
    for app in apps {
        if txn.open_table(OUTCOMES)?.remove(app.0)?.is_none() {
            continue;
        }
        let stored = txn.open_table(SUBMISSIONS)?.remove(app.0)?.map(|json| from_json(json.value()));
        // One that cannot be read has a key that nobody can find any more.
        if let Some(Ok::<StoredSubmission, _>(stored)) = stored
            && let Some(key) = key_of(&stored.request, &stored.owner)
        {
            let mut keys = txn.open_table(KEYS)?;
            let is_its = keys.get(key.as_str())?.is_some_and(|known| known.value().0 == app.0);
            if is_its {
                keys.remove(key.as_str())?;
            }
        }
        txn.open_table(ATTEMPTS)?.remove(app.0)?;
        txn.open_table(RESULTS)?.remove(app.0)?;
        txn.open_table(KILLS)?.remove(app.0)?;
        gone.push(*app);
    }
    Ok(Ok(gone))
}
