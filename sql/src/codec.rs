//! Stage plans as bytes: DataFusion's protobuf, and our one leaf.
//!
//! Not here: what a task is given besides its plan.

use crate::errors::failed;
use crate::exchange::{ReadKind, ShuffleReadExec};
use datafusion::arrow::datatypes::Schema;
use datafusion::common::{Result, internal_datafusion_err, internal_err};
use datafusion::execution::TaskContext;
use datafusion::physical_expr::LexOrdering;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use datafusion_proto::bytes::physical_plan_to_bytes_with_extension_codec;
use datafusion_proto::physical_plan::from_proto::parse_physical_sort_exprs;
use datafusion_proto::physical_plan::to_proto::serialize_physical_sort_exprs;
use datafusion_proto::physical_plan::{
    DefaultPhysicalProtoConverter, PhysicalExtensionCodec, PhysicalPlanDecodeContext,
    PhysicalProtoConverterExtension,
};
use datafusion_proto::protobuf;
use firesteel_common::id::StageId;
use firesteel_common::{Error, ErrorCode, Payload};
use prost::Message;
use std::sync::Arc;

/// The bytes of a stage's plan.
pub(crate) fn encode(plan: Arc<dyn ExecutionPlan>) -> Result<Payload, Error> {
    let bytes = physical_plan_to_bytes_with_extension_codec(plan, &StageCodec)
        .map_err(|cause| failed(&cause).context("encoding a stage"))?;
    Ok(Payload::from(&bytes[..]))
}

/// A stage's plan between bytes and operators; many tasks make theirs of one.
pub(crate) fn parse(bytes: &[u8]) -> Result<protobuf::PhysicalPlanNode, Error> {
    protobuf::PhysicalPlanNode::decode(bytes)
        .map_err(|cause| Error::new(ErrorCode::Codec, format!("a stage's plan: {cause}")))
}

/// A fresh instance of a stage's plan, which shares no state with any other.
pub(crate) fn instance(
    node: &protobuf::PhysicalPlanNode,
    context: &TaskContext,
) -> Result<Arc<dyn ExecutionPlan>, Error> {
    let context = PhysicalPlanDecodeContext::new(context, &StageCodec);
    DefaultPhysicalProtoConverter {}
        .proto_to_execution_plan(node, &context)
        .map_err(|cause| failed(&cause).context("decoding a stage"))
}

#[derive(Debug)]
struct StageCodec;

/// A [`ShuffleReadExec`] on the wire.
#[derive(Clone, PartialEq, Message)]
struct ShuffleReadNode {
    #[prost(uint32, tag = "1")]
    stage: u32,
    #[prost(uint32, tag = "2")]
    kind: u32,
    #[prost(uint32, tag = "3")]
    first_input: u32,
    #[prost(uint32, tag = "4")]
    partitions: u32,
    #[prost(message, optional, tag = "5")]
    schema: Option<protobuf::Schema>,
    #[prost(message, repeated, tag = "6")]
    ordering: Vec<protobuf::PhysicalSortExprNode>,
}

impl PhysicalExtensionCodec for StageCodec {
    fn try_decode(
        &self,
        buf: &[u8],
        _: &[Arc<dyn ExecutionPlan>],
        ctx: &TaskContext,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let node = ShuffleReadNode::decode(buf)
            .map_err(|cause| internal_datafusion_err!("a shuffle read cannot be decoded: {cause}"))?;
        let kind = match node.kind {
            0 => ReadKind::Reducer,
            1 => ReadKind::Everything,
            2 => ReadKind::Runs,
            other => return internal_err!("a shuffle read has the unknown kind {other}"),
        };
        let schema = node.schema.as_ref();
        let schema: Schema =
            schema.ok_or_else(|| internal_datafusion_err!("a shuffle read has no schema"))?.try_into()?;
        let decode = PhysicalPlanDecodeContext::new(ctx, self);
        let ordering = parse_physical_sort_exprs(&node.ordering, &decode, &schema, converter)?;
        let read = ShuffleReadExec::new(
            StageId(node.stage),
            kind,
            Arc::new(schema),
            node.partitions as usize,
            LexOrdering::new(ordering),
        );
        Ok(Arc::new(read.at_input(node.first_input)))
    }

    fn try_encode(
        &self,
        node: Arc<dyn ExecutionPlan>,
        buf: &mut Vec<u8>,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<()> {
        let Some(read) = node.downcast_ref::<ShuffleReadExec>() else {
            return datafusion::common::not_impl_err!("{} cannot run as a task", node.name());
        };
        let ordering = node.output_ordering().cloned().into_iter().flatten();
        let message = ShuffleReadNode {
            stage: read.stage().0,
            kind: match read.kind() {
                ReadKind::Reducer => 0,
                ReadKind::Everything => 1,
                ReadKind::Runs => 2,
            },
            first_input: read.first_input(),
            partitions: u32::try_from(read.partitions())
                .map_err(|_| internal_datafusion_err!("a shuffle read has too many partitions"))?,
            schema: Some(node.schema().as_ref().try_into()?),
            ordering: serialize_physical_sort_exprs(ordering, self, converter)?,
        };
        message.encode(buf).map_err(|cause| internal_datafusion_err!("a shuffle read: {cause}"))
    }
}
