//! What an ONNX file says about itself, read by us before ONNX Runtime sees it, and the model card that tells how to
//! feed the model and where its routing comes out.

mod card;

pub use card::{
    CropRule, GatingCard, GridCard, InputCard, LayerCard, Layout, ModelCard, ParameterCard, ResizeCard, ResizeFilter,
    ResizeRule, TopKCard,
};
