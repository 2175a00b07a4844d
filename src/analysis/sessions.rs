//! The sessions of an open model beside the one that it was opened with.
//!
//! Opening stays as quick as it is, and a run of the model as it is stays exactly that run: what only another k or a change
//! of the routing needs is loaded, and proved, when that is first asked for, or when nothing else is to be done. Where k
//! lies in the graph's nodes each k is another graph; of those a few are kept.

use super::change::ChangeError;
use super::declared::top_k_of_declared;
use super::edited::{EditError, Original, ProvedModel, load_proved, load_with_operator_top_k};
use super::layers::LayerPlan;
use super::opening::read;
use super::recent::Recent;
use super::{AnalysisError, Baseline, OpenModel};
use crate::engine::{Engine, EngineError, LoadRequest, ModelHandle};
use crate::model::graph::Indexed;
use crate::model::proto::ModelProto;
use crate::model::{InstrumentPlan, TopKCard, TopKInputs};
use bytes::Bytes;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Sessions of other k that are kept: each has the model's weights in memory.
const KEPT_TOP_KS: usize = 4;

/// A session whose routing can be changed, or why there is none, in a sentence.
pub(super) type Changeable = Result<Arc<ProvedModel>, String>;

/// What was found out about a model that was opened as it is, by editing it beside that.
#[derive(Clone, Debug)]
struct Beside {
    changeable: Changeable,
    /// The k that it can be given, or why there is none, in a sentence.
    top_k: Result<TopKCard, String>,
}

/// What was loaded so far.
#[derive(Debug)]
pub(super) struct Sessions {
    beside: Mutex<Option<Beside>>,
    by_top_k: Mutex<Recent<usize, ModelHandle>>,
}

impl Default for Sessions {
    fn default() -> Self {
        Self { beside: Mutex::default(), by_top_k: Mutex::new(Recent::new(KEPT_TOP_KS)) }
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
        self.beside(engine).map(|beside| beside.changeable)
    }

    /// The same model, of which it is known what can be changed about its routing. Of one that was opened as it is, that is
    /// found out now, once: it is loaded edited beside the session that it runs with, and proved. Where its card has no k
    /// to set and the graph's can be changed, it has one afterwards.
    ///
    /// # Errors
    /// [`EngineError`] when the engine cannot run anything, or this was cancelled; it can be tried again then.
    pub fn with_controls(&self, engine: &Engine) -> Result<Self, EngineError> {
        let mut model = self.clone();
        if !self.are_controls_known() {
            let Beside { changeable, top_k } = self.beside(engine)?;
            model.controls.know(changeable);
            if model.card.top_k.is_none() {
                model.controls.top_k_obstacle = top_k.as_ref().err().cloned();
                model.card.top_k = top_k.ok();
            }
        }
        Ok(model)
    }

    /// Makes it ready to be asked for this k: it finds out its controls where its card has no k to set.
    ///
    /// # Errors
    /// Those of [`with_controls`](Self::with_controls).
    pub fn prepare_for(&mut self, engine: &Engine, top_k: Option<usize>) -> Result<(), EngineError> {
        if top_k.is_some() && self.misses_top_k() {
            *self = self.with_controls(engine)?;
        }
        Ok(())
    }

    /// The same model, nothing of whose routing can be changed, for this reason.
    pub(super) fn without_controls(&self, reason: &str) -> Self {
        let mut model = self.clone();
        model.controls.know(Err(reason.to_owned()));
        model.controls.top_k_obstacle = Some(reason.to_owned());
        model
    }

    /// Whether it is known what can be changed about its routing.
    #[must_use]
    pub fn are_controls_known(&self) -> bool {
        self.controls.changeable().is_some()
    }

    /// Whether its card has no k to set, and the graph may have one that can be changed.
    #[must_use]
    pub fn misses_top_k(&self) -> bool {
        self.card.top_k.is_none() && !self.are_controls_known() && !self.routers.routers.is_empty()
    }

    fn beside(&self, engine: &Engine) -> Result<Beside, EngineError> {
        let mut slot = lock(&self.controls.sessions.beside);
        if let Some(known) = &*slot {
            return Ok(known.clone());
        }
        let beside = match self.load_beside(engine) {
            Ok(beside) => beside,
            Err(EditError::Engine(error)) if !matches!(error, EngineError::Run { .. }) => return Err(error),
            Err(error) => Beside { changeable: Err(error.to_string()), top_k: Err(error.to_string()) },
        };
        Ok(slot.insert(beside).clone())
    }

    fn load_beside(&self, engine: &Engine) -> Result<Beside, EditError> {
        let again = self.read_again().map_err(EditError::Unproved)?;
        let model = Indexed::new(&again.model);
        let baseline = Baseline::of(engine, self.handle, self.probe())?.with_routing(self.declared_outputs());
        let wanted = if self.card.top_k.is_none() { TopKInputs::Shared } else { TopKInputs::None };
        let plan = InstrumentPlan { top_k: wanted, ..InstrumentPlan::everything(Vec::new()) };
        let proved = load_proved(engine, &self.original(&again, &model), &plan, &baseline)?;
        let top_k = top_k_of_declared(engine, self, &proved, &baseline);
        if top_k.is_err() {
            engine.unload(proved.loaded.model)?;
        }
        Ok(Beside { top_k: top_k?, changeable: Ok(Arc::new(proved)) })
    }

    /// The outputs that its card declares to be routing.
    fn declared_outputs(&self) -> Vec<String> {
        let cards = self.layers.iter().map(|layer| &layer.card);
        let outputs = cards.flat_map(|card| [&card.gate_probs, &card.expert_ids, &card.combine_weights]);
        outputs.cloned().collect()
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
        let model = Indexed::new(&again.model);
        let loaded = load_with_operator_top_k(engine, &self.original(&again, &model), &plan);
        let (loaded, _) = loaded.map_err(|error| match error {
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
        let beside = lock(&self.controls.sessions.beside).take();
        let changeable = beside.and_then(|beside| beside.changeable.ok());
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
        let (file, model) = read(&self.path).map_err(|error| error.to_string())?;
        let weights = self.description.external_files.clone();
        let request = LoadRequest { weights, ..LoadRequest::new(&self.path, self.execution.clone()) };
        Ok(ReadAgain { request, file, model })
    }

    fn original<'a>(&'a self, again: &'a ReadAgain, model: &'a Indexed<'a>) -> Original<'a> {
        let ReadAgain { request, file, .. } = again;
        Original { request, model, file, report: &self.routers }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
