//! What a fleet lives through. Each scene is played by all CLIs at once and ends with every CLI at its prompt.

use super::fleet::{CALM, Fleet, Knobs, kickoff};
use super::judge::{self, Wanted};
use super::texts;
use std::time::{Duration, Instant};
use watchkeeper::base::time::Wall;
use watchkeeper::policy::attend::CONTINUE_TEXT;

type Played = Result<String, String>;

pub struct Scene {
    pub name: &'static str,
    pub knobs: Knobs,
    pub watchdog: Watchdog,
    pub play: fn(&Fleet, &str) -> Played,
}

/// What becomes of the watchdog meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watchdog {
    Runs,
    /// Killed with -9 every few seconds, and started again.
    Killed,
}

const fn scene(name: &'static str, knobs: Knobs, play: fn(&Fleet, &str) -> Played) -> Scene {
    Scene { name, knobs, watchdog: Watchdog::Runs, play }
}

const APPROVE: Knobs = Knobs { permission: "approve", ..CALM };
const LOOP: Knobs = Knobs { kind: "loop", ..CALM };
const HASTY: Knobs = Knobs { stall_idle: 12, ..CALM };

pub const ALL: &[Scene] = &[
    scene("start", CALM, start),
    scene("idle", CALM, idle),
    scene("busy", CALM, busy),
    scene("draft", CALM, draft),
    scene("dialog", CALM, dialog),
    scene("approve", APPROVE, approve),
    scene("error", CALM, error),
    scene("limit", CALM, limit),
    scene("kill", CALM, kill_resumes),
    scene("killloop", LOOP, kill_kicks_off),
    scene("hang", HASTY, hang),
    scene("context", CALM, context),
    Scene { watchdog: Watchdog::Killed, ..scene("crash", CALM, crash) },
    scene("judged", CALM, judged),
];

/// Start-up dialogs are answered, the kickoff is typed once.
fn start(fleet: &Fleet, cli: &str) -> Played {
    let began = Instant::now();
    let ready =
        || (fleet.believed(cli) == "idle" && fleet.unit(cli)["launch"]["kickoff"] == "done").then_some(());
    fleet.wait(cli, "its first idle after the kickoff", 180, ready)?;
    let took = began.elapsed().as_secs_f64();
    let answered = acts(fleet, cli, "answer dialog");
    came_once(fleet, cli, &kickoff(cli))?;
    if fleet.unit(cli)["launch"]["count"] != 1 {
        return Err(format!("started {} times", fleet.unit(cli)["launch"]["count"]));
    }
    Ok(format!("ready and kicked off in {took:.0} s, {answered} dialogs answered, kickoff once"))
}

fn came_once(fleet: &Fleet, cli: &str, text: &str) -> Result<(), String> {
    fleet.wait(cli, "the text at the model", 60, || {
        (judge::times(&fleet.asked(cli), text) > 0).then_some(())
    })?;
    std::thread::sleep(Duration::from_secs(1));
    match judge::times(&fleet.asked(cli), text) {
        1 => Ok(()),
        n => Err(format!("the model was given {text:?} {n} times")),
    }
}

/// How many actions of that label there were.
fn acts(fleet: &Fleet, cli: &str, label: &str) -> usize {
    let events = fleet.events(cli);
    events
        .iter()
        .filter(|e| e["kind"] == "act" && e["text"].as_str().is_some_and(|t| t.contains(label)))
        .count()
}

fn idle(fleet: &Fleet, cli: &str) -> Played {
    fleet.wait_state(cli, "idle", 60)?;
    deliver_all(fleet, cli, "idle", |_| Ok(()))
}

fn busy(fleet: &Fleet, cli: &str) -> Played {
    let turn = std::sync::atomic::AtomicUsize::new(0);
    let said = deliver_all(fleet, cli, "busy", |_| {
        if fleet.believed(cli) == "busy" {
            return Ok(());
        }
        let n = turn.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        // aider is not typed to while it works: each text waits for the end of its turn.
        let length = if cli == "aider" { 4 } else { 25 };
        fleet.deliver(cli, &format!("SLOW {length}\nturn {n} of {cli}"), 120)?;
        fleet.wait_state(cli, "busy", 30)
    });
    let rested = fleet.wait_state(cli, "idle", 300);
    let said = said?;
    rested?;
    Ok(format!("{said}, {} long turns", turn.into_inner()))
}

fn deliver_all(fleet: &Fleet, cli: &str, name: &str, before: impl Fn(usize) -> Result<(), String>) -> Played {
    let presses = acts(fleet, cli, "submit text");
    let mut wanted: Vec<Wanted> = Vec::new();
    let mut times = Vec::new();
    let mut failed = Vec::new();
    for n in 0..fleet.count {
        before(n)?;
        let text = texts::text(name, n);
        match fleet.deliver(cli, &text, 240) {
            Ok(took) => times.push(took),
            Err(why) if why.starts_with("waited") => return Err(format!("text {n}: {why}")),
            Err(why) => failed.push(format!("text {n}: {why}")),
        }
        wanted.push(Wanted { mark: texts::mark(name, n), text: texts::expected(&text) });
    }
    // A queue of texts is read at the end of a turn.
    let all_there = || {
        let asked = fleet.asked(cli);
        wanted.iter().all(|wanted| judge::times(&asked, &wanted.text) > 0).then_some(())
    };
    let _ = fleet.wait(cli, "all texts at the model", 90, all_there);
    fleet.remember(cli, &wanted);
    let presses = acts(fleet, cli, "submit text") - presses;
    times.sort_by(f64::total_cmp);
    let median = times.get(times.len() / 2).copied().unwrap_or(0.0);
    let max = times.last().copied().unwrap_or(0.0);
    let took = format!("median {median:.1} s, max {max:.1} s, {presses} presses for {} texts", wanted.len());
    match (judge::exactly_once(&fleet.asked(cli), &wanted), failed.is_empty()) {
        (Ok(said), true) => Ok(format!("{said}; {took}")),
        (Ok(said) | Err(said), _) => Err(format!("{said}; {took}; not delivered: {failed:?}")),
    }
}

/// A person's half-written text: never submitted, never cleared, told once; what was to be typed waits.
fn draft(fleet: &Fleet, cli: &str) -> Played {
    fleet.wait_state(cli, "idle", 60)?;
    let text = format!("half a thought of a person at {cli}");
    fleet.tmux(&["send-keys", "-t", &fleet.pane(cli), "-l", &text]);
    fleet.wait_state(cli, "draft", 20)?;
    let told = || fleet.alerts(cli).iter().filter(|alert| alert.contains(&text)).count();
    fleet.wait(cli, "the alert about the draft", 20, || (told() == 1).then_some(()))?;
    let mine = format!("[draft {cli}] after the person's text");
    let id = fleet.nudge(cli, &mine);
    fleet.never("the person's draft was touched", 20, || {
        !dense(&fleet.screen(cli)).contains(&dense(&text))
            || judge::times(&fleet.asked(cli), &text) > 0
            || judge::times(&fleet.asked(cli), &mine) > 0
            || told() != 1
    })?;
    // The person thinks better of it.
    fleet.tmux(&["send-keys", "-t", &fleet.pane(cli), "C-u"]);
    fleet.wait(cli, "the held text", 60, || fleet.delivered(cli, &id))??;
    came_once(fleet, cli, &mine)?;
    if judge::times(&fleet.asked(cli), &text) > 0 {
        return Err("the person's draft was submitted".into());
    }
    fleet.wait_state(cli, "idle", 60)?;
    Ok("kept, told once, the waiting text typed afterwards".into())
}

fn dense(text: &str) -> String {
    text.split_whitespace().collect()
}

/// Makes the CLI ask for permission to run a command that leaves a file.
fn ask_permission(fleet: &Fleet, cli: &str, name: &str) -> Result<std::path::PathBuf, String> {
    fleet.wait_state(cli, "idle", 120)?;
    let file = fleet.work(cli).join(name);
    fleet.deliver(cli, &format!("TOOL touch {}", file.display()), 60)?;
    Ok(file)
}

/// A permission dialog: told once, texts wait, nobody approves.
fn dialog(fleet: &Fleet, cli: &str) -> Played {
    let told = || fleet.alerts(cli).iter().filter(|alert| alert.contains(" asks: ")).count();
    let before = told();
    let file = ask_permission(fleet, cli, "by-a-person")?;
    fleet.wait_state(cli, "blocked", 60)?;
    fleet.wait(cli, "the alert about the dialog", 20, || (told() > before).then_some(()))?;
    let mine = format!("[dialog {cli}] typed while a dialog was open");
    let id = fleet.nudge(cli, &mine);
    fleet
        .never("the dialog was answered, told twice or typed into", 15, || {
            file.exists()
                || told() != before + 1
                || fleet.believed(cli) != "blocked"
                || fleet.delivered(cli, &id).is_some()
        })
        .map_err(|why| {
            format!(
                "{why}: file {}, told {} times, state {}, delivered {:?}",
                file.exists(),
                told() - before,
                fleet.believed(cli),
                fleet.delivered(cli, &id)
            )
        })?;
    // A person says no.
    let keys: &[&str] = if cli == "aider" { &["n", "Enter"] } else { &["Escape"] };
    fleet.tmux(&[&["send-keys", "-t", &fleet.pane(cli)], keys].concat());
    fleet.wait(cli, "the held text", 60, || fleet.delivered(cli, &id))??;
    fleet.wait_state(cli, "idle", 60)?;
    // opencode keeps a text that comes while a turn is being called off, and gives it to the model with the next one.
    fleet.deliver(cli, &format!("[dialog {cli}] and one more"), 60)?;
    came_once(fleet, cli, &mine)?;
    fleet.wait_state(cli, "idle", 60)?;
    if file.exists() {
        return Err("the command ran".into());
    }
    Ok("held, told once, not approved; the waiting text typed afterwards".into())
}

/// The same with `permission = "approve"`.
fn approve(fleet: &Fleet, cli: &str) -> Played {
    let file = ask_permission(fleet, cli, "approved")?;
    fleet.wait(cli, "the approved command", 60, || file.exists().then_some(()))?;
    // aider asks whether to add the output to the chat too.
    fleet.wait_state(cli, "idle", 60)?;
    Ok(format!("{} dialogs approved", acts(fleet, cli, "approve dialog")))
}

/// Errors that pass by themselves, and one that ends the turn: "continue" is typed.
fn error(fleet: &Fleet, cli: &str) -> Played {
    fleet.wait_state(cli, "idle", 60)?;
    let continues = || acts(fleet, cli, "type (continue)") + acts(fleet, cli, "continue");
    fleet.deliver(cli, &format!("FAIL 500 3\nthree times for {cli}"), 60)?;
    let over = format!("three times for {cli}");
    // Retried by the CLI until it works, or it gives up and is told to go on.
    fleet.wait(cli, "the end of three failures", 240, || {
        let asked = fleet.asked(cli);
        let tries = asked.iter().filter(|request| request.last().contains(&over)).count();
        let went_on = asked.last().is_some_and(|request| !request.last().contains(&over));
        ((tries >= 4 || went_on) && fleet.believed(cli) == "idle").then_some(())
    })?;
    let first = continues();
    let told = || {
        let asked = fleet.asked(cli);
        asked.iter().filter(|request| request.last().contains(CONTINUE_TEXT)).count()
    };
    let before = told();
    fleet.deliver(cli, &format!("FAIL 400\nfatal for {cli}"), 60)?;
    // opencode tries again for a while.
    fleet.wait(cli, "the error", 150, || (fleet.believed(cli) == "error").then_some(()))?;
    let began = Instant::now();
    fleet.wait(cli, "continue after the error", 150, || {
        (told() > before && fleet.believed(cli) == "idle").then_some(())
    })?;
    let took = began.elapsed().as_secs_f64();
    Ok(format!("server errors survived ({first} continues); went on {took:.0} s after a fatal one"))
}

/// A usage limit: recognised with its reset time, the menu closed, nothing typed meanwhile, one probe, resumed.
fn limit(fleet: &Fleet, cli: &str) -> Played {
    fleet.wait_state(cli, "idle", 60)?;
    fleet.deliver(cli, "LIMIT", 60)?;
    if matches!(cli, "opencode" | "aider" | "qwen") {
        return limit_retried(fleet, cli);
    }
    // gemini's menu is closed within a second, and then nothing shows the limit any more.
    let active = || fleet.unit(cli)["limit"]["active"].clone();
    fleet.wait(cli, "the limit", 90, || (!active().is_null()).then_some(()))?;
    let mine = format!("[limit {cli}] asked for while limited");
    let id = fleet.nudge(cli, &mine);
    std::thread::sleep(Duration::from_secs(6));
    let menu = acts(fleet, cli, "close limit menu");
    let seen = active();
    let readable = seen["readable"] == true;
    let now = watchkeeper::sys::clock::wall();
    let until = seen["until"].as_str().and_then(Wall::parse).ok_or("no until")?;
    let minutes = until.since_s(now) / 60.0;
    if readable && !(170.0..=182.0).contains(&minutes) {
        return Err(format!("resets in 3 h, read as in {minutes:.0} min: {}", seen["text"]));
    }
    let probes = || judge::times(&fleet.asked(cli), watchkeeper::policy::limit::PROBE_TEXT);
    let before = probes();
    fleet.never("it was typed to although limited", if readable { 10 } else { 1 }, || {
        probes() > before || fleet.delivered(cli, &id).is_some()
    })?;
    // An operator knows better: the reset is near.
    if readable {
        fleet.edit(cli, |unit| unit["limit"]["active"]["until"] = now.plus_s(12.0).to_string().into());
    }
    fleet.wait(cli, "the end of the limit", 120, || active().is_null().then_some(()))?;
    fleet.wait(cli, "the held text", 60, || fleet.delivered(cli, &id))??;
    came_once(fleet, cli, &mine)?;
    fleet.wait_state(cli, "idle", 60)?;
    let probed = probes() - before;
    let kind = seen["kind"].as_str().unwrap_or("").to_owned();
    let time =
        if readable { format!("reset in {minutes:.0} min read") } else { "no reset time shown".into() };
    if probed != 1 {
        return Err(format!("{probed} probes; {time}, kind {kind}"));
    }
    Ok(format!("{time}, kind {kind}, {menu} menu closed, one probe, resumed"))
}

/// A CLI that shows no limit but tries again and again: it must be busy (retrying) or in error, never idle.
fn limit_retried(fleet: &Fleet, cli: &str) -> Played {
    let mut seen = std::collections::BTreeSet::new();
    let deadline = Instant::now() + Duration::from_secs(30);
    std::thread::sleep(Duration::from_secs(3));
    while Instant::now() < deadline {
        let unit = fleet.unit(cli);
        seen.insert(format!("{}/{}", unit["seen"]["state"], unit["seen"]["substate"]).replace('"', ""));
        std::thread::sleep(Duration::from_millis(500));
    }
    // A person interrupts it. A second C-c would end aider.
    let pane = fleet.pane(cli);
    let (key, most) = if cli == "aider" { ("C-c", 1) } else { ("Escape", 2) };
    for _ in 0..most {
        if fleet.believed(cli) == "busy" {
            fleet.tmux(&["send-keys", "-t", &pane, key]);
            std::thread::sleep(Duration::from_millis(1500));
        }
    }
    fleet.deliver(cli, &format!("[limit {cli}] after the interruption"), 90)?;
    fleet.wait_state(cli, "idle", 60)?;
    if seen.iter().any(|state| state.starts_with("idle")) {
        return Err(format!("idle while it retries: {seen:?}"));
    }
    Ok(format!("shows no limit, seen as {seen:?}"))
}

/// `kill -9`, twice: the first comes back at once, the second after the backoff; the conversation is resumed.
fn kill_resumes(fleet: &Fleet, cli: &str) -> Played {
    // Turns that it began: aider writes a resumed conversation anew.
    let kickoffs =
        || fleet.asked(cli).iter().filter(|request| request.last().contains(&kickoff(cli))).count();
    let before = kickoffs();
    let mut took = Vec::new();
    for n in 0..2 {
        took.push(killed(fleet, cli)?);
        let text = format!("[kill {cli} {n}] are you there");
        fleet.deliver(cli, &text, 60)?;
        came_once(fleet, cli, &text)?;
        fleet.wait_state(cli, "idle", 60)?;
    }
    let asked = fleet.asked(cli);
    let remembers = asked.last().is_some_and(|request| request.users.len() > 1);
    if kickoffs() != before {
        return Err("the kickoff was typed again".into());
    }
    if !remembers {
        return Err(format!("healed in {took:.1?} s, but the conversation was not resumed"));
    }
    Ok(format!("healed in {took:.1?} s (idle again), conversation resumed"))
}

/// The same in a loop agent: it gets its kickoff again, once.
fn kill_kicks_off(fleet: &Fleet, cli: &str) -> Played {
    let text = kickoff(cli);
    let begun = || fleet.asked(cli).iter().filter(|request| request.last().contains(&text)).count();
    let before = begun();
    let took = killed(fleet, cli)?;
    fleet.wait(cli, "the kickoff", 60, || (begun() > before).then_some(()))?;
    fleet.wait_state(cli, "idle", 60)?;
    let after = begun() - before;
    if after != 1 {
        Err(format!("{after} kickoffs"))
    } else {
        Ok(format!("healed in {took:.1} s, kicked off once"))
    }
}

/// Kills the CLI and its children; seconds until another process is at its prompt.
fn killed(fleet: &Fleet, cli: &str) -> Result<f64, String> {
    fleet.wait_state(cli, "idle", 60)?;
    let pid = fleet.pid(cli).ok_or("no process")?;
    let began = Instant::now();
    let _ = std::process::Command::new("kill").args(["-9", &pid.to_string()]).status();
    fleet.wait(cli, "another process at its prompt", 180, || {
        let other = fleet.pid(cli).is_some_and(|new| new != pid);
        (other && ["idle", "busy"].contains(&fleet.believed(cli).as_str())).then_some(())
    })?;
    Ok(began.elapsed().as_secs_f64())
}

/// Busy without any progress: nudged or killed, and well again afterwards.
fn hang(fleet: &Fleet, cli: &str) -> Played {
    fleet.wait_state(cli, "idle", 120)?;
    fleet.deliver(cli, &format!("HANG 900\nfor {cli}"), 60)?;
    let pid = fleet.pid(cli);
    let began = Instant::now();
    let approved = std::cell::Cell::new(false);
    fleet.wait(cli, "another process", 240, || {
        // A machine without CPU to spare proves nothing about anybody: a person says that it is hung.
        let held = fleet.unit(cli)["hold"]["why"].as_str().is_some_and(|why| why.contains("starved"));
        if held && !approved.replace(true) {
            fleet.approve(cli);
        }
        (fleet.pid(cli).is_some() && fleet.pid(cli) != pid).then_some(())
    })?;
    let ended = began.elapsed().as_secs_f64();
    fleet.wait_state(cli, "idle", 120)?;
    let text = format!("[hang {cli}] after the hang");
    fleet.deliver(cli, &text, 60)?;
    came_once(fleet, cli, &text)?;
    fleet.wait_state(cli, "idle", 60)?;
    let by = if approved.get() { "; the machine was starved, a person approved" } else { "" };
    Ok(format!("ended after {ended:.0} s (stall at 48 s), well again{by}"))
}

/// A conversation that is too long: started afresh.
fn context(fleet: &Fleet, cli: &str) -> Played {
    fleet.wait_state(cli, "idle", 120)?;
    fleet.deliver(cli, "CTX", 60)?;
    let pid = fleet.pid(cli);
    let began = Instant::now();
    if cli == "aider" {
        // It offers a web page first; a person says no.
        fleet.wait_state(cli, "blocked", 60)?;
        fleet.tmux(&["send-keys", "-t", &fleet.pane(cli), "n", "Enter"]);
    }
    // opencode compacts the conversation and goes on by itself.
    let by_itself = fleet.wait(cli, "a fresh start", 240, || {
        let went_on = fleet.believed(cli) == "idle" && began.elapsed() > Duration::from_secs(90);
        (went_on || (fleet.pid(cli).is_some() && fleet.pid(cli) != pid)).then_some(went_on)
    })?;
    let took = began.elapsed().as_secs_f64();
    fleet.wait_state(cli, "idle", 120)?;
    if by_itself {
        fleet.deliver(cli, &format!("[context {cli}] after the overflow"), 60)?;
        came_once(fleet, cli, &format!("[context {cli}] after the overflow"))?;
        return Ok("went on by itself".into());
    }
    let text = format!("[context {cli}] after the overflow");
    fleet.deliver(cli, &text, 60)?;
    came_once(fleet, cli, &text)?;
    let fresh =
        !fleet.asked(cli).last().is_some_and(|request| request.users.iter().any(|user| user.trim() == "CTX"));
    if fresh {
        Ok(format!("started afresh after {took:.0} s"))
    } else {
        Err("the full conversation was resumed".into())
    }
}

/// The watchdog dies in the middle of deliveries.
fn crash(fleet: &Fleet, cli: &str) -> Played {
    fleet.wait_state(cli, "idle", 120)?;
    let said = deliver_all(fleet, cli, "crash", |_| Ok(()))?;
    fleet.wait_state(cli, "idle", 60)?;
    Ok(said)
}

/// At the end of it all: nothing was typed again later.
fn judged(fleet: &Fleet, cli: &str) -> Played {
    judge::exactly_once(&fleet.asked(cli), &fleet.remembered(cli))
}
