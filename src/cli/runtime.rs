//! `moescope runtime`: which builds of ONNX Runtime are there, and what starts with them.
//!
//! A provider is started as it would be for a model, in a worker process of its own: each needs another library, a process
//! takes only one, and a driver that crashes ends nothing but the try.

use super::args::{ModelArgs, RuntimeCommand};
use super::console::{output, print};
use super::failure::Failure;
use super::load::engine_options;
use crate::engine::{Engine, EngineError, Freedom, Probe, Provider, Runtime, Store, find_library, isolation_of, probe};
use anyhow::Context;
use serde::Serialize;
use std::io::Write;
use std::path::{Path, PathBuf};

pub(super) fn run(command: &RuntimeCommand, model: &ModelArgs) -> Result<(), Failure> {
    match command {
        RuntimeCommand::List { json } => list(*json),
        RuntimeCommand::Install { runtime } => install(*runtime),
        RuntimeCommand::Remove { runtime } => remove(*runtime),
        RuntimeCommand::Doctor { json } => doctor(*json, model),
    }
}

/// One row of the list.
#[derive(Serialize)]
struct Listed {
    name: Runtime,
    providers: &'static [Provider],
    /// What would be installed; `None` where there is nothing for this system.
    package: Option<String>,
    /// What is installed.
    installed: Option<String>,
    library: Option<PathBuf>,
}

#[derive(Serialize)]
struct List {
    schema: &'static str,
    runtimes: Vec<Listed>,
}

fn list(json: bool) -> Result<(), Failure> {
    let store = Store::of_user();
    let listed = |runtime: Runtime| Listed {
        name: runtime,
        providers: runtime.providers(),
        package: runtime.package(),
        installed: store.as_ref().and_then(|store| store.installed_package(runtime)),
        library: store.as_ref().and_then(|store| store.library(runtime)),
    };
    let list = List { schema: "moescope-runtimes/1", runtimes: Runtime::ALL.map(listed).into() };
    Ok(print(&list, json, |out| {
        list.runtimes.iter().try_for_each(|Listed { name, package, installed, library, .. }| {
            let name = name.name();
            match (installed, library, package) {
                (Some(installed), Some(library), _) => {
                    writeln!(out, "{name:<14} installed: {installed} in {}", folder(library).display())
                }
                (_, _, Some(package)) => {
                    writeln!(out, "{name:<14} not installed: `moescope runtime install {name}` brings {package}")
                }
                _ => writeln!(out, "{name:<14} not made for this system"),
            }
        })
    })?)
}

fn folder(file: &Path) -> &Path {
    file.parent().unwrap_or(file)
}

fn store() -> anyhow::Result<Store> {
    Store::of_user().context("there is no home folder to install into: set HOME")
}

fn install(runtime: Runtime) -> Result<(), Failure> {
    let folder = store()?.install(runtime).map_err(anyhow::Error::from)?;
    let mut out = output();
    writeln!(out, "{runtime} is installed in {}; `moescope runtime doctor` tells whether it starts", folder.display())?;
    Ok(out.flush()?)
}

fn remove(runtime: Runtime) -> Result<(), Failure> {
    let was_there = store()?.remove(runtime).map_err(anyhow::Error::from)?;
    let mut out = output();
    writeln!(out, "{runtime} {}", if was_there { "is removed" } else { "is not installed" })?;
    Ok(out.flush()?)
}

/// What became of one provider.
#[derive(Serialize)]
struct Examined {
    provider: Provider,
    #[serde(flatten)]
    verdict: Verdict,
}

/// What a try of a provider gave.
#[derive(Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
enum Verdict {
    /// It loaded a tiny model and computed.
    Starts(Probe),
    /// It is there and does not start.
    Fails {
        /// Why.
        reason: String,
        /// The library that the system's loader did not find.
        missing: Option<String>,
        /// What to do.
        remedy: String,
    },
    /// There is nothing to start.
    NotInstalled {
        /// What to do.
        remedy: String,
    },
}

impl Verdict {
    fn fails(provider: Provider, reason: String) -> Self {
        Self::Fails { missing: missing_library(&reason), reason, remedy: remedy(provider).to_owned() }
    }
}

/// What a provider needs of the system beside its library.
fn remedy(provider: Provider) -> &'static str {
    match provider {
        Provider::Cpu => "Build the program again, or run `moescope runtime install cpu`",
        Provider::WebGpu if cfg!(target_os = "linux") => {
            "It needs a Vulkan driver from 2024 on: Mesa 24 (Debian 12 has it as a backport), or the card's maker's"
        }
        Provider::WebGpu | Provider::DirectMl | Provider::CoreMl => "Update the system and the graphics driver",
        Provider::Cuda => "It needs an NVIDIA card with its driver, and CUDA 13 with cuDNN 9 on the library path",
        Provider::TensorRt => {
            "It needs an NVIDIA card with its driver, and CUDA 13 with TensorRT 10 on the library path"
        }
        Provider::OpenVino => "It needs an Intel or AMD processor with AVX2, and for Intel's graphics their driver",
    }
}

#[derive(Serialize)]
struct Doctor {
    schema: &'static str,
    providers: Vec<Examined>,
    /// What the process of a model on the CPU can do; `None` where that could not be found out.
    isolation: Option<Freedom>,
}

fn doctor(json: bool, model: &ModelArgs) -> Result<(), Failure> {
    let engine = Engine::start(engine_options(model)?);
    let examined = Provider::ALL.map(|provider| Examined { provider, verdict: examine(&engine, provider) });
    let doctor = Doctor { schema: "moescope-doctor/1", providers: examined.into(), isolation: isolation(model) };
    print(&doctor, json, |out| {
        doctor.providers.iter().try_for_each(|Examined { provider, verdict }| {
            let name = provider.name();
            match verdict {
                Verdict::Starts(Probe { load_secs, run_secs }) => {
                    writeln!(
                        out,
                        "{name:<9} starts: loads in {:.0} ms, first run {:.0} ms",
                        load_secs * 1e3,
                        run_secs * 1e3
                    )
                }
                Verdict::Fails { reason, missing, remedy } => {
                    let reason = missing.as_ref().map_or(reason.clone(), |missing| format!("{missing} is missing"));
                    writeln!(out, "{name:<9} does not start: {reason}. {remedy}")
                }
                Verdict::NotInstalled { remedy } => writeln!(out, "{name:<9} is not installed: {remedy}"),
            }
        })?;
        writeln!(out, "{}", isolation_text(doctor.isolation.as_ref()))
    })?;
    let fails = |examined: &Examined| matches!(examined.verdict, Verdict::Fails { .. });
    if doctor.providers.iter().any(fails) { Err(Failure::Inputs) } else { Ok(()) }
}

/// What a process of the kind that runs models can do here.
fn isolation(model: &ModelArgs) -> Option<Freedom> {
    let library = find_library(model.ort_library.as_deref()).ok()?;
    isolation_of(&std::env::current_exe().ok()?, &library).ok()
}

fn isolation_text(freedom: Option<&Freedom>) -> String {
    match freedom.map(Freedom::beyond_need) {
        None => "Isolation could not be examined".to_owned(),
        Some(can) if can.is_empty() => "Isolation holds: a model can read its own folder, and nothing else".to_owned(),
        Some(can) => format!("Isolation is partial here: a model can {} (docs/isolation.md)", can.join(", ")),
    }
}

/// Starts a provider with the library that a load would take.
fn examine(engine: &Engine, provider: Provider) -> Verdict {
    match probe(engine, provider) {
        Ok(probe) => Verdict::Starts(probe),
        Err(EngineError::NotInstalled { remedy, .. }) => Verdict::NotInstalled { remedy },
        Err(EngineError::Provider { reason, .. }) => Verdict::fails(provider, reason),
        Err(error) => Verdict::fails(provider, error.to_string()),
    }
}

/// The library that a loader did not find, from its message: glibc's "libcublasLt.so.13: cannot open shared object file",
/// Windows' "which depends on "cublasLt64_13.dll" which is missing", macOS' "Library not loaded: @rpath/libfoo.dylib".
fn missing_library(reason: &str) -> Option<String> {
    let word_before = |mark| reason.split_once(mark).and_then(|(before, _)| before.split_whitespace().last());
    let quoted = || reason.split_once("depends on \"").and_then(|(_, after)| after.split('"').next());
    let not_loaded =
        || reason.split_once("Library not loaded: ").and_then(|(_, after)| after.split_whitespace().next());
    word_before(": cannot open shared object file").or_else(quoted).or_else(not_loaded).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_missing_library_is_read_from_every_loaders_words() {
        for (reason, expected) in [
            (
                "Failed to load library libonnxruntime_providers_cuda.so with error: libcublasLt.so.13: cannot open \
                 shared object file: No such file or directory",
                Some("libcublasLt.so.13"),
            ),
            (
                "Error loading \"C:\\\\a\\\\onnxruntime_providers_cuda.dll\" which depends on \"cublasLt64_13.dll\" which is missing.",
                Some("cublasLt64_13.dll"),
            ),
            ("dlopen failed: Library not loaded: @rpath/libfoo.dylib Referenced from: x", Some("@rpath/libfoo.dylib")),
            ("Failed to get a WebGPU adapter", None),
        ] {
            assert_eq!(missing_library(reason).as_deref(), expected);
        }
    }
}
