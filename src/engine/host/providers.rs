//! Adds a provider to a session that is being built, or says why that cannot be.
//!
//! ONNX Runtime and `ort` go on with the CPU in several cases without a word: a provider whose library cannot be loaded,
//! a list of devices that is empty, a model of which it can run nothing. Each of them is an error here.

use crate::engine::{Backend, EngineError, Placement, Precision, Provider, ProviderOptions};
use ort::environment::Environment;
use ort::ep::{self, ExecutionProvider, ExecutionProviderDispatch};
use ort::session::builder::SessionBuilder;
use std::path::Path;

/// Has sessions of `builder` run on the backend's provider.
///
/// # Errors
/// [`EngineError::Provider`].
pub(super) fn add(
    builder: SessionBuilder,
    environment: &Environment,
    backend: &Backend,
    options: &ProviderOptions,
) -> Result<SessionBuilder, EngineError> {
    let provider = backend.provider;
    if let Some(option) = unknown_option(provider, options) {
        let (reason, remedy) = (format!("it has no {option} to set"), "Leave that option out".to_owned());
        return Err(EngineError::Provider { provider, reason, remedy });
    }
    let built_in = match dispatch(provider, options) {
        None => return Ok(builder),
        Some((dispatch, is_built_in)) => is_built_in().unwrap_or(false).then_some(dispatch),
    };
    let added = match (built_in, &backend.plugin) {
        (Some(dispatch), _) => {
            // DirectML takes no memory pattern, and the others do without.
            let builder = match provider {
                Provider::DirectMl => builder.with_memory_pattern(false).map_err(|error| error.message().to_owned()),
                _ => Ok(builder),
            };
            builder.and_then(|builder| {
                let added = builder.with_execution_providers([dispatch.error_on_failure()]);
                added.map_err(|error| error.message().to_owned())
            })
        }
        (None, Some(plugin)) => add_plugin(builder, environment, provider, plugin, options),
        (None, None) => Err(format!("{} was built without it", backend.library.display())),
    };
    added.map_err(|reason| refusal(provider, own_words(&reason)))
}

/// The error for a provider that started and takes not one node of the model.
pub(super) fn runs_nothing(provider: Provider, placement: &Placement) -> EngineError {
    refusal(provider, &format!("it can run none of the model's {} nodes", placement.num_nodes()))
}

fn refusal(provider: Provider, reason: &str) -> EngineError {
    let remedy = "`moescope runtime doctor` tells what it needs".to_owned();
    EngineError::Provider { provider, reason: reason.to_owned(), remedy }
}

/// What ONNX Runtime says, without the place in its sources and the condition that was checked there.
fn own_words(message: &str) -> &str {
    let marks = [" was false. ", " : FAIL : "];
    marks.iter().fold(message.trim(), |words, mark| words.rsplit_once(mark).map_or(words, |(_, after)| after))
}

/// Whether a library was built with a provider.
type IsBuiltIn = fn() -> ort::Result<bool>;

/// The provider with its options; `None` for the CPU, which is always there.
fn dispatch(provider: Provider, options: &ProviderOptions) -> Option<(ExecutionProviderDispatch, IsBuiltIn)> {
    let half = options.precision == Precision::Half;
    let device = options.device.map(|device| i32::try_from(device).unwrap_or(i32::MAX));
    let cache = options.cache.as_ref().map(|cache| cache.to_string_lossy().into_owned());
    Some(match provider {
        Provider::Cpu => return None,
        Provider::WebGpu => built(set(ep::WebGPU::default(), device, ep::WebGPU::with_device_id)),
        Provider::Cuda => {
            // The CPU computes in full precision, and so does this unless asked otherwise.
            built(set(ep::CUDA::default().with_tf32(half), device, ep::CUDA::with_device_id))
        }
        Provider::TensorRt => {
            let ep = set(ep::TensorRT::default().with_fp16(half), device, ep::TensorRT::with_device_id);
            built(set(ep, cache, |ep, cache| ep.with_engine_cache(true).with_engine_cache_path(cache)))
        }
        Provider::DirectMl => built(set(ep::DirectML::default(), device, ep::DirectML::with_device_id)),
        Provider::CoreMl => {
            let ep = ep::CoreML::default()
                .with_model_format(ep::coreml::ModelFormat::MLProgram)
                .with_low_precision_accumulation_on_gpu(half);
            built(set(ep, cache, ep::CoreML::with_model_cache_dir))
        }
        Provider::OpenVino => {
            let ep = ep::OpenVINO::default().with_precision(if half { "FP16" } else { "FP32" });
            built(set(ep, cache, ep::OpenVINO::with_cache_dir))
        }
    })
}

fn built<P: ExecutionProvider + Into<ExecutionProviderDispatch>>(ep: P) -> (ExecutionProviderDispatch, IsBuiltIn) {
    (ep.into(), P::is_available)
}

/// `ep` with an option, if there is one.
fn set<P, V>(ep: P, value: Option<V>, with: impl FnOnce(P, V) -> P) -> P {
    match value {
        Some(value) => with(ep, value),
        None => ep,
    }
}

/// An option that is set and that the provider does not have.
fn unknown_option(provider: Provider, options: &ProviderOptions) -> Option<&'static str> {
    let has_device = !matches!(provider, Provider::Cpu | Provider::CoreMl | Provider::OpenVino);
    let has_half = !matches!(provider, Provider::Cpu | Provider::WebGpu | Provider::DirectMl);
    let has_cache = matches!(provider, Provider::TensorRt | Provider::CoreMl | Provider::OpenVino);
    let is_set = [
        (options.device.is_some() && !has_device, "device"),
        (options.precision == Precision::Half && !has_half, "half precision"),
        (options.cache.is_some() && !has_cache, "cache folder"),
    ];
    is_set.into_iter().find_map(|(unknown, name)| unknown.then_some(name))
}

/// Adds a provider from a plug-in, with the device of the wished index.
fn add_plugin(
    builder: SessionBuilder,
    environment: &Environment,
    provider: Provider,
    plugin: &Path,
    options: &ProviderOptions,
) -> Result<SessionBuilder, String> {
    let is_ours = |device: &ort::device::Device<'_>| device.ep().is_ok_and(|name| name == provider.ort_name());
    if !environment.devices().any(|device| is_ours(&device)) {
        environment
            .register_ep_library(provider.ort_name(), plugin)
            .map_err(|error| format!("{} cannot be used: {}", plugin.display(), error.message()))?;
    }
    let index = options.device.unwrap_or(0) as usize;
    let mut devices = environment.devices().filter(is_ours);
    let count = environment.devices().filter(is_ours).count();
    let Some(device) = devices.nth(index) else {
        // An empty list would be taken, and the model would run on the CPU.
        return Err(match count {
            0 => format!("{} found no device; `moescope runtime install webgpu` finds more", plugin.display()),
            _ => format!("it has no device {index}: there are {count}, counted from 0"),
        });
    };
    builder.with_devices([device], None).map_err(|error| error.message().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_in_the_sources_is_left_out() {
        let message = "/src/a.cc:65 f()::<lambda()> status == Status::Success was false. Failed to get an adapter\n";
        assert_eq!(own_words(message), "Failed to get an adapter");
        assert_eq!(own_words("plain words"), "plain words");
        let message = "/src/b.cc:2043 Get() [ONNXRuntimeError] : 1 : FAIL : Failed to load library a.so";
        assert_eq!(own_words(message), "Failed to load library a.so");
    }

    #[test]
    fn an_option_that_a_provider_does_not_have_is_named() {
        let device = ProviderOptions { device: Some(1), ..ProviderOptions::default() };
        let half = ProviderOptions { precision: Precision::Half, ..ProviderOptions::default() };
        let cache = ProviderOptions { cache: Some("cache".into()), ..ProviderOptions::default() };
        for (provider, options, expected) in [
            (Provider::Cpu, &device, Some("device")),
            (Provider::Cuda, &device, None),
            (Provider::WebGpu, &half, Some("half precision")),
            (Provider::TensorRt, &half, None),
            (Provider::Cuda, &cache, Some("cache folder")),
            (Provider::OpenVino, &cache, None),
            (Provider::Cpu, &ProviderOptions::default(), None),
        ] {
            assert_eq!(unknown_option(provider, options), expected, "{provider}");
        }
    }
}
