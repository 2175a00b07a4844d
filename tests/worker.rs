//! Models that do harm, and workers that come to it: the program lives, says what happened, and goes on.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use moescope::engine::{
    Engine, EngineError, EngineOptions, Execution, Isolation, Limits, LoadRequest, ModelHandle, Phase, Provider,
    RunRequest, RunResult, Tensor, TensorData,
};
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

fn engine_with(limits: Limits) -> Engine {
    let isolation = Isolation::Process { program: env!("CARGO_BIN_EXE_moescope").into() };
    Engine::start(EngineOptions { isolation, limits, ..EngineOptions::default() })
}

fn load(engine: &Engine, model: &Path) -> Result<ModelHandle, EngineError> {
    let execution = Execution { threads: Some(1), ..Execution::on(Provider::Cpu) };
    engine.load(&LoadRequest::new(model, execution)).map(|loaded| loaded.model)
}

fn load_counter(engine: &Engine) -> ModelHandle {
    load(engine, &tests().join("fixtures/models/loop.onnx")).unwrap()
}

/// Adds 1 to 0.5 so many times.
fn count(engine: &Engine, counter: ModelHandle, steps: i64) -> Result<RunResult, EngineError> {
    let tensor = |name: &str, shape: &[usize], data| Tensor { name: name.into(), shape: shape.into(), data };
    let inputs = vec![
        tensor("steps", &[], TensorData::I64([steps].into())),
        tensor("start", &[1], TensorData::F32([0.5].into())),
    ];
    engine.run(&RunRequest { model: counter, inputs })
}

fn assert_counts(engine: &Engine, counter: ModelHandle) {
    assert_eq!(count(engine, counter, 3).unwrap().outputs[0].data, TensorData::F32([3.5].into()));
}

/// Ones for every input that needs a value, and 2 for every size that is open.
fn ones(model: &Path) -> Vec<Tensor> {
    let inputs = moescope::model::read_model(model).unwrap().inputs;
    let required = inputs.into_iter().filter(|input| !input.has_default);
    let one = |input: moescope::model::ValueDescription| {
        let shape: Vec<usize> = input.dims.unwrap_or_default().iter().map(|dim| dim.size().unwrap_or(2)).collect();
        let len = shape.iter().product();
        let data = match input.element {
            "int64" => TensorData::I64(vec![1; len].into()),
            _ => TensorData::F32(vec![1.0; len].into()),
        };
        Tensor { name: input.name, shape, data }
    };
    required.map(one).collect()
}

/// These end ONNX Runtime 1.31.1 by a signal, or keep it busy for good.
#[test]
fn hostile_models_end_in_a_message_and_harm_nobody() {
    let deadline = Duration::from_secs(2);
    let engine = engine_with(Limits { load: deadline, run: deadline, ..Limits::default() });
    let counter = load_counter(&engine);
    let mut files: Vec<PathBuf> =
        fs::read_dir(tests().join("hostile_models")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 15, "{files:?}");
    let (mut died, mut late) = (0, 0);
    for file in &files {
        let run = |model| engine.run(&RunRequest { model, inputs: ones(file) });
        match load(&engine, file).and_then(run) {
            Err(EngineError::Died { model, .. }) => {
                assert_eq!(&model, file);
                died += 1;
            }
            Err(EngineError::Deadline { .. }) => late += 1,
            Err(EngineError::Load { .. } | EngineError::Run { .. }) | Ok(_) => {}
            other => panic!("{}: {other:?}", file.display()),
        }
        assert_counts(&engine, counter);
    }
    assert!(died >= 8 && late >= 1, "{died} died, {late} were stopped");
}

/// ONNX Runtime infers a size below zero for its output, over which its Rust bindings panic.
#[test]
fn a_size_below_zero_is_told_and_ends_no_worker() {
    let engine = engine_with(Limits::default());
    let refused = load(&engine, &tests().join("fixtures/size_below_zero.onnx")).unwrap_err();
    assert!(matches!(&refused, EngineError::Load { reason, .. } if reason.contains("impossible size")), "{refused:?}");
}

#[test]
fn a_model_that_ended_its_worker_twice_is_only_opened_again_when_pardoned() {
    let engine = engine_with(Limits::default());
    let model = tests().join("hostile_models/SIGSEGV_7_13412.onnx");
    for _ in 0..2 {
        let error = load(&engine, &model).unwrap_err();
        assert!(matches!(&error, EngineError::Died { how, .. } if how.contains("SIGSEGV")), "{error}");
    }
    let refused = Instant::now();
    assert_eq!(load(&engine, &model), Err(EngineError::Quarantined { model: model.clone(), deaths: 2 }));
    assert!(refused.elapsed() < Duration::from_millis(50), "nothing is started for it");
    engine.pardon(&model);
    assert!(matches!(load(&engine, &model), Err(EngineError::Died { .. })));
}

#[test]
fn a_run_that_never_ends_is_stopped_and_the_model_runs_again() {
    let engine = engine_with(Limits { run: Duration::from_millis(300), ..Limits::default() });
    let counter = load_counter(&engine);
    let error = count(&engine, counter, i64::MAX).unwrap_err();
    assert!(matches!(error, EngineError::Deadline { phase: Phase::Running, secs: 0.3, .. }), "{error}");
    let back = Instant::now();
    assert_counts(&engine, counter);
    assert!(back.elapsed() < Duration::from_secs(3), "{:?}", back.elapsed());
}

/// Its results would pass for the old model's.
#[test]
fn a_model_that_changed_does_not_take_the_place_of_the_one_that_was_opened() {
    let folder = tempfile::tempdir().unwrap();
    let [model, weights] = ["counter.onnx", "counter.bin"].map(|name| folder.path().join(name));
    fs::copy(tests().join("fixtures/models/loop.onnx"), &model).unwrap();
    fs::write(&weights, [0; 4]).unwrap();
    let engine = engine_with(Limits { run: Duration::from_millis(300), ..Limits::default() });
    let end_worker = |counter| drop(count(&engine, counter, i64::MAX).unwrap_err());
    for changed in [&model, &weights] {
        let request =
            LoadRequest { weights: vec![weights.clone()], ..LoadRequest::new(&model, Execution::on(Provider::Cpu)) };
        engine.pardon(&model);
        let counter = engine.load(&request).unwrap().model;
        end_worker(counter);
        assert_counts(&engine, counter);
        engine.pardon(&model);
        let earlier = std::time::SystemTime::now() - Duration::from_secs(60);
        fs::File::options().write(true).open(changed).unwrap().set_modified(earlier).unwrap();
        assert_counts(&engine, counter);
        end_worker(counter);
        assert_eq!(count(&engine, counter, 3).unwrap_err(), EngineError::Changed { model: model.clone() });
    }
}

#[test]
fn no_worker_can_be_started_without_a_program() {
    let isolation = Isolation::Process { program: "no-such-program".into() };
    let engine = Engine::start(EngineOptions { isolation, ..EngineOptions::default() });
    let error = load(&engine, &tests().join("fixtures/models/loop.onnx")).unwrap_err();
    assert!(matches!(&error, EngineError::Worker { reason } if reason.contains("no-such-program")), "{error}");
}

#[test]
fn the_subcommand_is_for_the_program_alone() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_moescope"))
        .args(["engine", "--inputs", "0", "--outputs", "nowhere", "--ort-library", "none"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("for the program itself"));
}

#[cfg(target_os = "linux")]
mod on_linux {
    use super::*;
    use moescope::engine::{Freedom, isolation_of};
    use std::process::Command;

    /// The worker processes of this process that hold the model open or mapped; all tests share one process.
    fn workers_with(model: &str) -> Vec<u32> {
        let started_by = |stat: &str| stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse::<u32>().ok();
        let processes =
            fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
        processes
            .filter(|pid: &u32| {
                let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
                started_by(&stat) == Some(std::process::id())
                    && fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.contains(model))
            })
            .collect()
    }

    #[test]
    fn a_worker_that_is_killed_is_back_within_three_seconds() {
        // The file's name in the command line tells this engine's workers from those of other tests.
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("moescope-to-be-killed");
        fs::hard_link(env!("CARGO_BIN_EXE_moescope"), &program)
            .or_else(|_| fs::copy(env!("CARGO_BIN_EXE_moescope"), &program).map(drop))
            .unwrap();
        let library = moescope::engine::find_library(None).unwrap();
        let isolation = Isolation::Process { program };
        let engine = Engine::start(EngineOptions { isolation, library: Some(library), limits: Limits::default() });
        let counter = load_counter(&engine);
        for while_running in [false, true] {
            assert_counts(&engine, counter);
            let [pid] = workers_with("moescope-to-be-killed")[..] else { panic!("one model, one worker") };
            let kill = || assert!(Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success());
            if while_running {
                let error = thread::scope(|scope| {
                    let running = scope.spawn(|| count(&engine, counter, i64::MAX));
                    thread::sleep(Duration::from_millis(100));
                    kill();
                    running.join().unwrap().unwrap_err()
                });
                assert!(matches!(&error, EngineError::Died { how, .. } if how.contains("SIGKILL")), "{error}");
            } else {
                kill();
            }
            let back = Instant::now();
            assert_counts(&engine, counter);
            assert!(back.elapsed() < Duration::from_secs(3), "{:?}", back.elapsed());
        }
        drop(engine);
        assert_eq!(workers_with("moescope-to-be-killed"), [0; 0], "no worker outlives its engine");
    }

    /// On a kernel with Landlock and seccomp, which every Debian from 12 on has.
    #[test]
    fn a_worker_can_do_nothing_but_run_its_model() {
        let library = moescope::engine::find_library(None).unwrap();
        let found = isolation_of(env!("CARGO_BIN_EXE_moescope").as_ref(), &library).unwrap();
        let expected = Freedom {
            read_its_model: true,
            read_other_files: false,
            write_files: false,
            open_sockets: false,
            start_programs: false,
            signal_others: false,
            exceed_memory: false,
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn a_worker_that_does_not_hear_a_cancel_is_ended() {
        let engine = engine_with(Limits::default());
        let file = tests().join("hostile_models/timeout_7_22623.onnx");
        thread::scope(|scope| {
            let loading = scope.spawn(|| load(&engine, &file));
            thread::sleep(Duration::from_millis(500));
            assert!(!loading.is_finished(), "it loads for longer than a minute");
            let cancelled = Instant::now();
            engine.cancel();
            assert_eq!(loading.join().unwrap(), Err(EngineError::Cancelled));
            assert!(cancelled.elapsed() < Duration::from_millis(400), "{:?}", cancelled.elapsed());
        });
    }
}
