//! Dates, weekdays, clocks and zones, in any order: `Feb 4 at 10am`, `8:15 AM on Nov 23rd, 2026 (UTC)`.

use super::tokens::Source;
use crate::detect::zone;
use jiff::civil::{Time, Weekday};
use jiff::tz::{Offset, TimeZone};

/// What was said of day, time and zone.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Civil {
    pub(super) day: Option<Day>,
    /// A weekday beside a date says nothing new; alone it is the day.
    pub(super) weekday: Option<Weekday>,
    pub(super) time: Option<Time>,
    /// The time was said with am or pm: an American order of month and day is likely.
    pub(super) meridiem: bool,
    pub(super) zone: Option<Zone>,
}

/// A day.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Day {
    Today,
    Tonight,
    Tomorrow,
    /// Month and day, the year left open.
    Month(i8, i8),
    /// Year, month, day.
    Full(i16, i8, i8),
    /// `11/4/2026`: month and day in an order that has to be found out, and the year.
    Slashed(i8, i8, i16),
}

/// A zone that was named.
#[derive(Debug, PartialEq)]
pub(super) enum Zone {
    Known(TimeZone),
    /// One that we cannot read: the time is then none, for a guess could be wrong by half a day.
    Strange,
}

/// Longest IANA name in a banner, bytes.
const ZONE_LENGTH_MAX: usize = 40;

/// Most offset from UTC, seconds (+14:00 is Kiribati).
const OFFSET_MAX: i64 = 14 * 3600;

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

/// Abbreviations that CLIs print, with their offset in minutes. Generic ones (PT) are zones, see [`named`].
const ABBREVIATIONS: &[(&str, i64)] = &[
    ("utc", 0),
    ("gmt", 0),
    ("z", 0),
    ("est", -300),
    ("edt", -240),
    ("cst", -360),
    ("cdt", -300),
    ("mst", -420),
    ("mdt", -360),
    ("pst", -480),
    ("pdt", -420),
    ("akst", -540),
    ("akdt", -480),
    ("hst", -600),
    ("brt", -180),
    ("wet", 0),
    ("west", 60),
    ("bst", 60),
    ("cet", 60),
    ("cest", 120),
    ("eet", 120),
    ("eest", 180),
    ("msk", 180),
    ("ist", 330),
    ("sgt", 480),
    ("hkt", 480),
    ("awst", 480),
    ("jst", 540),
    ("kst", 540),
    ("aest", 600),
    ("aedt", 660),
    ("nzst", 720),
    ("nzdt", 780),
];

/// Reads day, time and zone at `i`; at least a day or a time must be there.
pub(super) fn read(source: &Source, i: usize) -> Option<(Civil, usize)> {
    let mut civil = Civil::default();
    let mut end = None;
    let mut next = i;
    while let Some(after) = component(source, next, &mut civil) {
        end = Some(after);
        next = separators(source, after);
    }
    if civil.time.is_none() && matches!(civil.day, Some(Day::Today | Day::Tonight)) {
        return None;
    }
    end.map(|end| (civil, end))
}

/// Does a day stand here that needs no preposition (`try again tomorrow`)?
pub(super) fn begins_with_a_day(source: &Source, i: usize) -> bool {
    let word = source.word(i);
    matches!(word, "today" | "tonight" | "tomorrow") || weekday(word).is_some() || month(word).is_some()
}

/// What may stand between two components.
fn separators(source: &Source, start: usize) -> usize {
    let skip = |i: &usize| {
        matches!(source.word(*i), "at" | "on" | "the" | "local" | "time")
            || matches!(source.sign(*i), Some(',' | '(' | ')' | '[' | ']' | '@'))
    };
    (start..start + 4).find(|i| !skip(i)).unwrap_or(start + 4)
}

/// Reads one component that is not there yet.
fn component(source: &Source, i: usize, civil: &mut Civil) -> Option<usize> {
    if civil.day.is_none() {
        if let Some((day, next)) = day(source, i) {
            civil.day = Some(day);
            return Some(next);
        }
        if let Some(weekday) = weekday(source.word(i)).filter(|_| civil.weekday.is_none()) {
            civil.weekday = Some(weekday);
            return Some(dot(source, i + 1));
        }
    }
    if civil.time.is_none() {
        let (time, meridiem, next) = clock(source, clock_start(source, i))?;
        civil.time = Some(time);
        civil.meridiem = meridiem;
        return Some(next);
    }
    if civil.zone.is_none() {
        let (zone, next) = zone_at(source, i)?;
        civil.zone = Some(zone);
        return Some(next);
    }
    None
}

/// Skips the T of `2026-11-23T08:15`.
fn clock_start(source: &Source, i: usize) -> usize {
    if source.word(i) == "t" && source.glued(i) && source.glued(i + 1) { i + 1 } else { i }
}

/// Skips the full stop of an abbreviation.
fn dot(source: &Source, i: usize) -> usize {
    if source.is(i, '.') && source.glued(i) { i + 1 } else { i }
}

/// A day other than a weekday.
fn day(source: &Source, i: usize) -> Option<(Day, usize)> {
    match source.word(i) {
        "today" => Some((Day::Today, i + 1)),
        "tonight" => Some((Day::Tonight, i + 1)),
        "tomorrow" => Some((Day::Tomorrow, i + 1)),
        "" => numeric_date(source, i).or_else(|| day_month(source, i)),
        word => month_day(source, i, month(word)?),
    }
}

/// `2026-11-23`, `2026/11/23`, `11/23/2026`, `23.11.2026`.
fn numeric_date(source: &Source, i: usize) -> Option<(Day, usize)> {
    let sign = source.sign(i + 1).filter(|s| *s == source.sign(i + 3).unwrap_or(' '))?;
    if (i + 1..i + 5).any(|n| !source.glued(n)) {
        return None;
    }
    let (a, b, c) = (source.number(i, 1, 4)?, source.number(i + 2, 1, 2)?, source.number(i + 4, 1, 4)?);
    let small = |n: i64| i8::try_from(n).ok();
    let day = match (source.digits(i).len(), sign, source.digits(i + 4).len()) {
        (4, '-' | '/', 1 | 2) => Day::Full(i16::try_from(a).ok()?, small(b)?, small(c)?),
        (1 | 2, '/', 4) => Day::Slashed(small(a)?, small(b)?, i16::try_from(c).ok()?),
        (1 | 2, '.', 4) => Day::Full(i16::try_from(c).ok()?, small(b)?, small(a)?),
        _ => return None,
    };
    Some((day, i + 5))
}

/// `4 Feb`, `4th of February, 2027`.
fn day_month(source: &Source, i: usize) -> Option<(Day, usize)> {
    let day = day_number(source, i)?;
    let mut next = ordinal(source, i + 1);
    if source.word(next) == "of" {
        next += 1;
    }
    let month = month(source.word(next))?;
    Some(with_year(source, dot(source, next + 1), month, day))
}

/// `Feb 4`, `Nov 23rd, 2026`.
fn month_day(source: &Source, i: usize, month: i8) -> Option<(Day, usize)> {
    let at = dot(source, i + 1);
    let day = day_number(source, at)?;
    // `May 10:30` is no date.
    if source.is(at + 1, ':') && source.glued(at + 1) {
        return None;
    }
    Some(with_year(source, ordinal(source, at + 1), month, day))
}

/// Adds the year if one follows.
fn with_year(source: &Source, i: usize, month: i8, day: i8) -> (Day, usize) {
    let at = if source.is(i, ',') { i + 1 } else { i };
    match source.number(at, 4, 4).and_then(|y| i16::try_from(y).ok()).filter(|y| (2000..2200).contains(y)) {
        Some(year) => (Day::Full(year, month, day), at + 1),
        None => (Day::Month(month, day), i),
    }
}

fn day_number(source: &Source, i: usize) -> Option<i8> {
    source.number(i, 1, 2).and_then(|d| i8::try_from(d).ok()).filter(|d| (1..=31).contains(d))
}

/// Skips the `rd` of `23rd`.
fn ordinal(source: &Source, i: usize) -> usize {
    if source.glued(i) && matches!(source.word(i), "st" | "nd" | "rd" | "th") { i + 1 } else { i }
}

/// 1 to 12 for a month's name or its abbreviation.
fn month(word: &str) -> Option<i8> {
    let known = |name: &str| {
        word == name || (word.len() == 3 && name.starts_with(word)) || (word == "sept" && name == "september")
    };
    MONTHS.iter().zip(1..).find(|(name, _)| known(name)).map(|(_, number)| number)
}

fn weekday(word: &str) -> Option<Weekday> {
    match word {
        "monday" | "mon" => Some(Weekday::Monday),
        "tuesday" | "tue" | "tues" => Some(Weekday::Tuesday),
        "wednesday" | "wed" | "weds" => Some(Weekday::Wednesday),
        "thursday" | "thu" | "thur" | "thurs" => Some(Weekday::Thursday),
        "friday" | "fri" => Some(Weekday::Friday),
        "saturday" | "sat" => Some(Weekday::Saturday),
        "sunday" | "sun" => Some(Weekday::Sunday),
        _ => None,
    }
}

/// `7pm`, `10:27 a.m.`, `22:15:30`, `noon`: the time, whether it had am or pm, and the next token.
fn clock(source: &Source, i: usize) -> Option<(Time, bool, usize)> {
    match source.word(i) {
        "midnight" => return Some((Time::midnight(), false, i + 1)),
        "noon" => return Some((Time::constant(12, 0, 0, 0), false, i + 1)),
        _ => {}
    }
    let hour = source.number(i, 1, 2)?;
    let colon = |n: usize| source.is(n, ':') && source.glued(n) && source.glued(n + 1);
    let (mut minute, mut second, mut next) = (None, 0, i + 1);
    if colon(next) {
        minute = Some(source.number(next + 1, 2, 2)?);
        next += 2;
        if colon(next) {
            second = source.number(next + 1, 2, 2)?;
            next += 2;
            if source.is(next, '.') && source.glued(next + 1) && !source.digits(next + 1).is_empty() {
                next += 2;
            }
        }
    } else if source.is(next, '.') && source.glued(next + 1) && meridiem(source, next + 2).is_some() {
        minute = Some(source.number(next + 1, 2, 2)?);
        next += 2;
    }
    let half = meridiem(source, next);
    let hour = match half {
        Some((Half::Am, _)) if hour == 12 => 0,
        Some((Half::Pm, _)) if (1..12).contains(&hour) => hour + 12,
        Some((Half::Am, _)) if !(1..12).contains(&hour) => return None,
        Some((Half::Pm, _)) if !(12..24).contains(&hour) => return None,
        Some(_) => hour,
        None if minute.is_none() => return None,
        None => hour,
    };
    let small = |n: i64| i8::try_from(n).ok();
    let time = Time::new(small(hour)?, small(minute.unwrap_or(0))?, small(second)?, 0).ok()?;
    Some((time, half.is_some(), half.map_or(next, |(_, after)| after)))
}

#[derive(Clone, Copy)]
enum Half {
    Am,
    Pm,
}

/// `am`, `PM`, `a.m.`
fn meridiem(source: &Source, i: usize) -> Option<(Half, usize)> {
    match source.word(i) {
        "am" => Some((Half::Am, i + 1)),
        "pm" => Some((Half::Pm, i + 1)),
        half @ ("a" | "p") if source.is(i + 1, '.') && source.word(i + 2) == "m" && source.glued(i + 2) => {
            let next = if source.is(i + 3, '.') && source.glued(i + 3) { i + 4 } else { i + 3 };
            Some((if half == "a" { Half::Am } else { Half::Pm }, next))
        }
        _ => None,
    }
}

/// A zone at `i`.
fn zone_at(source: &Source, i: usize) -> Option<(Zone, usize)> {
    if source.word(i).is_empty() {
        let (seconds, next) = offset(source, i, 2)?;
        return Some((fixed(seconds)?, next));
    }
    if source.is(i + 1, '/') && source.glued(i + 1) {
        let name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '-' | '+');
        let (raw, next) = source.raw(i, ZONE_LENGTH_MAX, name);
        return Some((zone::find(raw).map_or(Zone::Strange, Zone::Known), next.max(i + 1)));
    }
    let (raw, _) = source.raw(i, ZONE_LENGTH_MAX, |c| c.is_ascii_alphabetic());
    let word = source.word(i);
    if matches!(word, "utc" | "gmt")
        && let Some((seconds, next)) = offset(source, i + 1, 1)
    {
        return Some((fixed(seconds)?, next));
    }
    if let Some((_, minutes)) = ABBREVIATIONS.iter().find(|(name, _)| *name == word) {
        return Some((fixed(minutes * 60)?, i + 1));
    }
    if let Some((zone, next)) = named(source, i, raw) {
        return Some((zone, next));
    }
    let alone = i > 0
        && matches!(source.sign(i - 1), Some('(' | '['))
        && matches!(source.sign(i + 1), Some(')' | ']'));
    let capitals = (3..=5).contains(&raw.len()) && raw.bytes().all(|b| b.is_ascii_uppercase());
    if alone && capitals { Some((Zone::Strange, i + 1)) } else { None }
}

/// `PT`, `Pacific Time` (but not `Central European Time`), `Eastern Standard Time`: the zone, whatever the season.
fn named(source: &Source, i: usize, raw: &str) -> Option<(Zone, usize)> {
    let (name, mut next) = match (raw, source.word(i)) {
        ("ET", _) => ("America/New_York", i + 1),
        ("CT", _) => ("America/Chicago", i + 1),
        ("MT", _) => ("America/Denver", i + 1),
        ("PT", _) => ("America/Los_Angeles", i + 1),
        _ if !matches!(source.word(i + 1), "standard" | "daylight" | "time") => return None,
        (_, "eastern") => ("America/New_York", i + 1),
        (_, "central") => ("America/Chicago", i + 1),
        (_, "mountain") => ("America/Denver", i + 1),
        (_, "pacific") => ("America/Los_Angeles", i + 1),
        _ => return None,
    };
    while matches!(source.word(next), "standard" | "daylight" | "time") && next < i + 3 {
        next += 1;
    }
    Some((zone::find(name).map_or(Zone::Strange, Zone::Known), next))
}

/// `+02:00`, `-0500`, `+5` (only behind `UTC` or `GMT`, where one digit is enough): seconds and the next token.
fn offset(source: &Source, i: usize, digits_min: usize) -> Option<(i64, usize)> {
    let sign = match source.sign(i)? {
        '+' => 1,
        '-' => -1,
        _ => return None,
    };
    if !source.glued(i + 1) {
        return None;
    }
    let (h, m, next) = match source.digits(i + 1).len() {
        4 => (source.number(i + 1, 4, 4)? / 100, source.number(i + 1, 4, 4)? % 100, i + 2),
        n if n < digits_min || n > 2 => return None,
        _ if source.is(i + 2, ':') && source.glued(i + 2) && source.glued(i + 3) => {
            (source.number(i + 1, 1, 2)?, source.number(i + 3, 2, 2)?, i + 4)
        }
        _ => (source.number(i + 1, 1, 2)?, 0, i + 2),
    };
    let seconds = h * 3600 + m * 60;
    (m < 60 && seconds <= OFFSET_MAX).then_some((sign * seconds, next))
}

fn fixed(seconds: i64) -> Option<Zone> {
    let offset = Offset::from_seconds(i32::try_from(seconds).ok()?).ok()?;
    Some(Zone::Known(offset.to_time_zone()))
}
