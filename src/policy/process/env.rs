//! A new value for a variable: half, double, or a text. Deliberately not here: where values are kept.

use crate::config::EnvChange;
use std::collections::BTreeMap;

/// Whole numbers are halved to this at least, when no floor is named.
const FLOOR: i64 = 1;

/// What a remedy sets, and what could not be reckoned, in words.
pub(super) fn changed(
    set: &BTreeMap<String, EnvChange>,
    value: impl Fn(&str) -> Option<String>,
) -> (BTreeMap<String, String>, Vec<String>) {
    let (mut to, mut troubles) = (BTreeMap::new(), Vec::new());
    for (name, change) in set {
        match apply(change, value(name).as_deref()) {
            Ok(new) => drop(to.insert(name.clone(), new)),
            Err(why) => troubles.push(format!("{name}: {why}")),
        }
    }
    (to, troubles)
}

/// The new value, or why there is none.
fn apply(change: &EnvChange, now: Option<&str>) -> Result<String, String> {
    match change {
        EnvChange::Literal(text) => Ok(text.clone()),
        EnvChange::Half { floor } => half(number(now, "half")?, *floor),
        EnvChange::Double { ceiling } => double(number(now, "double")?, *ceiling),
    }
}

/// A number as it is written: whole or not.
#[derive(Clone, Copy, Debug)]
enum Number {
    Whole(i64),
    Real(f64),
}

fn number(now: Option<&str>, word: &str) -> Result<Number, String> {
    let text = now.ok_or_else(|| format!("it has no value that could be made {word}"))?.trim();
    if let Ok(whole) = text.parse::<i64>() {
        return Ok(Number::Whole(whole));
    }
    let real = text.parse::<f64>().ok().filter(|real| real.is_finite());
    let shown = crate::base::text::one_line(text, 40);
    real.map(Number::Real).ok_or_else(|| format!("`{shown}` is no number that could be made {word}"))
}

fn half(now: Number, floor: Option<f64>) -> Result<String, String> {
    match now {
        Number::Whole(now) => {
            let floor = floor.map_or(FLOOR, |floor| floor.ceil() as i64);
            let new = now.div_euclid(2).max(floor);
            if new >= now {
                return Err(format!("{now} is at its floor {floor} already"));
            }
            Ok(new.to_string())
        }
        Number::Real(now) => {
            let new = floor.map_or(now / 2.0, |floor| (now / 2.0).max(floor));
            if new >= now {
                return Err(format!("{now} is at its floor {} already", floor.unwrap_or(0.0)));
            }
            Ok(new.to_string())
        }
    }
}

fn double(now: Number, ceiling: Option<f64>) -> Result<String, String> {
    let at_ceiling = |now: String| match ceiling {
        Some(ceiling) => format!("{now} is at its ceiling {ceiling} already"),
        None => format!("{now} can't be doubled"),
    };
    match now {
        Number::Whole(now) => {
            let ceiling = ceiling.map_or(i64::MAX, |ceiling| ceiling.floor() as i64);
            let new = now.checked_mul(2).map(|new| new.min(ceiling)).filter(|new| *new > now);
            new.map(|new| new.to_string()).ok_or_else(|| at_ceiling(now.to_string()))
        }
        Number::Real(now) => {
            let new = ceiling.map_or(now * 2.0, |ceiling| (now * 2.0).min(ceiling));
            if !new.is_finite() || new <= now {
                return Err(at_ceiling(now.to_string()));
            }
            Ok(new.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(change: &EnvChange, now: Option<&str>, want: Result<&str, &str>) {
        let got = apply(change, now);
        match (got, want) {
            (Ok(got), Ok(want)) => assert_eq!(got, want),
            (Err(got), Err(want)) => assert!(got.contains(want), "{got}"),
            (got, want) => panic!("{now:?}: {got:?}, not {want:?}"),
        }
    }

    #[test]
    fn values_are_halved_doubled_and_set_within_their_bounds() {
        let half = EnvChange::Half { floor: None };
        check(&half, Some("8"), Ok("4"));
        check(&half, Some(" 7 "), Ok("3"));
        check(&half, Some("1"), Err("at its floor 1"));
        check(&half, Some("0"), Err("at its floor"));
        check(&half, Some("0.5"), Ok("0.25"));
        check(&half, Some("eight"), Err("`eight` is no number"));
        check(&half, Some("nan"), Err("no number"));
        check(&half, None, Err("no value"));
        let floored = EnvChange::Half { floor: Some(4.0) };
        check(&floored, Some("6"), Ok("4"));
        check(&floored, Some("4"), Err("at its floor 4"));
        check(&floored, Some("2"), Err("at its floor 4"));
        let double = EnvChange::Double { ceiling: None };
        check(&double, Some("8"), Ok("16"));
        check(&double, Some("9223372036854775807"), Err("can't be doubled"));
        check(&double, Some("1e308"), Err("can't be doubled"));
        check(&double, Some("0"), Err("can't be doubled"));
        let bounded = EnvChange::Double { ceiling: Some(10.0) };
        check(&bounded, Some("8"), Ok("10"));
        check(&bounded, Some("10"), Err("at its ceiling 10"));
        check(&EnvChange::Literal("half".into()), None, Ok("half"));
    }
}
