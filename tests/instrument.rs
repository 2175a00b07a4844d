//! What can be changed about every row of models/zoo without exporting it again, and that it is proved; and that another k
//! and a banned expert give what PyTorch gives (models/zoo/changed.py).

#![allow(clippy::unwrap_used, reason = "a test fails by panicking; clippy sees that only inside #[test] functions")]

#[path = "zoo/changed.rs"]
mod golden;
#[path = "zoo/row.rs"]
mod row;

use bytes::Bytes;
use golden::compare;
use moescope::analysis::{EditError, Original, ProvedModel, load_proved};
use moescope::engine::{
    Engine, EngineOptions, Execution, Isolation, LoadRequest, Provider, RunRequest, Tensor, TensorData,
};
use moescope::model::graph::Indexed;
use moescope::model::proto::ModelProto;
use moescope::model::routers::{GatingRule, RouterReport, TensorRef, routers_of};
use moescope::model::{
    Control, ControlInput, InstrumentPlan, Obstacle, Offer, RouterControls, TopKInputs, decode_model,
    default_model_path, map_file,
};
use prost::Message;
use row::{Row, rows};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// A file and what was found in it.
struct Opened {
    request: LoadRequest,
    file: Bytes,
    model: ModelProto,
    report: RouterReport,
}

impl Opened {
    fn new(path: PathBuf) -> Self {
        let file = map_file(&path).unwrap();
        let model = decode_model(&path, &file).unwrap();
        let report = routers_of(&model);
        let execution = Execution { threads: Some(1), ..Execution::on(Provider::Cpu) };
        Self { request: LoadRequest::new(path, execution), file, model, report }
    }

    /// The choices and weights of all routers, and what goes into operators that hide both.
    fn shown(&self) -> Vec<TensorRef> {
        let tensors = self.report.routers.iter().map(|router| &router.tensors);
        let tensors = tensors.flat_map(|tensors| match &tensors.expert_ids {
            Some(_) => [&tensors.expert_ids, &tensors.combine_weights],
            None => [&tensors.gate_logits, &tensors.combine_weights],
        });
        tensors.flatten().cloned().collect()
    }

    fn everything(&self) -> InstrumentPlan {
        InstrumentPlan::everything(self.shown())
    }

    fn proved(&self, engine: &Engine, plan: &InstrumentPlan, inputs: &[Tensor]) -> Result<ProvedModel, EditError> {
        let Self { request, file, model, report } = self;
        let model = &Indexed::new(model);
        let original = Original { request, model, file, report };
        let baseline = original.baseline(engine, inputs.to_vec()).unwrap();
        load_proved(engine, &original, plan, &baseline)
    }
}

fn row_named(name: &str) -> Row {
    rows().into_iter().find(|row| row.name == name).unwrap()
}

/// What became of an offer, in one word.
fn word(offer: &Offer) -> String {
    match offer {
        Ok(_) => "yes".into(),
        Err(Obstacle::Unproved { .. }) => "unproved".into(),
        Err(Obstacle::OwnInput { .. }) => "own".into(),
        Err(other) => format!("{other:?}"),
    }
}

/// `mixtral: yes yes yes`: k, the bias, the ranks.
fn line(engine: &Engine, row: &Row) -> String {
    let opened = Opened::new(row.model_path());
    let words = match opened.proved(engine, &opened.everything(), &row.golden().inputs(0)) {
        Ok(ProvedModel { instrumented, proof, loaded }) => {
            engine.unload(loaded.model).unwrap();
            assert!(proof.unchanged.unwrap() <= proof.bar);
            let words = |controls: &RouterControls| {
                [&controls.top_k, &controls.selection_bias, &controls.rank_weights].map(word).join(" ")
            };
            let each: BTreeSet<String> = instrumented.routers.iter().map(words).collect();
            Vec::from_iter(each).join(", ")
        }
        Err(EditError::Random) => "random".into(),
        Err(other) => panic!("{}: {other}", row.name),
    };
    format!("{}: {words}", row.name)
}

/// Every row gets the controls that tests/zoo/controls.txt says, proved at the original setting and at others.
#[test]
fn every_router_gets_the_controls_that_it_can_have() {
    let expected = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/zoo/controls.txt")).unwrap();
    let expected: BTreeSet<String> = expected.lines().filter(|l| !l.starts_with('#')).map(str::to_owned).collect();
    let found = Mutex::new(BTreeSet::new());
    let rows: Vec<Row> = rows().into_iter().filter(|row| !row.routers().is_empty()).collect();
    std::thread::scope(|scope| {
        for half in 0..2 {
            let (rows, found) = (&rows, &found);
            scope.spawn(move || {
                let engine = Engine::start(EngineOptions::default());
                for row in rows.iter().skip(half).step_by(2) {
                    let line = line(&engine, row);
                    found.lock().unwrap().insert(line);
                }
            });
        }
    });
    let found = found.into_inner().unwrap();
    let wrong: Vec<&String> = found.symmetric_difference(&expected).collect();
    assert!(wrong.is_empty(), "found, or expected by tests/zoo/controls.txt, not both: {wrong:#?}");
}

fn input(control: &ControlInput, data: TensorData, len: usize) -> Tensor {
    Tensor { name: control.name.clone(), shape: vec![len], data }
}

fn with_bias(proved: &ProvedModel, expert: usize, bias_of_expert: f32) -> Vec<Tensor> {
    let biases = proved.instrumented.routers.iter().map(|controls| &controls.selection_bias);
    let biased = |offer: &Offer| {
        let bias = proved.instrumented.input(offer).unwrap();
        let Control::SelectionBias { num_experts } = bias.control else { panic!("{bias:?}") };
        let values = (0..num_experts).map(|other| if other == expert { bias_of_expert } else { 0.0 }).collect();
        input(bias, TensorData::F32(values), num_experts)
    };
    biases.map(biased).collect()
}

fn run(engine: &Engine, proved: &ProvedModel, inputs: Vec<Tensor>) -> Vec<Tensor> {
    engine.run(&RunRequest { model: proved.loaded.model, inputs }).unwrap().outputs
}

/// With a large bias every token has the expert first.
fn force(engine: &Engine, proved: &ProvedModel, inputs: &[Tensor], expert: usize) {
    let mut biases = with_bias(proved, expert, 1e4);
    let bias = biases.swap_remove(0);
    let outputs = run(engine, proved, [inputs.to_vec(), vec![bias]].concat());
    let shown = proved.instrumented.routers[0].expert_ids.as_ref().unwrap();
    let ids = outputs.into_iter().find(|output| output.name == *shown).unwrap();
    let columns = proved.instrumented.routers[0].own_top_k.unwrap();
    let TensorData::I64(ids) = ids.data else { panic!("{shown}") };
    assert!(ids.chunks(columns).all(|ids| ids[0] == expert as i64), "{shown}: {ids:?}");
}

/// In worker processes, as the program runs models.
#[test]
fn another_k_and_a_banned_expert_give_what_pytorch_gives() {
    let isolation = Isolation::Process { program: env!("CARGO_BIN_EXE_moescope").into() };
    let engine = Engine::start(EngineOptions { isolation, ..EngineOptions::default() });
    let (mut by_k, mut by_ranks, mut by_ban) = (BTreeSet::new(), 0, 0);
    for row in rows().iter().filter(|row| row.changed().is_some()) {
        let number = |name: &str| row.changed().unwrap().floats(name).map(|value| *value.first().unwrap() as usize);
        let opened = Opened::new(row.model_path());
        let inputs = row.golden().inputs(0);
        let is_operator = opened.report.routers.iter().all(|router| router.rule == GatingRule::ContribMoe);
        let plan = InstrumentPlan { operator_top_k: number("k").filter(|_| is_operator), ..opened.everything() };
        let proved = opened.proved(&engine, &plan, &inputs).unwrap();
        if is_operator {
            // The session has another k already.
            assert!(compare(row, "top_k", &run(&engine, &proved, inputs.clone())) > 0);
            assert_eq!(proved.with_top_k(1), Err(Obstacle::Operator));
        } else if let Some(k) = number("k") {
            let more = proved.with_top_k(k).unwrap();
            let outputs = run(&engine, &proved, [inputs.clone(), more].concat());
            assert!(compare(row, "top_k", &outputs) > 0, "{}", row.name);
            match &proved.instrumented.routers[0].top_k {
                Ok(_) => by_k.extend(opened.report.routers.iter().map(|router| format!("{:?}", router.rule))),
                Err(_) => by_ranks += 1,
            }
            let range = proved.top_k_range().unwrap().unwrap();
            assert!(range.contains(&k) && proved.with_top_k(*range.end() + 1).is_err(), "{}: {range:?}", row.name);
        }
        if let Some(expert) = number("expert") {
            let outputs = run(&engine, &proved, [inputs, with_bias(&proved, expert, -1e4)].concat());
            assert!(compare(row, "banned", &outputs) > 0, "{}", row.name);
            by_ban += 1;
            if opened.report.routers[0].groups.is_none() {
                force(&engine, &proved, &row.golden().inputs(0), expert);
            }
        }
        engine.unload(proved.loaded.model).unwrap();
    }
    assert!(by_k.len() >= 6, "{by_k:?}");
    assert!(by_ranks >= 4 && by_ban >= 15, "{by_ranks} by ranks, {by_ban} bans");
}

/// Two calls of one function are two routers, and a control of one of them leaves the other alone.
#[test]
fn routers_in_a_function_that_is_called_twice_have_controls_of_their_own() {
    let row = row_named("variant-functions");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    let mut model = Opened::new(row.model_path()).model;
    // Both blocks are alike, and take their weights as arguments.
    let second = model.graph.as_mut().unwrap().node.iter_mut().find(|node| node.op_type == "Block1").unwrap();
    second.op_type = "Block0".into();
    fs::write(&path, model.encode_to_vec()).unwrap();

    let engine = Engine::start(EngineOptions::default());
    let inputs = row.golden().inputs(0);
    let outcomes = [row.model_path(), path].map(|path| {
        let opened = Opened::new(path);
        let plan = InstrumentPlan { top_k: TopKInputs::PerRouter, ..opened.everything() };
        let proved = opened.proved(&engine, &plan, &inputs).unwrap();
        assert_eq!(proved.instrumented.inputs.len(), 6);
        let k = |router: usize| {
            let controls = &proved.instrumented.routers[router];
            let top_k = proved.instrumented.input(&controls.top_k).unwrap();
            assert_eq!(top_k.routers, [router]);
            let inputs = [inputs.clone(), vec![input(top_k, TensorData::I64([1].into()), 1)]].concat();
            run(&engine, &proved, inputs).into_iter().find(|output| output.name == "logits").unwrap().data
        };
        [k(0), k(1)]
    });
    assert_eq!(outcomes[0], outcomes[1]);
    assert_ne!(outcomes[0][0], outcomes[0][1]);
}

/// It has an input for k already, and its routing as outputs.
#[test]
fn the_bundled_model_keeps_its_own_k_and_gets_the_other_controls() {
    let engine = Engine::start(EngineOptions::default());
    let opened = Opened::new(default_model_path().unwrap());
    let side = 224;
    let pixels: Vec<f32> = (0..3 * side * side).map(|i| ((i * 31) % 255) as f32 / 128.0 - 1.0).collect();
    let pixels = Tensor { name: "pixels".into(), shape: vec![1, 3, side, side], data: TensorData::F32(pixels.into()) };
    let proved = opened.proved(&engine, &opened.everything(), &[pixels]).unwrap();
    assert_eq!(proved.proof.unchanged, Ok(0.0));
    assert_eq!(proved.instrumented.routers.len(), 4);
    for controls in &proved.instrumented.routers {
        assert_eq!(controls.top_k, Err(Obstacle::OwnInput { input: "top_k".into() }));
        assert!(controls.selection_bias.is_ok() && controls.rank_weights.is_ok(), "{controls:?}");
    }
}

/// The CPU kernel of ONNX Runtime 1.31.1 gives other values when something reads the operator's input afterwards.
#[test]
fn a_model_that_computes_something_else_when_it_is_looked_at_is_not_edited() {
    let row = row_named("contrib-moe");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    let mut model = Opened::new(row.model_path()).model;
    let graph = model.graph.as_mut().unwrap();
    let moe = graph.node.iter().rposition(|node| node.op_type == "MoE").unwrap();
    let (tokens, result) = (graph.node[moe].input[0].clone(), graph.node[moe].output[0].clone());
    for node in &mut graph.node[moe + 1..] {
        let read = node.input.iter_mut().filter(|input| **input == tokens);
        read.for_each(|input| input.clone_from(&result));
    }
    fs::write(&path, model.encode_to_vec()).unwrap();

    let engine = Engine::start(EngineOptions::default());
    let opened = Opened::new(path);
    let logits = opened.report.routers[0].tensors.gate_logits.clone().unwrap();
    let inputs = row.golden().inputs(0);
    let plan = |name: &str| InstrumentPlan::only(vec![TensorRef { name: name.to_owned(), ..logits.clone() }]);
    assert!(opened.proved(&engine, &plan(&logits.name), &inputs).is_ok());
    let error = opened.proved(&engine, &plan(&tokens), &inputs).unwrap_err();
    assert!(matches!(&error, EditError::Unproved(reason) if reason.contains("differ by")), "{error}");
}
