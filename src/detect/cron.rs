//! Cron expressions: five fields, names, `@daily` and the like, and the next time that one fires in a zone.
//!
//! As Vixie cron has it (crontab(5)): day of month and day of week are alternatives when both are restricted, and a
//! field that begins with `*` counts as unrestricted. Daylight saving: a time that the clocks skip fires once, when
//! the gap ends; a time that they show twice fires at the first. (So `*/5 * * * *` is silent for the hour that repeats.)
//!
//! Deliberately not here: seconds, `L`, `W`, `#` and `@reboot`; missed times (a policy asks for the next after the last).

use super::zone;
use crate::base::time::Wall;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use std::fmt;

/// Days looked at before an expression counts as impossible. 29 February is rarest: eight years from 2096 to 2104.
const DAYS_MAX: u32 = 9 * 366;

/// Longest expression read, bytes.
const LENGTH_MAX: usize = 512;

/// A parsed cron expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cron {
    source: String,
    minutes: Field,
    hours: Field,
    days: Field,
    months: Field,
    weekdays: Field,
}

/// One field: bit n is set when n is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Field {
    bits: u64,
    restricted: bool,
}

/// What a field may hold.
struct Shape {
    name: &'static str,
    min: u32,
    max: u32,
    /// Names, the first of which stands for `min`.
    names: &'static [&'static str],
    allowed: &'static str,
}

const MONTHS: &[&str] = &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

const SHAPES: [Shape; 5] = [
    Shape { name: "minute", min: 0, max: 59, names: &[], allowed: "0-59" },
    Shape { name: "hour", min: 0, max: 23, names: &[], allowed: "0-23" },
    Shape { name: "day of month", min: 1, max: 31, names: &[], allowed: "1-31" },
    Shape { name: "month", min: 1, max: 12, names: MONTHS, allowed: "1-12 or JAN-DEC" },
    Shape {
        name: "day of week",
        min: 0,
        max: 7,
        names: WEEKDAYS,
        allowed: "0-7 (0 and 7 are Sunday) or SUN-SAT",
    },
];

/// The nicknames of crontab(5).
const NICKNAMES: &[(&str, &str)] = &[
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@weekly", "0 0 * * 0"),
    ("@monthly", "0 0 1 * *"),
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
];

impl Cron {
    /// Reads an expression. The error is a fragment that names the field and what is allowed there.
    pub fn parse(text: &str) -> Result<Cron, String> {
        let source = text.trim();
        if source.len() > LENGTH_MAX {
            return Err(format!(
                "a cron expression has at most {LENGTH_MAX} bytes, this one has {}",
                source.len()
            ));
        }
        let fields = if source.starts_with('@') { expand(source)? } else { source };
        let parts: Vec<&str> = fields.split_whitespace().collect();
        let [minutes, hours, days, months, weekdays] = parts[..] else {
            return Err(format!(
                "a cron expression has 5 fields (minute, hour, day of month, month, day of week), `{}` has {}",
                source.escape_debug(),
                parts.len()
            ));
        };
        let mut weekdays = field(weekdays, &SHAPES[4])?;
        if weekdays.bits & (1 << 7) != 0 {
            weekdays.bits = (weekdays.bits | 1) & 0x7f;
        }
        Ok(Cron {
            source: source.to_owned(),
            minutes: field(minutes, &SHAPES[0])?,
            hours: field(hours, &SHAPES[1])?,
            days: field(days, &SHAPES[2])?,
            months: field(months, &SHAPES[3])?,
            weekdays,
        })
    }

    /// The expression as it was written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The first time after `after` (never `after` itself) in the IANA zone `zone`; an unknown zone counts as UTC.
    /// None when there is none within nine years, as for 30 February.
    pub fn next_after(&self, after: Wall, zone: &str) -> Option<Wall> {
        let zone = zone::find_or_utc(zone);
        let mut date = zone::civil(after, &zone)?.date();
        for _ in 0..DAYS_MAX {
            if self.allows(date)
                && let Some(at) = self.first_of_day(date, after, &zone)
            {
                return Some(at);
            }
            date = date.tomorrow().ok()?;
        }
        None
    }

    /// Does it fire on this day at all?
    fn allows(&self, date: Date) -> bool {
        if !self.months.has(date.month()) {
            return false;
        }
        let day = self.days.has(date.day());
        let weekday = self.weekdays.has(date.weekday().to_sunday_zero_offset());
        if self.days.restricted && self.weekdays.restricted { day || weekday } else { day && weekday }
    }

    /// The first time on this day that lies after `after`. Instants never decrease along a day's civil times: a gap
    /// maps to its end, a fold to its first pass.
    fn first_of_day(&self, date: Date, after: Wall, zone: &TimeZone) -> Option<Wall> {
        for hour in (0..24).filter(|h| self.hours.has(*h)) {
            for minute in (0..60).filter(|m| self.minutes.has(*m)) {
                let civil: DateTime = date.at(hour, minute, 0, 0);
                match zone::first_instant(civil, zone) {
                    Some(at) if at > after => return Some(at),
                    Some(_) | None => {}
                }
            }
        }
        None
    }
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.source)
    }
}

impl Field {
    fn has(self, value: i8) -> bool {
        u32::try_from(value).is_ok_and(|v| v < 64 && self.bits & (1 << v) != 0)
    }
}

/// The five fields of a nickname.
fn expand(source: &str) -> Result<&'static str, String> {
    if source.eq_ignore_ascii_case("@reboot") {
        return Err("`@reboot` has no time; units are kept running anyway".into());
    }
    let known = NICKNAMES.iter().find(|(name, _)| source.eq_ignore_ascii_case(name));
    known.map(|(_, fields)| *fields).ok_or_else(|| {
        format!(
            "`{}` is unknown; use @hourly, @daily, @weekly, @monthly, @yearly or 5 fields",
            source.escape_debug()
        )
    })
}

/// Reads one field: a list of parts.
fn field(text: &str, shape: &Shape) -> Result<Field, String> {
    let mut bits = 0;
    for part in text.split(',') {
        bits |= part_bits(part, shape).map_err(|why| {
            format!("{} field `{}`: {why}; allowed is {}", shape.name, text.escape_debug(), shape.allowed)
        })?;
    }
    Ok(Field { bits, restricted: !text.starts_with('*') })
}

/// The bits of `*`, `5`, `1-5`, `*/2` or `1-5/2`.
fn part_bits(part: &str, shape: &Shape) -> Result<u64, String> {
    let (range, step) = match part.split_once('/') {
        Some((range, step)) => {
            (range, Some(number(step).filter(|n| *n > 0).ok_or("a step is a number from 1")?))
        }
        None => (part, None),
    };
    let (low, high) = match range.split_once('-') {
        _ if range == "*" => (shape.min, shape.max),
        Some((low, high)) => (value(low, shape)?, value(high, shape)?),
        None if step.is_some() => return Err("a step needs a range or `*` before it".into()),
        None => (value(range, shape)?, value(range, shape)?),
    };
    if low > high {
        return Err(format!("range `{}` goes backwards", range.escape_debug()));
    }
    let step = usize::try_from(step.unwrap_or(1)).unwrap_or(usize::MAX);
    Ok((low..=high).step_by(step).fold(0, |bits, n| bits | 1 << n))
}

/// One number or name, checked against the shape.
fn value(text: &str, shape: &Shape) -> Result<u32, String> {
    if text.is_empty() {
        return Err("a value is missing".into());
    }
    if let Some(index) = shape.names.iter().position(|name| text.eq_ignore_ascii_case(name)) {
        return Ok(shape.min + u32::try_from(index).unwrap_or(0));
    }
    match number(text) {
        Some(n) if (shape.min..=shape.max).contains(&n) => Ok(n),
        Some(n) => Err(format!("{n} is out of range")),
        None => Err(format!("`{}` is no number", text.escape_debug())),
    }
}

/// A plain number of at most four digits; no sign, which `parse` would accept.
fn number(text: &str) -> Option<u32> {
    let plain = (1..=4).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    if plain { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The next times after `after`, in order.
    #[track_caller]
    fn check(cron: &str, zone: &str, after: &str, want: &[&str]) {
        let cron = Cron::parse(cron).unwrap();
        let mut at = Wall::parse(after).unwrap();
        for want in want {
            at = cron.next_after(at, zone).unwrap();
            assert_eq!(at.to_string(), *want, "`{cron}` in {zone}");
        }
    }

    #[test]
    fn fields_lists_ranges_steps_and_names() {
        let from = "2026-11-21T10:07:30Z"; // a Saturday
        check("* * * * *", "UTC", from, &["2026-11-21T10:08:00Z", "2026-11-21T10:09:00Z"]);
        check(
            "*/15 * * * *",
            "UTC",
            from,
            &["2026-11-21T10:15:00Z", "2026-11-21T10:30:00Z", "2026-11-21T10:45:00Z"],
        );
        check("5-20/5 10 * * *", "UTC", from, &["2026-11-21T10:10:00Z", "2026-11-21T10:15:00Z"]);
        check("0 6 * * 1-5", "UTC", from, &["2026-11-23T06:00:00Z", "2026-11-24T06:00:00Z"]);
        check("0 6 * * MON,fri", "UTC", from, &["2026-11-23T06:00:00Z", "2026-11-27T06:00:00Z"]);
        check("30 8,20 1 JAN-FEB *", "UTC", from, &["2027-01-01T08:30:00Z", "2027-01-01T20:30:00Z"]);
        check("0 0 * * 7", "UTC", from, &["2026-11-22T00:00:00Z"]);
        check("0 0 * * 0", "UTC", from, &["2026-11-22T00:00:00Z"]);
        check("0 0 * * 5-7", "UTC", from, &["2026-11-22T00:00:00Z", "2026-11-27T00:00:00Z"]);
        check("0 6 * * *", "America/New_York", from, &["2026-11-21T11:00:00Z", "2026-11-22T11:00:00Z"]);
        check("0 6 * * *", "Nowhere/City", from, &["2026-11-22T06:00:00Z"]);
    }

    #[test]
    fn nicknames() {
        let from = "2026-11-21T10:07:30Z";
        check("@hourly", "UTC", from, &["2026-11-21T11:00:00Z"]);
        check("@daily", "UTC", from, &["2026-11-22T00:00:00Z"]);
        check("@weekly", "UTC", from, &["2026-11-22T00:00:00Z", "2026-11-29T00:00:00Z"]);
        check("@monthly", "UTC", from, &["2026-12-01T00:00:00Z"]);
        check(" @Yearly ", "UTC", from, &["2027-01-01T00:00:00Z"]);
    }

    #[test]
    fn the_time_itself_is_not_the_next() {
        check("0 6 * * *", "UTC", "2026-11-21T06:00:00Z", &["2026-11-22T06:00:00Z"]);
        check("0 6 * * *", "UTC", "2026-11-21T05:59:59.999Z", &["2026-11-21T06:00:00Z"]);
    }

    #[test]
    fn both_days_restricted_are_alternatives_but_a_star_restricts_nothing() {
        let from = "2026-11-21T10:00:00Z";
        check(
            "0 0 13 * 5",
            "UTC",
            from,
            &["2026-11-27T00:00:00Z", "2026-12-04T00:00:00Z", "2026-12-11T00:00:00Z"],
        );
        check("0 0 24 * 5", "UTC", from, &["2026-11-24T00:00:00Z", "2026-11-27T00:00:00Z"]);
        // */2 begins with a star: every second day that is also a Monday.
        check("0 0 */2 * 1", "UTC", from, &["2026-11-23T00:00:00Z", "2026-12-07T00:00:00Z"]);
    }

    #[test]
    fn rare_days_are_found_and_impossible_ones_end() {
        check("0 0 29 2 *", "UTC", "2026-11-21T10:00:00Z", &["2028-02-29T00:00:00Z", "2032-02-29T00:00:00Z"]);
        check("0 0 29 2 *", "UTC", "2096-03-01T00:00:00Z", &["2104-02-29T00:00:00Z"]);
        check("0 0 31 * *", "UTC", "2026-11-21T10:00:00Z", &["2026-12-31T00:00:00Z", "2027-01-31T00:00:00Z"]);
        let at = Wall::parse("2026-11-21T10:00:00Z").unwrap();
        assert_eq!(Cron::parse("0 0 30 2 *").unwrap().next_after(at, "UTC"), None);
        assert_eq!(Cron::parse("0 0 31 4,6,9,11 *").unwrap().next_after(at, "UTC"), None);
        for end in [i64::MIN, i64::MAX, 253_402_300_799_000] {
            assert_eq!(Cron::parse("0 0 1 1 *").unwrap().next_after(Wall(end), "Europe/Berlin"), None);
        }
    }

    #[test]
    fn a_skipped_time_fires_once_when_the_gap_ends() {
        let berlin = "Europe/Berlin"; // 2026-03-29: 02:00 to 03:00 does not exist
        check(
            "30 2 * * *",
            berlin,
            "2026-03-28T12:00:00Z",
            &["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"],
        );
        check(
            "*/30 * * * *",
            berlin,
            "2026-03-29T00:15:00Z",
            &["2026-03-29T00:30:00Z", "2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z"],
        );
        check(
            "0 12 30 12 *",
            "Pacific/Apia",
            "2011-12-28T00:00:00Z",
            &["2011-12-30T10:00:00Z", "2012-12-29T22:00:00Z"],
        );
    }

    #[test]
    fn a_repeated_time_fires_once() {
        let berlin = "Europe/Berlin"; // 2026-10-25: 02:00 to 03:00 comes twice
        check(
            "30 2 * * *",
            berlin,
            "2026-10-24T12:00:00Z",
            &["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"],
        );
        // Asked in the second pass: not again.
        check("30 2 * * *", berlin, "2026-10-25T01:10:00Z", &["2026-10-26T01:30:00Z"]);
        check("0 * * * *", berlin, "2026-10-25T00:10:00Z", &["2026-10-25T02:00:00Z"]);
    }

    #[test]
    fn errors_name_the_field_and_what_is_allowed() {
        #[track_caller]
        fn check(text: &str, want: &str) {
            assert_eq!(Cron::parse(text).unwrap_err(), want);
        }
        let five = "a cron expression has 5 fields (minute, hour, day of month, month, day of week)";
        check("", &format!("{five}, `` has 0"));
        check("* * * *", &format!("{five}, `* * * *` has 4"));
        check("0 * * * * *", &format!("{five}, `0 * * * * *` has 6"));
        check("60 * * * *", "minute field `60`: 60 is out of range; allowed is 0-59");
        check("* 24 * * *", "hour field `24`: 24 is out of range; allowed is 0-23");
        check("* * 0 * *", "day of month field `0`: 0 is out of range; allowed is 1-31");
        check("* * * 13 *", "month field `13`: 13 is out of range; allowed is 1-12 or JAN-DEC");
        check("* * * MON *", "month field `MON`: `MON` is no number; allowed is 1-12 or JAN-DEC");
        let weekday = "allowed is 0-7 (0 and 7 are Sunday) or SUN-SAT";
        check("* * * * 8", &format!("day of week field `8`: 8 is out of range; {weekday}"));
        check(
            "* * * * fri-mon",
            &format!("day of week field `fri-mon`: range `fri-mon` goes backwards; {weekday}"),
        );
        check("*/0 * * * *", "minute field `*/0`: a step is a number from 1; allowed is 0-59");
        check("5/10 * * * *", "minute field `5/10`: a step needs a range or `*` before it; allowed is 0-59");
        check("1,,2 * * * *", "minute field `1,,2`: a value is missing; allowed is 0-59");
        check("-5 * * * *", "minute field `-5`: a value is missing; allowed is 0-59");
        check("+5 * * * *", "minute field `+5`: `+5` is no number; allowed is 0-59");
        check("@noon", "`@noon` is unknown; use @hourly, @daily, @weekly, @monthly, @yearly or 5 fields");
        check("@reboot", "`@reboot` has no time; units are kept running anyway");
        assert!(Cron::parse(&"*,".repeat(100_000)).is_err());
    }

    #[test]
    fn the_source_is_kept_for_display() {
        assert_eq!(Cron::parse("  0 6 * * MON ").unwrap().to_string(), "0 6 * * MON");
        assert_eq!(Cron::parse("@daily").unwrap().source(), "@daily");
        assert_ne!(Cron::parse("@daily"), Cron::parse("@hourly"));
    }
}
