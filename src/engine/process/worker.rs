//! One worker process, as the program sees it: started, spoken to under a deadline, stopped.

use super::arena::{Arena, Reader, Writer};
use super::child::BEAT;
use super::last_words::LastWords;
use super::lock;
use super::wire::{News, Order, receive, send};
use crate::engine::protocol::Response;
use crate::engine::runtime::Backend;
use crate::engine::{LoadRequest, Tensor};
use bytes::Bytes;
use std::io;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A worker that is silent for so long hangs, even where the deadline is far.
const SILENCE: Duration = Duration::from_secs(15);
/// A cancelled caller is let go after this, whether the worker has answered or not.
const LET_GO: Duration = Duration::from_millis(150);
/// A cancelled worker is ended when it has not answered after this.
const END: Duration = Duration::from_millis(1500);
/// Answers and cancels that may wait to be heard. An honest worker never has more than one answer on its way.
const MAX_PENDING: usize = 16;

/// How a worker is started.
#[derive(Clone, Debug)]
pub(super) struct Start {
    /// The executable that has the subcommand `engine`.
    pub(super) program: PathBuf,
    /// See [`WorkerArgs::library`](super::WorkerArgs::library).
    pub(super) library: PathBuf,
    /// See [`WorkerArgs::memory_bytes`](super::WorkerArgs::memory_bytes).
    pub(super) memory_bytes: Option<u64>,
}

/// A worker process. Dropping it ends the process.
#[derive(Debug)]
pub(super) struct Worker {
    child: Mutex<Child>,
    orders: Mutex<ChildStdin>,
    talk: Mutex<Talk>,
    wake: SyncSender<Event>,
    pulse: Arc<Pulse>,
    last_words: LastWords,
}

/// What the listener knows of the process.
#[derive(Debug)]
struct Pulse {
    alive: AtomicBool,
    /// When it last said anything.
    heard: Mutex<Instant>,
}

/// What one conversation at a time has to itself.
#[derive(Debug)]
struct Talk {
    events: Receiver<Event>,
    inputs: Writer,
    outputs: Reader,
    /// How many orders had begun before the latest.
    num_begun: u32,
    /// Since when the answer to a cancelled order is missing.
    owed_since: Option<Instant>,
}

/// What wakes a conversation.
#[derive(Debug)]
enum Event {
    News(News),
    /// The process closed the channel, or wrote what is no message.
    Closed,
    /// Somebody cancelled.
    Cancel,
}

/// Why a worker gave no answer.
#[derive(Debug)]
pub(super) enum Fault {
    /// The process ended over the order; how.
    Died(String),
    /// It had ended before the order reached it; how. The order is not to blame.
    Lost(String),
    /// The deadline passed; the process was ended.
    Deadline,
    /// Cancelled; the process may still be at it.
    Cancelled,
}

impl Worker {
    /// Starts a process. It warms up by itself.
    ///
    /// # Errors
    /// When the system gives no process, memory or thread.
    pub(super) fn start(start: &Start) -> io::Result<Self> {
        let (inputs, outputs) = (Arena::create()?, Arena::create()?);
        let mut command = Command::new(&start.program);
        command.arg("engine").arg("--inputs").arg(inputs.address()).arg("--outputs").arg(outputs.address());
        command.arg("--ort-library").arg(&start.library);
        if let Some(bytes) = start.memory_bytes {
            command.arg("--memory-bytes").arg(bytes.to_string());
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        hand_over(&mut command, [&inputs, &outputs]);
        let mut child = command.spawn()?;
        let (inputs, outputs) = (Writer::new(inputs)?, Reader::new(outputs)?);
        let (orders, news) = child.stdin.take().zip(child.stdout.take()).ok_or(io::ErrorKind::BrokenPipe)?;
        let last_words = LastWords::listen(child.stderr.take())?;
        let (wake, events) = sync_channel(MAX_PENDING);
        let pulse = Arc::new(Pulse { alive: AtomicBool::new(true), heard: Mutex::new(Instant::now()) });
        let worker = Self {
            child: Mutex::new(child),
            orders: Mutex::new(orders),
            talk: Mutex::new(Talk { events, inputs, outputs, num_begun: 0, owed_since: None }),
            wake: wake.clone(),
            pulse: Arc::clone(&pulse),
            last_words,
        };
        let listen = move || listen(news, &wake, &pulse);
        std::thread::Builder::new().name("moescope-worker".into()).spawn(listen)?;
        Ok(worker)
    }

    /// Whether the process still is there, as far as is known.
    pub(super) fn is_alive(&self) -> bool {
        self.pulse.alive.load(Ordering::Acquire)
    }

    /// Has the worker load a model and waits for its answer, until the deadline.
    pub(super) fn load(&self, request: LoadRequest, backend: Backend, deadline: Duration) -> Result<Response, Fault> {
        let mut talk = lock(&self.talk);
        self.collect_debt(&mut talk)?;
        let edited = request.edited.as_ref().map(|edited| &edited.0);
        if let Some(bytes) = edited {
            let put = talk.inputs.put_bytes(bytes);
            put.map_err(|error| Fault::Lost(format!("no memory for the edited model: {error}")))?;
        }
        let edited_len = edited.map(Bytes::len);
        self.converse(&mut talk, &Order::Load(request, backend, edited_len), deadline)
    }

    /// Runs the model with these inputs, as [`load`](Self::load) does.
    pub(super) fn run(&self, inputs: &[Tensor], deadline: Duration) -> Result<Response, Fault> {
        let mut talk = lock(&self.talk);
        self.collect_debt(&mut talk)?;
        let parcels = talk.inputs.put(inputs).map_err(|error| Fault::Died(format!("no memory for inputs: {error}")))?;
        self.converse(&mut talk, &Order::Run(parcels), deadline)
    }

    /// Tells the conversation in progress to stop waiting.
    pub(super) fn cancel(&self) {
        // A worker that fills the channel with what nobody asked for is not worth waiting for.
        if self.wake.try_send(Event::Cancel).is_err() {
            self.end();
        }
    }

    /// Waits for the answer to a cancelled order, and ends a worker that does not give it in time.
    pub(super) fn settle(&self) {
        // A worker that had to be ended is noticed by the next order.
        drop(self.collect_debt(&mut lock(&self.talk)));
    }

    /// Ends the process at once.
    pub(super) fn end(&self) {
        self.pulse.alive.store(false, Ordering::Release);
        // It fails only for a process that has ended already.
        drop(lock(&self.child).kill());
    }

    fn converse(&self, talk: &mut Talk, order: &Order, deadline: Duration) -> Result<Response, Fault> {
        talk.num_begun = talk.outputs.num_begun();
        if send(&mut *lock(&self.orders), order).is_err() {
            return Err(self.died(talk));
        }
        let begun = Instant::now();
        let mut cancelled: Option<Instant> = None;
        loop {
            let now = Instant::now();
            if now.duration_since(begun) >= deadline {
                self.end();
                return Err(Fault::Deadline);
            }
            if now.duration_since(begun.max(*lock(&self.pulse.heard))) >= SILENCE {
                self.end();
                return Err(Fault::Died(format!("it gave no sign of life for {} s", SILENCE.as_secs())));
            }
            if let Some(since) = cancelled.filter(|since| now.duration_since(*since) >= LET_GO) {
                talk.owed_since = Some(since);
                return Err(Fault::Cancelled);
            }
            let patience = if cancelled.is_some() { LET_GO / 10 } else { BEAT };
            match talk.events.recv_timeout(patience.min(deadline.saturating_sub(now.duration_since(begun)))) {
                Ok(Event::News(news)) => return self.unpack(talk, news),
                Ok(Event::Cancel) if cancelled.is_none() => {
                    cancelled = Some(Instant::now());
                    // If it cannot hear this, the channel closes next.
                    drop(send(&mut *lock(&self.orders), &Order::Cancel));
                }
                Ok(Event::Cancel) | Err(RecvTimeoutError::Timeout) => {}
                Ok(Event::Closed) | Err(RecvTimeoutError::Disconnected) => return Err(self.died(talk)),
            }
        }
    }

    fn unpack(&self, talk: &mut Talk, news: News) -> Result<Response, Fault> {
        match news {
            News::Loaded(loaded) => Ok(Response::Loaded(loaded)),
            News::Ran { mut result, outputs } => {
                let taken = talk.outputs.take(outputs).map_err(|error| error.to_string());
                result.outputs = taken.and_then(check_filled).map_err(|wrong| {
                    self.end();
                    Fault::Died(wrong)
                })?;
                Ok(Response::Ran(result))
            }
            News::Failed(error) => Ok(Response::Failed(error)),
            // The listener keeps it to itself.
            News::Beat => Ok(Response::Done),
        }
    }

    /// Takes the answer to a cancelled order off the channel, and what came without being asked for.
    fn collect_debt(&self, talk: &mut Talk) -> Result<(), Fault> {
        while let Some(since) = talk.owed_since {
            match talk.events.recv_timeout(END.saturating_sub(since.elapsed())) {
                Ok(Event::Cancel) => {}
                Ok(Event::News(_)) => talk.owed_since = None,
                Ok(Event::Closed) | Err(RecvTimeoutError::Disconnected) => return Err(self.lost()),
                Err(RecvTimeoutError::Timeout) => {
                    self.end();
                    return Err(Fault::Lost("it did not stop when it was cancelled".into()));
                }
            }
        }
        while let Ok(event) = talk.events.try_recv() {
            if matches!(event, Event::Closed) {
                return Err(self.lost());
            }
        }
        Ok(())
    }

    /// The fault when the process ended during an order.
    fn died(&self, talk: &Talk) -> Fault {
        let how = self.how_it_ended();
        if talk.outputs.num_begun() != talk.num_begun { Fault::Died(how) } else { Fault::Lost(how) }
    }

    /// The fault when the process ended before an order.
    fn lost(&self) -> Fault {
        Fault::Lost(self.how_it_ended())
    }

    fn how_it_ended(&self) -> String {
        self.end();
        let how = match lock(&self.child).wait() {
            Ok(status) => describe(status),
            Err(error) => error.to_string(),
        };
        self.last_words.append_to(how)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.end();
        drop(lock(&self.child).wait());
    }
}

/// Whoever reads the outputs relies on their shapes, and the worker may say what it likes.
fn check_filled(outputs: Vec<Tensor>) -> Result<Vec<Tensor>, String> {
    match outputs.iter().find(|tensor| !tensor.fills_its_shape()) {
        Some(tensor) => Err(format!("its output {} does not fill its shape", tensor.name)),
        None => Ok(outputs),
    }
}

/// Hands news on until the process closes the channel, or says so much unasked that it cannot be trusted.
fn listen(mut news: ChildStdout, wake: &SyncSender<Event>, pulse: &Pulse) {
    while let Ok(Some(message)) = receive::<News>(&mut news) {
        *lock(&pulse.heard) = Instant::now();
        match message {
            News::Beat => {}
            answer => {
                if wake.try_send(Event::News(answer)).is_err() {
                    break;
                }
            }
        }
    }
    pulse.alive.store(false, Ordering::Release);
    // Nobody may be left to tell.
    drop(wake.send(Event::Closed));
}

/// Leaves the arenas open for the process that is started.
#[cfg(target_os = "linux")]
fn hand_over(command: &mut Command, arenas: [&Arena; 2]) {
    use rustix::io::{FdFlags, fcntl_setfd};
    use std::os::fd::{AsRawFd, BorrowedFd};
    use std::os::unix::process::CommandExt;

    let numbers = arenas.map(|arena| arena.file().as_raw_fd());
    let keep_open = move || {
        for number in numbers {
            // SAFETY: the arenas outlive the call that starts the process, which is where this runs.
            fcntl_setfd(unsafe { BorrowedFd::borrow_raw(number) }, FdFlags::empty())?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec only one system call is made, which is allowed there.
    unsafe { command.pre_exec(keep_open) };
}

/// Elsewhere the arenas have names.
#[cfg(not(target_os = "linux"))]
fn hand_over(command: &mut Command, _: [&Arena; 2]) {
    #[cfg(windows)]
    {
        use std::os::windows::process::CommandExt;
        /// No console window appears beside ours.
        const CREATE_NO_WINDOW: u32 = 0x0800_0000;
        command.creation_flags(CREATE_NO_WINDOW);
    }
    #[cfg(not(windows))]
    let _ = command;
}

/// How a process ended, in words.
fn describe(status: ExitStatus) -> String {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return match signal {
            signals::ILL => "SIGILL, an invalid instruction".into(),
            signals::ABRT => "SIGABRT, it gave up".into(),
            signals::BUS => "SIGBUS, a memory error".into(),
            signals::FPE => "SIGFPE, a wrong calculation".into(),
            signals::KILL => "SIGKILL, perhaps because the machine was out of memory".into(),
            signals::SEGV => "SIGSEGV, a memory error".into(),
            signal => format!("signal {signal}"),
        };
    }
    match status.code() {
        Some(code) => format!("exit code {code}"),
        None => "it ended".into(),
    }
}

/// The numbers that are the same on all systems with signals, but for `BUS`.
#[cfg(unix)]
mod signals {
    pub(super) const ILL: i32 = 4;
    pub(super) const ABRT: i32 = 6;
    pub(super) const BUS: i32 = if cfg!(target_os = "macos") { 10 } else { 7 };
    pub(super) const FPE: i32 = 8;
    pub(super) const KILL: i32 = 9;
    pub(super) const SEGV: i32 = 11;
}
