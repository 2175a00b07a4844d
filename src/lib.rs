//! MoE Scope shows what a Mixture-of-Experts (MoE) vision model does, patch by patch.
//!
//! Modules in reading order, from the pure core outward:
//! - [`routing`]: which expert handled which patch, and every measure of it; no IO
//! - [`input`]: an image file becomes pixels, then a model's input tensor
//! - [`model`]: what an ONNX file says about itself, and the model card
//! - [`engine`]: ONNX Runtime, behind closed request and response types
//! - [`analysis`]: one image through one model, from file to statistics
//! - [`report`]: files that appear whole or not at all
//! - [`render`]: the heatmap and the load bars, drawn by WGSL shaders
//! - [`ui`]: the window
//! - [`cli`]: the headless commands

pub mod analysis;
pub mod cli;
pub mod engine;
pub mod input;
pub mod model;
#[cfg(feature = "gui")]
pub mod render;
pub mod report;
pub mod routing;
#[cfg(feature = "gui")]
pub mod ui;
