//! How a command gets something done: it writes a request to the inbox; whoever holds the lock acts on it. If nobody does,
//! the command takes the lock and ticks itself, doing only what was asked. The same code acts in both cases.

use super::commit::{Image, Suspects};
use super::home::Home;
use super::run;
use crate::base::error::{Error, Result};
use crate::base::time::Awake;
use crate::config::Config;
use crate::model::seen::{Ask, Request, Scope};
use crate::state::mail::Taken;
use crate::state::{State, table};
use crate::sys::files::RealFiles;
use crate::sys::lock::{self, TryLock};
use crate::sys::{Files, clock, outside};

/// How often the state is looked at while waiting, seconds.
const LOOK_S: f64 = 0.1;

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The request.
    pub request: Request,
    /// Taken or refused; None when nobody confirmed it in time.
    pub taken: Option<Taken>,
    /// What was said.
    pub said: String,
    /// What came of it in the end, good or bad; None when that was not seen in time.
    pub settled: Option<Result<String, String>>,
}

/// What the caller waits for after the confirmation: given config, state and the request, the words that say what came
/// of it, or None while it is still under way.
pub type Settled<'a> = &'a dyn Fn(&Config, &State, &Request) -> Option<Result<String, String>>;

/// Asks for all of these at once, and waits at most `wait_s` seconds for what comes of them.
pub fn ask(
    home: &Home,
    asks: Vec<Ask>,
    from: &str,
    wait_s: f64,
    settled: Settled<'_>,
) -> Result<Vec<Answer>> {
    let loaded = home.load()?;
    let mut watchdog = run::open(&loaded.config, "ask")?;
    let at = clock::wall();
    let mut answers = Vec::new();
    for (n, ask) in asks.into_iter().enumerate() {
        let id = format!("{}-{}-{n}", at.0, outside::pid());
        let request = Request { id, at, from: from.to_owned(), ask };
        let record = serde_json::to_string(&request).map_err(|error| Error::again(error.to_string()))?;
        watchdog.files.append(table::INBOX, &record).map_err(|error| error.doing("writing the request"))?;
        answers.push(Answer { request, taken: None, said: String::new(), settled: None });
    }
    let deadline = clock::awake().plus_s(wait_s);
    poke(&mut watchdog.files, &loaded.config);
    while clock::awake() < deadline {
        let due_s = match lock::try_lock(&loaded.config.state_dir, "ask")? {
            // Nobody acts: we do, and only what was asked. The lock is let go between ticks, so that a watchdog that
            // starts meanwhile is not turned away for long.
            TryLock::Got(_lock) => watchdog.tick(&loaded.config, Scope::Asked).due_s,
            TryLock::Held(_) => LOOK_S,
        };
        let state = look(&mut watchdog.files, &loaded.config);
        for answer in &mut answers {
            follow(&loaded.config, &state, answer, settled);
        }
        if answers.iter().all(is_over) {
            break;
        }
        nap(due_s, deadline);
    }
    Ok(answers)
}

/// Brings an answer up to date with the state.
fn follow(config: &Config, state: &State, answer: &mut Answer, settled: Settled<'_>) {
    if let Some(handled) = state.mail.handled.iter().find(|handled| handled.id == answer.request.id) {
        answer.taken = Some(handled.taken);
        answer.said.clone_from(&handled.said);
    }
    if answer.taken == Some(Taken::Accepted) && answer.settled.is_none() {
        answer.settled = settled(config, state, &answer.request);
    }
}

fn is_over(answer: &Answer) -> bool {
    answer.taken == Some(Taken::Refused) || answer.settled.is_some()
}

fn nap(due_s: f64, deadline: Awake) {
    let left = deadline.since_s(clock::awake());
    let nap = due_s.min(0.5).min(left).max(0.02);
    outside::nap(nap);
}

/// The state files as they are now, without touching them.
pub fn look(files: &mut RealFiles, config: &Config) -> State {
    let mut image = Image::default();
    let now = clock::Clock::new().now();
    let _ = image.load(files, config, &now, Suspects::Leave);
    image.state()
}

/// Wakes the watchdog: the marker for one that reads it, the signal for one that sleeps.
pub fn poke(files: &mut RealFiles, config: &Config) {
    if let Some(held) = lock::held(&config.state_dir) {
        let _ = files.replace(table::POKE, None, b"", crate::sys::Sync::Cheap);
        lock::wake(&held);
    }
}
