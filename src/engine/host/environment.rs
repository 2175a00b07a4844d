//! The one ONNX Runtime environment of the process.
//!
//! ONNX Runtime allows one library and one environment per process, so they outlive the engine that made them and are
//! shared by the next.

use crate::engine::EngineError;
use crate::engine::library::{check_version, find_library, remedy};
use ort::environment::Environment;
use ort::logging::LogLevel;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// What became of the first library that was loaded for good.
enum State {
    /// In use.
    Ready { library: PathBuf, environment: Environment },
    /// It claimed to be usable and was not; `ort` must not be called again in this process.
    Broken(EngineError),
}

static STATE: Mutex<Option<State>> = Mutex::new(None);

/// The environment, made from `flag` or from the library that is found without it.
///
/// # Errors
/// [`EngineError::Library`]; after a library that is missing, foreign or too old another one can be tried.
pub(super) fn environment(flag: Option<&Path>) -> Result<Environment, EngineError> {
    let mut state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(State::Broken(error)) = &*state {
        return Err(error.clone());
    }
    let wanted = find_library(flag)?;
    match &*state {
        Some(State::Ready { library, environment }) if *library == wanted => Ok(environment.clone()),
        Some(State::Ready { library, .. }) => Err(EngineError::Library {
            reason: format!("{} was asked for, but {} is in use already", wanted.display(), library.display()),
            remedy: "Restart the program to change the library".into(),
        }),
        _ => {
            guarded(&wanted, || check_version(&wanted))??;
            match guarded(&wanted, || open(&wanted)).flatten() {
                Ok(environment) => {
                    *state = Some(State::Ready { library: wanted, environment: environment.clone() });
                    Ok(environment)
                }
                Err(error) => {
                    *state = Some(State::Broken(error.clone()));
                    Err(error)
                }
            }
        }
    }
}

/// Loads the library for good and makes the environment.
fn open(library: &Path) -> Result<Environment, EngineError> {
    let refused = |error: &dyn std::fmt::Display| EngineError::Library { reason: error.to_string(), remedy: remedy() };
    let builder = ort::init_from(library).map_err(|error| refused(&error))?;
    let environment = builder.with_name("moescope").with_telemetry(false).build().map_err(|error| refused(&error))?;
    // Errors come back as values and are shown once, by us; a cancelled run is none.
    environment.set_log_level(LogLevel::Fatal);
    Ok(environment)
}

/// `ort` panics on a library that has the right symbol but not ONNX Runtime behind it.
fn guarded<T>(library: &Path, call: impl FnOnce() -> T) -> Result<T, EngineError> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|_| EngineError::Library {
        reason: format!("{} is not a usable ONNX Runtime library", library.display()),
        remedy: remedy(),
    })
}
