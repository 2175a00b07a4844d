//! The sessions of an open model beside the one that it was opened with.
//!
//! Opening stays as quick as it is, and a run of the model as it is stays exactly that run: what only a change of the
//! routing needs is loaded, and proved, when a change is first asked for. Where k lies in the graph's nodes each k is
//! another graph; of those a few are kept.

use super::change::ChangeError;
use super::edited::{EditError, Original, ProvedModel, load_proved, load_with_operator_top_k};
use super::layers::LayerPlan;
use super::recent::Recent;
use super::{AnalysisError, Baseline, OpenModel};
use crate::engine::{Engine, EngineError, LoadRequest, ModelHandle};
use crate::model::proto::ModelProto;
use crate::model::{InstrumentPlan, TopKInputs, decode_model, map_file};
use bytes::Bytes;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Sessions of other k that are kept: each has the model's weights in memory.
const KEPT_TOP_KS: usize = 4;

/// A session whose routing can be changed, or why there is none, in a sentence.
pub(super) type Changeable = Result<Arc<ProvedModel>, String>;

/// What was loaded so far.
#[derive(Debug)]
pub(super) struct Sessions {
    changeable: Mutex<Option<Changeable>>,
    by_top_k: Mutex<Recent<usize, ModelHandle>>,
}

impl Default for Sessions {
    fn default() -> Self {
        Self { changeable: Mutex::default(), by_top_k: Mutex::new(Recent::new(KEPT_TOP_KS)) }
    }
}

/// The file of an open model, read once more: an open model does not keep its graph in memory.
struct ReadAgain {
    request: LoadRequest,
    file: Bytes,
    model: ModelProto,
}

impl OpenModel {
    /// The session whose routing can be changed. For a model that was opened as it is, it is loaded and proved now, once.
    ///
    /// # Errors
    /// [`EngineError`] when the engine cannot run anything, or this was cancelled; it can be tried again then.
    pub(super) fn changeable(&self, engine: &Engine) -> Result<Changeable, EngineError> {
        if let Some(known) = self.controls.changeable() {
            return Ok(known);
        }
        let mut slot = lock(&self.controls.sessions.changeable);
        if let Some(known) = &*slot {
            return Ok(known.clone());
        }
        let changeable = match self.load_changeable(engine) {
            Ok(proved) => Ok(Arc::new(proved)),
            Err(EditError::Engine(error)) if !matches!(error, EngineError::Run { .. }) => return Err(error),
            Err(error) => Err(error.to_string()),
        };
        Ok(slot.insert(changeable).clone())
    }

    /// Whether [`offers`](Self::offers) has its answer already.
    pub(super) fn are_offers_known(&self) -> bool {
        self.controls.changeable().is_some() || lock(&self.controls.sessions.changeable).is_some()
    }

    fn load_changeable(&self, engine: &Engine) -> Result<ProvedModel, EditError> {
        let again = self.read_again().map_err(EditError::Unproved)?;
        let baseline = Baseline::of(engine, self.handle, self.probe())?;
        let plan = InstrumentPlan { top_k: TopKInputs::None, ..InstrumentPlan::everything(Vec::new()) };
        load_proved(engine, &self.original(&again), &plan, &baseline)
    }

    /// The session that runs with a k: the one that it was opened with, but for models whose k lies in their nodes.
    pub(super) fn session_at(&self, engine: &Engine, top_k: Option<usize>) -> Result<ModelHandle, AnalysisError> {
        let own = self.card.top_k.as_ref().map(|card| card.default);
        let Some(top_k) = top_k.filter(|_| self.controls.top_k_in_nodes() && top_k != own) else {
            return Ok(self.handle);
        };
        let mut sessions = lock(&self.controls.sessions.by_top_k);
        if let Some(handle) = sessions.get(&top_k) {
            return Ok(handle);
        }
        let again = self.read_again().map_err(|reason| ChangeError::Model { reason })?;
        let shown = LayerPlan::new(&self.card, &self.routers, &self.description).tensors();
        let plan = InstrumentPlan { operator_top_k: Some(top_k), ..InstrumentPlan::only(shown) };
        let (loaded, _) =
            load_with_operator_top_k(engine, &self.original(&again), &plan).map_err(|error| match error {
                EditError::Engine(error) => AnalysisError::Engine(error),
                other => ChangeError::Model { reason: other.to_string() }.into(),
            })?;
        if let Some(oldest) = sessions.insert(top_k, loaded.model) {
            engine.unload(oldest)?;
        }
        Ok(loaded.model)
    }

    /// Unloads everything. Runs of this model, or of a clone of it, fail afterwards.
    pub fn close(&self, engine: &Engine) {
        let changeable = lock(&self.controls.sessions.changeable).take().and_then(Result::ok);
        let by_top_k = lock(&self.controls.sessions.by_top_k).take();
        let handles = changeable.map(|proved| proved.loaded.model).into_iter().chain(by_top_k).chain([self.handle]);
        for handle in handles {
            // An engine that has ended keeps nothing to forget.
            drop(engine.unload(handle));
        }
    }

    fn read_again(&self) -> Result<ReadAgain, String> {
        if self.version.now() != self.version {
            return Err("Its files have changed since it was opened; reload it.".to_owned());
        }
        let file = map_file(&self.path).map_err(|error| error.to_string())?;
        let model = decode_model(&self.path, &file).map_err(|error| error.to_string())?;
        let weights = self.description.external_files.clone();
        let request = LoadRequest { weights, ..LoadRequest::new(&self.path, self.execution.clone()) };
        Ok(ReadAgain { request, file, model })
    }

    fn original<'a>(&'a self, again: &'a ReadAgain) -> Original<'a> {
        let ReadAgain { request, file, model } = again;
        Original { request, model, file, report: &self.routers }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
