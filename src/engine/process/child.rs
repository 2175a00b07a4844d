//! The worker's side: a process that runs one model and can do little else.
//!
//! Order matters here. The library is opened and the environment made while nobody waits yet; then the model's path
//! comes, the process locks itself in, and only after that the first byte of the model is read. Until then there is one
//! thread, so that every later one is born locked in.
//!
//! Two threads take turns at the orders. Whoever has read one carries it out while the other listens for a cancel: handing
//! it to another thread would cost a tenth of a millisecond of every run.

use super::arena::{Arena, Parcel, Reader, Writer};
use super::lock;
use super::sandbox;
use super::wire::{News, Order, receive, send};
use crate::engine::host::{Cancels, Sessions, warm_up};
use crate::engine::protocol::{Request, Response};
use crate::engine::{EditedModel, EngineError, ModelHandle, RunRequest};
use std::ffi::OsString;
use std::io::{self, Stdin, Write};
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
    let mut orders = io::stdin();
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
    speaker.begin();
    speaker.start_beating()?;
    let cancels = Arc::new(Cancels::default());
    let ticket = cancels.ticket();
    let model = Model { sessions: Sessions::new(Arc::clone(&cancels)), handle: None, inputs };
    let duty = Arc::new(Duty { orders: Mutex::new(orders), cancels, model: Mutex::new(model), speaker });
    let other = Arc::clone(&duty);
    std::thread::Builder::new().name("moescope-orders".into()).spawn(move || other.serve())?;
    duty.load(Request::Load(request, backend), ticket);
    duty.serve()
}

/// What the two threads share.
struct Duty {
    /// Held while waiting for an order.
    orders: Mutex<Stdin>,
    cancels: Arc<Cancels>,
    /// Held while carrying one out.
    model: Mutex<Model>,
    speaker: Speaker,
}

struct Model {
    sessions: Sessions,
    /// As soon as it is loaded.
    handle: Option<ModelHandle>,
    inputs: Reader,
}

impl Duty {
    /// Takes turns with the other thread until the program has gone.
    fn serve(&self) -> ! {
        while let Ok(Some((order, ticket))) = self.next() {
            match order {
                Order::Cancel => self.cancels.cancel(),
                Order::Load(..) => self.speaker.say(&News::Failed(EngineError::Gone)),
                Order::Run(parcels) => self.run(parcels, ticket),
            }
        }
        // Ending in order would wait for a model that may never end.
        sandbox::leave()
    }

    /// The next order, and its ticket: a cancel that the other thread reads from here on is meant for it.
    fn next(&self) -> io::Result<Option<(Order, u64)>> {
        let mut orders = lock(&self.orders);
        Ok(receive(&mut *orders)?.map(|order| (order, self.cancels.ticket())))
    }

    fn load(&self, request: Request, ticket: u64) {
        let response = {
            let mut model = lock(&self.model);
            let response = model.sessions.answer(request, ticket);
            if let Response::Loaded(loaded) = &response {
                model.handle = Some(loaded.model);
            }
            response
        };
        self.speaker.answer(response);
    }

    fn run(&self, parcels: Vec<Parcel>, ticket: u64) {
        self.speaker.begin();
        let response = lock(&self.model).run(parcels, ticket);
        self.speaker.answer(response.unwrap_or_else(Response::Failed));
    }
}

impl Model {
    fn run(&mut self, parcels: Vec<Parcel>, ticket: u64) -> Result<Response, EngineError> {
        let model = self.handle.ok_or(EngineError::UnknownModel)?;
        // The program puts no others there before it has the answer to these.
        let inputs = self.inputs.lend(parcels).map_err(|error| EngineError::Run { reason: error.to_string() })?;
        Ok(self.sessions.answer(Request::Run(RunRequest { model, inputs }), ticket))
    }
}

/// What the program hears; shared by the two threads and the heartbeat.
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

    /// An order has arrived: what comes to this process now is the order's fault.
    fn begin(&self) {
        lock(&self.0).outputs.begin();
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
