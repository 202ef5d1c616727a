//! What a phrase says, seen from now, to an instant.

use super::civil::{Civil, Day, Zone};
use super::phrase::Phrase;
use crate::base::time::Wall;
use crate::detect::zone;
use jiff::ToSpan;
use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;

/// A reset further ahead than this is none, seconds. The longest known limits are monthly.
const AHEAD_MAX_S: f64 = 32.0 * 86_400.0;

/// A time of day, or of a weekday, that was last reached less than this ago is a banner that is over, not the next
/// day's; seconds. So a bare time of day is never read as more than 18 h ahead.
const STALE_S: f64 = 6.0 * 3600.0;

/// A `tonight` before this hour means the coming night's small hours.
const NIGHT_ENDS_HOUR: i8 = 6;

/// The instant, if it is a coming reset.
pub(super) fn resolve(phrase: &Phrase, now: Wall, local: &str) -> Option<Wall> {
    let at = match phrase {
        Phrase::Epoch(ms) => Wall(*ms),
        Phrase::In(seconds) => now.plus_s(*seconds),
        Phrase::Civil(civil) => by_calendar(civil, now, local)?,
    };
    (at > now && at.since_s(now) <= AHEAD_MAX_S).then_some(at)
}

fn by_calendar(civil: &Civil, now: Wall, local: &str) -> Option<Wall> {
    let zone = match &civil.zone {
        Some(Zone::Known(zone)) => zone.clone(),
        Some(Zone::Strange) => return None,
        None => zone::find_or_utc(local),
    };
    let today = zone::civil(now, &zone)?.date();
    let time = civil.time.unwrap_or(Time::midnight());
    let date = match (civil.day, civil.weekday) {
        (Some(Day::Today), _) => today,
        (Some(Day::Tonight), _) if time.hour() >= NIGHT_ENDS_HOUR => today,
        (Some(Day::Tonight | Day::Tomorrow), _) => today.tomorrow().ok()?,
        (Some(Day::Month(month, day)), _) => return coming_year(today, month, day, time, now, &zone),
        (Some(Day::Full(year, month, day)), _) => Date::new(year, month, day).ok()?,
        (Some(Day::Slashed(a, b, year)), _) => slashed(a, b, year, civil.meridiem)?,
        (None, Some(weekday)) => {
            let last = today.tomorrow().ok()?.nth_weekday(-1, weekday).ok()?;
            return recurring(last, 7, time, now, &zone);
        }
        (None, None) => return recurring(today, 1, time, now, &zone),
    };
    coming(date, time, now, &zone)
}

/// The next of a time that comes every `days` days, `date` being today's or the last one before.
fn recurring(date: Date, days: i32, time: Time, now: Wall, zone: &TimeZone) -> Option<Wall> {
    let this = coming(date, time, now, zone)?;
    let (last, next) = if this > now {
        (coming(date.checked_sub(days.days()).ok()?, time, now, zone)?, this)
    } else {
        (this, coming(date.checked_add(days.days()).ok()?, time, now, zone)?)
    };
    (now.since_s(last) >= STALE_S).then_some(next)
}

/// A date without a year: this year's, or next year's when that is over (New Year may lie between).
fn coming_year(today: Date, month: i8, day: i8, time: Time, now: Wall, zone: &TimeZone) -> Option<Wall> {
    [today.year(), today.year().checked_add(1)?]
        .into_iter()
        .filter_map(|year| coming(Date::new(year, month, day).ok()?, time, now, zone))
        .find(|at| *at > now)
}

/// `11/23/2026`: month first, as American programs write it; day first where only that makes a date. Where both do,
/// only am or pm tells that the writer is American.
fn slashed(a: i8, b: i8, year: i16, meridiem: bool) -> Option<Date> {
    if a > 12 {
        Date::new(year, b, a).ok()
    } else if b > 12 || a == b || meridiem {
        Date::new(year, a, b).ok()
    } else {
        None
    }
}

/// The instant of a civil time; of two (a DST fold) the first that is still to come.
fn coming(date: Date, time: Time, now: Wall, zone: &TimeZone) -> Option<Wall> {
    let civil = date.to_datetime(time);
    let first = zone::first_instant(civil, zone)?;
    if first > now { Some(first) } else { zone::last_instant(civil, zone) }
}
