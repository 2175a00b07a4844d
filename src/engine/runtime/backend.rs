//! From a wish to what is to be tried, in order: a provider, with the library that has it.

use super::{Runtime, Store};
use crate::engine::library::{find_library, given_library};
use crate::engine::protocol::os_path;
use crate::engine::provider::AUTO_ORDER;
use crate::engine::{EngineError, NotStarted, Provider, ProviderChoice};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// A provider, and the files that it comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backend {
    /// What the model shall run on.
    pub provider: Provider,
    /// Absolute path of ONNX Runtime's library.
    #[serde(with = "os_path")]
    pub library: PathBuf,
    /// The plug-in with the provider, to be used where the library does not have it built in.
    #[serde(with = "os_path::optional")]
    pub plugin: Option<PathBuf>,
}

impl Backend {
    /// The folders that its files lie in, for a sandbox that lets nothing else be read.
    #[must_use]
    pub fn folders(&self) -> Vec<&Path> {
        [Some(self.library.as_path()), self.plugin.as_deref()].into_iter().flatten().filter_map(Path::parent).collect()
    }
}

/// What is to be tried for a wish.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::engine) struct Candidates {
    /// In the order of trying; the first that starts is used.
    pub(in crate::engine) backends: Vec<Backend>,
    /// Providers that cannot even be tried.
    pub(in crate::engine) skipped: Vec<NotStarted>,
}

/// What is to be tried for `choice`. `flag` is ONNX Runtime's library if one was given by flag; it, or the one that the
/// environment names, is the only library that is used then.
///
/// # Errors
/// [`EngineError::Library`] without any library, [`EngineError::NotInstalled`] when a required provider is not.
pub(in crate::engine) fn candidates(choice: ProviderChoice, flag: Option<&Path>) -> Result<Candidates, EngineError> {
    Places::of_user(flag)?.candidates(choice)
}

/// Where libraries may come from.
struct Places {
    /// The one that a person named.
    given: Option<PathBuf>,
    /// The one that is used for the CPU.
    found: Result<PathBuf, EngineError>,
    /// The installed ones.
    store: Option<Store>,
}

impl Places {
    fn of_user(flag: Option<&Path>) -> Result<Self, EngineError> {
        Ok(Self { given: given_library(flag)?, found: find_library(flag), store: Store::of_user() })
    }

    fn candidates(&self, choice: ProviderChoice) -> Result<Candidates, EngineError> {
        match choice {
            ProviderChoice::Require(provider) => {
                Ok(Candidates { backends: vec![self.backend(provider)?], skipped: Vec::new() })
            }
            ProviderChoice::Prefer(Provider::Cpu) => self.candidates(ProviderChoice::Require(Provider::Cpu)),
            ProviderChoice::Prefer(provider) => match self.backend(provider) {
                Ok(backend) => self.before_the_cpu(vec![backend]),
                Err(error) => {
                    let skipped = vec![NotStarted::new(provider, &error)];
                    Ok(Candidates { skipped, ..self.before_the_cpu(Vec::new())? })
                }
            },
            ProviderChoice::Auto => {
                let accelerated = AUTO_ORDER.into_iter().filter(|&provider| provider != Provider::Cpu);
                let worth_it = accelerated.filter(|&provider| self.is_worth_trying(provider));
                self.before_the_cpu(worth_it.flat_map(|provider| self.backend(provider)).collect())
            }
        }
    }

    /// `backends`, then the CPU, which may lack a library of its own where another is installed.
    fn before_the_cpu(&self, mut backends: Vec<Backend>) -> Result<Candidates, EngineError> {
        match self.backend(Provider::Cpu) {
            Ok(cpu) => backends.push(cpu),
            Err(error) if backends.is_empty() => return Err(error),
            Err(_) => {}
        }
        Ok(Candidates { backends, skipped: Vec::new() })
    }

    /// The library to use for a provider, whether or not it will start.
    fn backend(&self, provider: Provider) -> Result<Backend, EngineError> {
        let backend = |library| Backend { provider, library, plugin: self.plugin(provider) };
        match &self.given {
            Some(given) => Ok(backend(given.clone())),
            None => match self.installed(provider) {
                Some(library) => Ok(backend(library)),
                None if provider == Provider::Cpu => self
                    .found
                    .clone()
                    .or_else(|error| self.store.as_ref().and_then(|store| store.library(Runtime::Cpu)).ok_or(error))
                    .map(backend),
                None if self.found_has(provider) => self.found.clone().map(backend),
                None => Err(not_installed(provider)),
            },
        }
    }

    /// The installed library that was built with `provider`.
    fn installed(&self, provider: Provider) -> Option<PathBuf> {
        let store = self.store.as_ref()?;
        let with_it = Runtime::ALL.into_iter().filter(|runtime| runtime.providers().contains(&provider));
        with_it.filter(|&runtime| runtime != Runtime::WebGpuPlugin).find_map(|runtime| store.library(runtime))
    }

    /// The plug-in for `provider`, if it is installed.
    fn plugin(&self, provider: Provider) -> Option<PathBuf> {
        let store = self.store.as_ref().filter(|_| provider == Provider::WebGpu)?;
        store.library(Runtime::WebGpuPlugin)
    }

    /// Whether the CPU's library can be expected to have `provider`: by the plug-in, by the files that lie beside it, or
    /// because every build for the system has it.
    fn found_has(&self, provider: Provider) -> bool {
        let beside = match provider {
            Provider::WebGpu => return self.plugin(provider).is_some(),
            Provider::CoreMl => return cfg!(target_os = "macos"),
            Provider::Cpu => return true,
            Provider::Cuda => "onnxruntime_providers_cuda",
            Provider::TensorRt => "onnxruntime_providers_tensorrt",
            Provider::OpenVino => "onnxruntime_providers_openvino",
            Provider::DirectMl => "DirectML",
        };
        let file = format!("{}{beside}{}", if cfg!(windows) { "" } else { "lib" }, std::env::consts::DLL_SUFFIX);
        let library = self.given.as_ref().or(self.found.as_ref().ok());
        library.and_then(|library| library.parent()).is_some_and(|folder| folder.join(file).is_file())
    }

    /// Whether an automatic choice shall take the time to try a provider.
    fn is_worth_trying(&self, provider: Provider) -> bool {
        let here = match self.given {
            Some(_) => self.found_has(provider),
            None => true,
        };
        // In software WebGPU is slower than the CPU's provider.
        here && (provider != Provider::WebGpu || has_graphics_device())
    }
}

/// Whether the system has a graphics device, as far as that can be told without a driver.
fn has_graphics_device() -> bool {
    if !cfg!(target_os = "linux") {
        return true;
    }
    let render_node = |entry: std::fs::DirEntry| entry.file_name().to_string_lossy().starts_with("renderD");
    let has_render_node =
        std::fs::read_dir("/dev/dri").is_ok_and(|mut entries| entries.any(|entry| entry.is_ok_and(render_node)));
    has_render_node || ["/dev/nvidiactl", "/dev/dxg"].iter().any(|device| Path::new(device).exists())
}

/// No library for a provider.
fn not_installed(provider: Provider) -> EngineError {
    let runtime = Runtime::ALL.into_iter().find(|runtime| runtime.providers().contains(&provider));
    let remedy = match runtime {
        Some(runtime) if runtime.package().is_some() => format!("Run `moescope runtime install {runtime}`"),
        Some(_) => "There is no build of it for this system: choose another provider".to_owned(),
        None => "CoreML is part of macOS: choose another provider here".to_owned(),
    };
    EngineError::NotInstalled { provider, remedy }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use tempfile::TempDir;

    /// A store with these files in it, and a library for the CPU beside it.
    fn places(installed: &[(Runtime, &str)]) -> (TempDir, Places) {
        let temp = tempfile::tempdir().unwrap();
        let store = Store::at(&temp.path().join("runtimes"));
        for (runtime, name) in installed {
            fs::create_dir_all(store.folder_of(*runtime)).unwrap();
            fs::write(store.folder_of(*runtime).join(name), b"").unwrap();
        }
        let places = Places { given: None, found: Ok(temp.path().join("cpu")), store: Some(store) };
        (temp, places)
    }

    fn tried(candidates: &Candidates) -> Vec<Provider> {
        candidates.backends.iter().map(|backend| backend.provider).collect()
    }

    #[test]
    fn with_nothing_installed_only_the_cpu_is_tried() {
        let (_temp, places) = places(&[]);
        let found = places.candidates(ProviderChoice::Auto).unwrap();
        // On macOS the library has CoreML, which is not chosen by itself.
        assert_eq!((tried(&found), found.skipped), (vec![Provider::Cpu], vec![]));
    }

    #[test]
    fn what_is_installed_is_tried_before_the_cpu() {
        let (_temp, places) =
            places(&[(Runtime::Cuda, "libonnxruntime.so.1"), (Runtime::OpenVino, "libonnxruntime.so.1")]);
        let found = places.candidates(ProviderChoice::Auto).unwrap();
        assert_eq!(tried(&found), [Provider::Cuda, Provider::OpenVino, Provider::Cpu]);
        assert!(found.backends[0].library.ends_with("cuda/libonnxruntime.so.1"));
        assert!(found.backends[2].library.ends_with("cpu"));
    }

    #[test]
    fn a_required_provider_is_the_only_one_and_a_preferred_one_the_first() {
        let (_temp, places) = places(&[(Runtime::Cuda, "libonnxruntime.so.1")]);
        let required = places.candidates(ProviderChoice::Require(Provider::TensorRt)).unwrap();
        assert_eq!(tried(&required), [Provider::TensorRt]);
        let preferred = places.candidates(ProviderChoice::Prefer(Provider::Cuda)).unwrap();
        assert_eq!(tried(&preferred), [Provider::Cuda, Provider::Cpu]);
    }

    #[test]
    fn a_provider_that_is_not_installed_is_refused_or_told() {
        let (_temp, places) = places(&[]);
        let text = places.candidates(ProviderChoice::Require(Provider::Cuda)).unwrap_err().to_string();
        assert!(text.contains("runtime install cuda"), "{text}");
        let preferred = places.candidates(ProviderChoice::Prefer(Provider::WebGpu)).unwrap();
        assert_eq!(tried(&preferred), [Provider::Cpu]);
        assert!(preferred.skipped[0].to_string().contains("runtime install webgpu"), "{preferred:?}");
    }

    #[test]
    fn a_given_library_is_used_for_every_provider() {
        let (temp, mut places) = places(&[(Runtime::Cuda, "libonnxruntime.so.1")]);
        let given = temp.path().join("given");
        places.given = Some(given.clone());
        let found = places.candidates(ProviderChoice::Prefer(Provider::Cuda)).unwrap();
        assert!(found.backends.iter().all(|backend| backend.library == given), "{found:?}");
        assert_eq!(tried(&places.candidates(ProviderChoice::Auto).unwrap()), [Provider::Cpu]);
    }

    #[test]
    fn without_a_library_for_the_cpu_what_is_installed_is_tried_alone() {
        let (_temp, mut places) = places(&[(Runtime::Cuda, "libonnxruntime.so.1")]);
        let missing = EngineError::Library { reason: "none".into(), remedy: "Install one".into() };
        places.found = Err(missing.clone());
        assert_eq!(tried(&places.candidates(ProviderChoice::Auto).unwrap()), [Provider::Cuda]);
        assert_eq!(places.candidates(ProviderChoice::Prefer(Provider::WebGpu)), Err(missing));
    }

    #[test]
    fn the_library_for_the_cpu_can_be_an_installed_one() {
        let (_temp, mut places) = places(&[(Runtime::Cpu, "libonnxruntime.so.1")]);
        places.found = Err(EngineError::Library { reason: "none".into(), remedy: "Install one".into() });
        let found = places.candidates(ProviderChoice::Auto).unwrap();
        assert!(found.backends[0].library.ends_with("cpu/libonnxruntime.so.1"), "{found:?}");
    }

    #[test]
    fn the_plug_in_runs_in_the_library_of_the_cpu() {
        let (temp, places) = places(&[(Runtime::WebGpuPlugin, "libonnxruntime_providers_webgpu.so")]);
        let found = places.candidates(ProviderChoice::Require(Provider::WebGpu)).unwrap();
        assert_eq!(found.backends[0].library, temp.path().join("cpu"));
        assert!(found.backends[0].plugin.is_some());
        assert_eq!(found.backends[0].folders().len(), 2);
    }
}
