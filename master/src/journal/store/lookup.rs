//! What is read from the journal while the master runs. It changes nothing.

use super::{RESULTS, SUBMISSIONS, Store, StoredSubmission, from_json, not_open, storage_error};
use firesteel_common::Error;
use firesteel_common::http::SubmitRequest;
use firesteel_common::id::AppId;
use redb::{ReadableDatabase, TableDefinition};

impl Store {
    pub(in crate::journal) fn inline_result(&self, app: AppId) -> Result<Option<Vec<u8>>, Error> {
        self.look_up(RESULTS, app, "reading a result from the journal")
    }

    pub(in crate::journal) fn submission(&self, app: AppId) -> Result<Option<SubmitRequest>, Error> {
        let json = self.look_up(SUBMISSIONS, app, "reading a submission from the journal")?;
        let stored: Option<StoredSubmission> = json.map(|json| from_json(&json)).transpose()?;
        Ok(stored.map(|stored| stored.request))
    }

    fn look_up(
        &self,
        table: TableDefinition<'static, u64, &'static [u8]>,
        app: AppId,
        doing: &str,
    ) -> Result<Option<Vec<u8>>, Error> {
        let database = self.database.read();
        let Some(database) = database.as_ref() else { return Err(not_open()) };
        let read = || -> Result<Option<Vec<u8>>, redb::Error> {
            let table = database.begin_read()?.open_table(table)?;
            Ok(table.get(app.0)?.map(|bytes| bytes.value().to_vec()))
        };
        read().map_err(|cause| storage_error(doing, cause))
    }
}
