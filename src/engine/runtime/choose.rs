//! Tries backends until one starts, and keeps what the others said.

use super::{Backend, Candidates};
use crate::engine::{EngineError, Loaded, NotStarted};

/// Loads with the first backend that can. What the ones before it said is in [`Loaded::not_started`]; if none can, the
/// last one's error is given: that of the CPU, unless another provider was required.
///
/// # Errors
/// What `load` says; [`EngineError::Cancelled`] ends the trying.
pub(in crate::engine) fn first_that_starts(
    candidates: Candidates,
    mut load: impl FnMut(&Backend) -> Result<Loaded, EngineError>,
) -> Result<Loaded, EngineError> {
    let Candidates { backends, skipped: mut not_started } = candidates;
    let mut last_error = EngineError::Gone;
    for backend in &backends {
        match load(backend) {
            Ok(loaded) => return Ok(Loaded { not_started, ..loaded }),
            Err(EngineError::Cancelled) => return Err(EngineError::Cancelled),
            Err(error) => {
                not_started.push(NotStarted::new(backend.provider, &error));
                last_error = error;
            }
        }
    }
    Err(last_error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{ModelHandle, Placement, Provider};

    fn candidates(providers: &[Provider]) -> Candidates {
        let backend = |&provider| Backend { provider, library: "library".into(), plugin: None };
        Candidates { backends: providers.iter().map(backend).collect(), skipped: Vec::new() }
    }

    fn check(providers: &[Provider], fails: impl Fn(Provider) -> Option<EngineError>) -> Result<Loaded, EngineError> {
        first_that_starts(candidates(providers), |backend| match fails(backend.provider) {
            Some(error) => Err(error),
            None => Ok(Loaded {
                model: ModelHandle(1),
                provider: backend.provider,
                not_started: Vec::new(),
                placement: Placement::default(),
                outputs: Vec::new(),
                load_secs: 0.0,
            }),
        })
    }

    fn refusal(provider: Provider) -> EngineError {
        EngineError::Provider { provider, reason: "no driver".into(), remedy: "Install one".into() }
    }

    #[test]
    fn the_first_that_starts_is_used_and_the_others_are_told() {
        let all = [Provider::Cuda, Provider::WebGpu, Provider::Cpu];
        let loaded = check(&all, |provider| (provider == Provider::Cuda).then(|| refusal(provider))).unwrap();
        assert_eq!(loaded.provider, Provider::WebGpu);
        let told = [NotStarted { provider: Provider::Cuda, reason: "no driver. Install one".into() }];
        assert_eq!(loaded.not_started, told);
    }

    #[test]
    fn when_none_starts_the_last_one_says_why() {
        let error = check(&[Provider::Cuda, Provider::Cpu], |provider| Some(refusal(provider))).unwrap_err();
        assert_eq!(error, refusal(Provider::Cpu));
    }

    #[test]
    fn a_cancel_tries_no_other() {
        let all = [Provider::Cuda, Provider::Cpu];
        let cancelled = |provider| (provider == Provider::Cuda).then_some(EngineError::Cancelled);
        assert_eq!(check(&all, cancelled), Err(EngineError::Cancelled));
    }
}
