//! Phrases: what leads to a time (`resets`, `try again at`), and the times that need no calendar: durations, epochs.

use super::civil::{self, Civil};
use super::tokens::Source;

/// What a phrase says.
#[derive(Debug, PartialEq)]
pub(super) enum Phrase {
    /// An instant, milliseconds since 1970.
    Epoch(i64),
    /// So many seconds from now.
    In(f64),
    /// By calendar and clock.
    Civil(Civil),
}

/// Most words between a leading word and its time.
const FILLERS_MAX: usize = 7;

/// Most terms of a duration: weeks, days, hours, minutes, seconds, milliseconds.
const TERMS_MAX: usize = 6;

const MINUTE: f64 = 60.0;
const HOUR: f64 = 3600.0;
const DAY: f64 = 86_400.0;

/// How surely a word leads to a time.
#[derive(Clone, Copy, PartialEq)]
enum Lead {
    /// The time may follow at once: `resets 3pm`.
    Strong,
    /// A preposition must come first: `try again at 3pm`.
    Weak,
    /// Only an epoch behind a bar: `Claude AI usage limit reached|1763760000`.
    Reached,
}

/// What stood between the leading word and the time.
#[derive(Clone, Copy, Default)]
struct Path {
    /// The last preposition, colon or the like.
    preposition: Option<Preposition>,
    /// `retry after` and `retry delay`, whose plain number means seconds.
    header: bool,
}

/// What may follow.
#[derive(Clone, Copy, PartialEq)]
enum Preposition {
    /// `in`, `within`: only a duration.
    In,
    /// `at`, `on`: never a duration.
    At,
    /// Anything.
    Other,
}

/// The last phrase of a text.
pub(super) fn last(source: &Source) -> Option<Phrase> {
    let mut found = None;
    let mut i = 0;
    while i < source.len() {
        match led(source, i).or_else(|| left_until_reset(source, i)) {
            Some((phrase, next)) => {
                found = Some(phrase);
                i = next.max(i + 1);
            }
            None => i += 1,
        }
    }
    found
}

/// A leading word at `i` with its time.
fn led(source: &Source, i: usize) -> Option<(Phrase, usize)> {
    let word = source.word(i);
    let lead = lead(word)?;
    if lead == Lead::Reached {
        return if source.is(i + 1, '|') { epoch(source, i + 2) } else { None };
    }
    let (path, start) = fillers(source, i + 1, word == "retry");
    if lead == Lead::Weak && path.preposition.is_none() && !civil::begins_with_a_day(source, start) {
        return None;
    }
    let (phrase, end) = time(source, start, path)?;
    if ends_well(source, end) { Some((phrase, end)) } else { None }
}

/// Does this word lead to a time?
fn lead(word: &str) -> Option<Lead> {
    match word {
        "reset" | "resets" | "resetting" | "renews" | "refreshes" | "refills" | "replenishes" | "unlocks"
        | "lifts" | "until" | "till" | "wait" => Some(Lead::Strong),
        "again" | "available" | "back" | "retry" | "continue" | "resume" | "resumes" | "return"
        | "returns" | "renew" | "refresh" | "refill" | "replenish" | "lifted" | "restored" => {
            Some(Lead::Weak)
        }
        "reached" => Some(Lead::Reached),
        _ => None,
    }
}

/// Skips what may stand between a leading word and its time.
fn fillers(source: &Source, start: usize, after_retry: bool) -> (Path, usize) {
    let mut path = Path::default();
    let mut i = start;
    while i < start + FILLERS_MAX {
        match (source.word(i), source.sign(i)) {
            ("in" | "within", _) => path.preposition = Some(Preposition::In),
            ("at" | "on", _) => path.preposition = Some(Preposition::At),
            ("after" | "by" | "from" | "for" | "until" | "till" | "around" | "about" | "delay", _) => {
                path.preposition = path.preposition.or(Some(Preposition::Other));
                path.header |= after_retry && matches!(source.word(i), "after" | "delay");
            }
            ("approximately" | "approx" | "roughly" | "least" | "less" | "than" | "another" | "again", _)
            | (
                "is" | "be" | "will" | "it" | "the" | "your" | "date" | "time" | "local" | "online" | "next",
                _,
            )
            | ("automatically" | "scheduled" | "requests" | "tokens", _) => {}
            ("", Some(':' | '=' | '|' | '(' | '@')) => {
                path.preposition = path.preposition.or(Some(Preposition::Other));
            }
            ("", Some('~' | '≈' | '"' | '\'')) => {}
            ("", Some('-'))
                if matches!(source.word(i + 1), "after" | "requests" | "tokens") && source.glued(i) => {}
            _ => break,
        }
        i += 1;
    }
    (path, i)
}

/// Any time at `i`.
fn time(source: &Source, i: usize, path: Path) -> Option<(Phrase, usize)> {
    if path.preposition != Some(Preposition::At)
        && let Some((seconds, end)) = duration(source, i).or_else(|| iso_duration(source, i))
    {
        return Some((Phrase::In(seconds), end));
    }
    if let Some(found) = unit_first(source, i, path) {
        return Some(found);
    }
    if let Some(found) = epoch(source, i) {
        return Some(found);
    }
    if path.preposition == Some(Preposition::In) {
        return countdown(source, i);
    }
    if let Some((civil, end)) = civil::read(source, i) {
        return Some((Phrase::Civil(civil), end));
    }
    header_seconds(source, i, path)
}

/// Not the middle of something longer (an id, a path, a range), and not past (`reset 3 hours ago`).
fn ends_well(source: &Source, end: usize) -> bool {
    let glued_text =
        |i: usize| source.glued(i) && !(source.word(i).is_empty() && source.digits(i).is_empty());
    let joiner = matches!(source.sign(end), Some('/' | '-' | ':' | '.' | '%')) && source.glued(end);
    !(glued_text(end) || (joiner && glued_text(end + 1)) || source.is(end, '%') || source.word(end) == "ago")
}

/// Seconds since 1970 (10 digits) or milliseconds (13 digits).
fn epoch(source: &Source, i: usize) -> Option<(Phrase, usize)> {
    let scale = match source.digits(i).len() {
        10 => 1000,
        13 => 1,
        _ => return None,
    };
    let whole: i64 = source.number(i, 10, 13)?;
    let (_, end) = fraction(source, i + 1);
    Some((Phrase::Epoch(whole.checked_mul(scale)?), end))
}

/// `3 hours 20 minutes`, `2h5m`, `1 day, 3 hours and 10 minutes`, `an hour`, `34.07s`: seconds and the next token.
fn duration(source: &Source, start: usize) -> Option<(f64, usize)> {
    let (mut total, mut end, mut smallest) = (0.0, None, f64::INFINITY);
    let mut i = start;
    for _ in 0..TERMS_MAX {
        let Some((amount, unit, next)) = term(source, i).filter(|(_, unit, _)| *unit < smallest) else {
            break;
        };
        total += amount * unit;
        smallest = unit;
        end = Some(next);
        i = next;
        while source.is(i, ',') || matches!(source.word(i), "and") || source.is(i, '&') {
            i += 1;
        }
    }
    end.map(|end| (total, end))
}

/// One amount and its unit in seconds.
fn term(source: &Source, i: usize) -> Option<(f64, f64, usize)> {
    let (amount, next) = match source.word(i) {
        "" => decimal(source, i)?,
        "half" => return Some((0.5, unit(source.word(i + 2))?, i + 3)),
        word => (count_word(word)?, i + 1),
    };
    Some((amount, unit(source.word(next))?, next + 1))
}

/// `34` or `34.07` at `i`, and the next token.
fn decimal(source: &Source, i: usize) -> Option<(f64, usize)> {
    let whole = source.number(i, 1, 9)? as f64;
    let (part, next) = fraction(source, i + 1);
    Some((whole + part, next))
}

/// `.07` at `i`, glued to the number before it and to its digits; nothing, if it is not there.
fn fraction(source: &Source, i: usize) -> (f64, usize) {
    let glued = source.is(i, '.') && source.glued(i) && source.glued(i + 1);
    match format!("0.{}", source.digits(i + 1)).parse() {
        Ok(part) if glued && !source.digits(i + 1).is_empty() => (part, i + 2),
        Ok(_) | Err(_) => (0.0, i),
    }
}

/// Numbers that people write as words before a unit.
fn count_word(word: &str) -> Option<f64> {
    let index = ["a", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
        .iter()
        .position(|w| *w == word);
    match (index, word) {
        (Some(index), _) => Some(index as f64 + 1.0),
        (None, "an" | "one") => Some(1.0),
        (None, _) => None,
    }
}

/// Seconds of a unit.
fn unit(word: &str) -> Option<f64> {
    match word {
        "ms" | "msec" | "msecs" | "millis" | "millisecond" | "milliseconds" => Some(0.001),
        "s" | "sec" | "secs" | "second" | "seconds" => Some(1.0),
        "m" | "min" | "mins" | "minute" | "minutes" => Some(MINUTE),
        "h" | "hr" | "hrs" | "hour" | "hours" => Some(HOUR),
        "d" | "day" | "days" => Some(DAY),
        "w" | "wk" | "wks" | "week" | "weeks" => Some(7.0 * DAY),
        _ => None,
    }
}

/// `PT3H20M`, `P1DT4H`.
fn iso_duration(source: &Source, i: usize) -> Option<(f64, usize)> {
    let (raw, end) = source.raw(i, 40, |c| c.is_ascii_alphanumeric() || c == '.');
    let rest = raw.strip_prefix(['P', 'p'])?;
    if !rest.starts_with(|c: char| c.is_ascii_digit() || matches!(c, 'T' | 't')) {
        return None;
    }
    let span: jiff::Span = raw.trim_end_matches('.').parse().ok()?;
    let seconds = span.total((jiff::Unit::Second, jiff::SpanRelativeTo::days_are_24_hours())).ok()?;
    Some((seconds, end))
}

/// The unit in the key: `resets_in_seconds: 120`, `retry-after-ms: 5000`.
fn unit_first(source: &Source, i: usize, path: Path) -> Option<(Phrase, usize)> {
    let glued_key = source.is(i, '-') && source.glued(i);
    let i = if glued_key { i + 1 } else { i };
    let unit = unit(source.word(i)).filter(|_| path.preposition.is_some())?;
    let value = (i + 1..i + 4).find(|n| !matches!(source.sign(*n), Some(':' | '=' | '"' | '\'')))?;
    if value == i + 1 {
        return None;
    }
    let (amount, next) = decimal(source, value)?;
    Some((Phrase::In(amount * unit), next))
}

/// `in 3:20:15`: hours, minutes, seconds left. Two fields could be either, and are not read.
fn countdown(source: &Source, i: usize) -> Option<(Phrase, usize)> {
    if !(source.is(i + 1, ':') && source.is(i + 3, ':')) {
        return None;
    }
    let (h, m, s) = (source.number(i, 1, 3)?, source.number(i + 2, 2, 2)?, source.number(i + 4, 2, 2)?);
    if m > 59 || s > 59 {
        return None;
    }
    Some((Phrase::In((h * 3600 + m * 60 + s) as f64), i + 5))
}

/// `Retry-After: 120` (RFC 9110, 10.2.3): plain seconds.
fn header_seconds(source: &Source, i: usize, path: Path) -> Option<(Phrase, usize)> {
    if !path.header {
        return None;
    }
    let (seconds, next) = decimal(source, i)?;
    Some((Phrase::In(seconds), next))
}

/// `3h 20m until reset`: the time comes first.
fn left_until_reset(source: &Source, i: usize) -> Option<(Phrase, usize)> {
    let (seconds, mut next) = duration(source, i)?;
    if matches!(source.word(next), "left" | "remaining") {
        next += 1;
    }
    if !matches!(source.word(next), "until" | "till" | "before") {
        return None;
    }
    let filler = |n: &usize| {
        matches!(
            source.word(*n),
            "the"
                | "your"
                | "its"
                | "it"
                | "next"
                | "limit"
                | "limits"
                | "quota"
                | "usage"
                | "rate"
                | "session"
                | "weekly"
        )
    };
    let reset = (next + 1..next + 1 + FILLERS_MAX).find(|n| !filler(n))?;
    matches!(source.word(reset), "reset" | "resets" | "renewal" | "refresh")
        .then_some((Phrase::In(seconds), reset + 1))
}
