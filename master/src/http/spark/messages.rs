//! The messages of Spark's submission interface, with the names that its fields have there.

use crate::http::query::names;
use firesteel_common::{Error, ErrorCode};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// `POST /v1/submissions/create`: what to run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct CreateSubmission {
    /// `CreateSubmissionRequest`.
    pub action: Option<String>,
    /// A plugin that was uploaded: its hash, or the name it was uploaded under.
    #[serde(rename = "appResource")]
    pub app_resource: Option<String>,
    /// The entry point; may be empty if the plugin has only one.
    #[serde(rename = "mainClass")]
    pub main_class: Option<String>,
    /// The arguments of the entry point, each as `NAME=VALUE`.
    #[serde(rename = "appArgs")]
    pub app_args: Option<Vec<String>>,
    /// `spark.app.name`, and keys that a submission may set.
    #[serde(rename = "sparkProperties")]
    pub spark_properties: Option<BTreeMap<String, String>>,
    /// Only what Spark's own scripts set; processes here have no environment.
    #[serde(rename = "environmentVariables")]
    pub environment_variables: Option<BTreeMap<String, String>>,
    /// The version of the client.
    #[serde(rename = "clientSparkVersion")]
    pub client_spark_version: Option<String>,
    /// Something for people.
    pub message: Option<String>,
}

/// What `/v1/submissions` answers: which fields there are depends on the action.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct SubmissionAnswer {
    /// Which answer it is, such as `CreateSubmissionResponse`.
    pub action: String,
    /// What happened, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The version of this Firesteel.
    #[serde(rename = "serverSparkVersion")]
    pub server_spark_version: String,
    /// The submission, such as `driver-2`.
    #[serde(rename = "submissionId", skip_serializing_if = "Option::is_none")]
    pub submission_id: Option<String>,
    /// Whether what was asked for was done or found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub success: Option<bool>,
    /// `SUBMITTED`, `RUNNING`, `RELAUNCHING`, `FINISHED`, `FAILED` or `KILLED`.
    #[serde(rename = "driverState", skip_serializing_if = "Option::is_none")]
    pub driver_state: Option<String>,
    /// The worker that runs or ran the driver.
    #[serde(rename = "workerId", skip_serializing_if = "Option::is_none")]
    pub worker_id: Option<String>,
    /// The address of that worker's data server, while it is connected.
    #[serde(rename = "workerHostPort", skip_serializing_if = "Option::is_none")]
    pub worker_host_port: Option<String>,
    /// Fields of the request that mean nothing to this interface.
    #[serde(rename = "unknownFields", skip_serializing_if = "Option::is_none")]
    pub unknown_fields: Option<Vec<String>>,
}

impl SubmissionAnswer {
    /// An answer that says nothing yet.
    pub(super) fn of(action: &str) -> Self {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Self { action: action.to_owned(), server_spark_version: version, ..Self::default() }
    }

    pub(super) fn saying(self, message: String) -> Self {
        Self { message: Some(message), ..self }
    }

    pub(super) fn succeeding(self, success: bool) -> Self {
        Self { success: Some(success), ..self }
    }

    pub(super) fn about(self, id: String, success: bool) -> Self {
        Self { submission_id: Some(id), ..self.succeeding(success) }
    }
}

/// Reads a submission, as Spark does: a field that is not known is not an error, but told in the answer.
///
/// # Errors
/// `BAD_REQUEST` for another message, and for one that lacks what every one must have.
pub(super) fn read(body: Map<String, Value>) -> Result<(CreateSubmission, Vec<String>), Error> {
    let bad = |what: String| Error::new(ErrorCode::BadRequest, what);
    let known = names::<CreateSubmission>();
    let unknown = body.keys().filter(|name| !known.contains(&name.as_str())).cloned().collect();
    let message: CreateSubmission = serde_json::from_value(Value::Object(body))
        .map_err(|cause| bad(format!("the message is not a CreateSubmissionRequest: {cause}")))?;
    match message.action.as_deref() {
        Some("CreateSubmissionRequest") => {}
        Some(other) => return Err(bad(format!("the action is '{other}', not CreateSubmissionRequest"))),
        None => return Err(missing("action")),
    }
    let fields = [
        ("clientSparkVersion", message.client_spark_version.is_some()),
        ("appResource", message.app_resource.is_some()),
        ("appArgs", message.app_args.is_some()),
        ("sparkProperties", message.spark_properties.is_some()),
        ("environmentVariables", message.environment_variables.is_some()),
    ];
    match fields.into_iter().find(|(_, given)| !given) {
        Some((field, _)) => Err(missing(field)),
        None => Ok((message, unknown)),
    }
}

fn missing(field: &str) -> Error {
    let what = format!("the message CreateSubmissionRequest is not valid: '{field}' is missing in it");
    Error::new(ErrorCode::BadRequest, what)
}
