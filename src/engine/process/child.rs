//! The worker's side: a process that runs one model and can do little else.
//!
//! Order matters here. The library is opened and the environment made while nobody waits yet; then the model's path
//! comes, the process locks itself in, and only after that the first byte of the model is read. Until then there is one
//! thread, so that every later one is born locked in.

use super::arena::{Arena, Reader, Writer};
use super::lock;
use super::sandbox;
use super::wire::{News, Order, receive, send};
use crate::engine::host::{Host, warm_up};
use crate::engine::protocol::{Request, Response};
use crate::engine::runtime::Backend;
use crate::engine::{EditedModel, EngineError, LoadRequest, ModelHandle, RunRequest, Tensor};
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How often a worker says that it lives.
pub(super) const BEAT: Duration = Duration::from_millis(500);

/// What a worker is started with.
#[derive(Clone, Debug)]
pub struct WorkerArgs {
    /// ONNX Runtime's library.
    pub library: PathBuf,
    /// Bytes of memory that the process may have of its own.
    pub memory_bytes: Option<u64>,
    /// Where the program puts a run's inputs.
    pub inputs: OsString,
    /// Where the program looks for a run's outputs.
    pub outputs: OsString,
}

/// Serves one program until that closes the channel; the body of the hidden subcommand `engine`.
///
/// # Errors
/// When this process was not started by [`Engine`](crate::engine::Engine).
pub fn serve_worker(args: &WorkerArgs) -> io::Result<()> {
    let mut orders = io::stdin().lock();
    // Native code may write to the standard output, so the channel leaves it before any is loaded.
    let channel = private_stdout()?;
    let outputs = Writer::new(Arena::open(&args.outputs)?)?;
    let mut inputs = Reader::new(Arena::open(&args.inputs)?)?;
    sandbox::limit_memory(args.memory_bytes)?;
    warm_up(Some(&args.library));
    let Some(Order::Load(mut request, backend, edited)) = receive(&mut orders)? else { return Ok(()) };
    sandbox::lock_in(&request, &backend);
    let edited = edited.map(|len| inputs.take_bytes(len)).transpose()?;
    request.edited = edited.map(|bytes| EditedModel(bytes.into()));
    let speaker = Speaker(Arc::new(Mutex::new(Voice { channel, outputs })));
    speaker.say(&News::Begun);
    let host = Host::start(Some(args.library.clone()));
    speaker.start_beating()?;
    let loaded = load(&host, &speaker, request, backend);
    while let Some(order) = receive(&mut orders)? {
        match order {
            Order::Load(..) => speaker.say(&News::Failed(EngineError::Gone)),
            Order::Run(parcels) => {
                speaker.say(&News::Begun);
                // The program puts no others there before it has the answer to these.
                let inputs = inputs.lend(parcels)?;
                run(&host, &speaker, &loaded, inputs);
            }
            Order::Cancel => host.cancel(),
        }
    }
    // The program has gone. Ending in order would wait for a model that may never end.
    sandbox::leave()
}

/// The handle of the model, as soon as it is loaded.
type LoadedModel = Arc<Mutex<Option<ModelHandle>>>;

fn load(host: &Host, speaker: &Speaker, request: LoadRequest, backend: Backend) -> LoadedModel {
    let model = LoadedModel::default();
    let (speaker, slot) = (speaker.clone(), Arc::clone(&model));
    host.submit(Request::Load(request, backend), host.ticket(), move |response| {
        if let Response::Loaded(loaded) = &response {
            *lock(&slot) = Some(loaded.model);
        }
        speaker.answer(response);
    });
    model
}

fn run(host: &Host, speaker: &Speaker, model: &LoadedModel, inputs: Vec<Tensor>) {
    let speaker = speaker.clone();
    let Some(model) = *lock(model) else { return speaker.say(&News::Failed(EngineError::UnknownModel)) };
    let request = Request::Run(RunRequest { model, inputs });
    host.submit(request, host.ticket(), move |response| speaker.answer(response));
}

/// What the program hears; shared by the engine's thread and the heartbeat.
#[derive(Clone)]
struct Speaker(Arc<Mutex<Voice>>);

struct Voice {
    channel: Box<dyn Write + Send>,
    outputs: Writer,
}

impl Speaker {
    fn start_beating(&self) -> io::Result<()> {
        let speaker = self.clone();
        let beat = move || {
            loop {
                std::thread::sleep(BEAT);
                speaker.say(&News::Beat);
                sandbox::check_memory();
            }
        };
        std::thread::Builder::new().name("moescope-heartbeat".into()).spawn(beat).map(drop)
    }

    fn answer(&self, response: Response) {
        let news = match response {
            Response::Loaded(loaded) => News::Loaded(loaded),
            Response::Ran(mut result) => {
                let outputs = std::mem::take(&mut result.outputs);
                match lock(&self.0).outputs.put(&outputs) {
                    Ok(outputs) => News::Ran { result, outputs },
                    Err(error) => {
                        News::Failed(EngineError::Run { reason: format!("no memory for its outputs: {error}") })
                    }
                }
            }
            Response::Done => return,
            Response::Failed(error) => News::Failed(error),
        };
        self.say(&news);
    }

    fn say(&self, news: &News) {
        if send(&mut lock(&self.0).channel, news).is_err() {
            // Nobody listens any more.
            sandbox::leave();
        }
    }
}

/// Takes the standard output for ourselves; what native code writes there goes to the standard error.
#[cfg(unix)]
fn private_stdout() -> io::Result<Box<dyn Write + Send>> {
    use std::os::fd::AsFd;
    let channel = io::stdout().as_fd().try_clone_to_owned()?;
    rustix::stdio::dup2_stdout(io::stderr().as_fd())?;
    Ok(Box::new(std::fs::File::from(channel)))
}

/// Takes the standard output for ourselves. Native code that knows its number could still write there; the program then
/// hears what is no message and ends this process.
#[cfg(windows)]
fn private_stdout() -> io::Result<Box<dyn Write + Send>> {
    use std::os::windows::io::AsHandle;
    let channel = io::stdout().as_handle().try_clone_to_owned()?;
    Ok(Box::new(std::fs::File::from(channel)))
}
