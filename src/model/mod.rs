//! What an ONNX file says about itself, read by us before ONNX Runtime sees it, and the model card that tells how to
//! feed the model and where its routing comes out.

mod bundled;
mod card;
mod card_source;
mod check;
mod describe;
mod elements;
mod error;
mod external;
pub mod geometry;
pub mod graph;
mod instrument;
mod labels;
mod map;
mod operators;
mod order;
mod origin;
pub mod proto;
pub mod routers;
mod sniff;
mod structure;
mod support;
#[cfg(test)]
mod tests;
mod text_file;
mod visit;

pub use bundled::{DEFAULT_MODEL, default_model_path};
pub use card::{
    BoxFormat, BoxUnits, Channels, CropRule, DetectionCard, DetectionStyle, Fill, FixedInputCard, GatingCard, GridCard,
    InputCard, InputElement, LayerCard, Layout, ModelCard, ParameterCard, ResizeCard, ResizeFilter, ResizeRule,
    ScoreActivation, TensorPath, TokenLayout, TokenOrder, TopKCard, TopKInput,
};
pub use card_source::{CardSource, sidecar_path};
pub use describe::{Dim, ModelDescription, ValueDescription, decode_model, describe_model, read_model};
pub use error::{ExternalFault, GraphFault, ModelError};
pub use instrument::{
    Control, ControlInput, Exposed, InstrumentError, InstrumentPlan, Instrumented, Obstacle, Offer, RouterControls,
    TopKInputs, expose, instrument,
};
pub use labels::{LabelsError, coco_labels, coco_labels_by_id, imagenet_labels, read_labels};
pub use map::map_file;
pub use origin::{Origin, origins};
