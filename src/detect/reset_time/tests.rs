//! The table of phrasings, and hostile texts.

use super::*;
use std::time::Instant;

const TABLE: &str = include_str!("../../../fixtures/reset_times.tsv");

/// `\n` and `\u{a0}` of the table.
fn unescape(text: &str) -> String {
    let text = text.replace("\\n", "\n").replace("\\r", "\r");
    let mut parts = text.split("\\u{");
    let mut out = parts.next().unwrap().to_owned();
    for part in parts {
        let (code, rest) = part.split_once('}').unwrap();
        out.push(char::from_u32(u32::from_str_radix(code, 16).unwrap()).unwrap());
        out.push_str(rest);
    }
    out
}

fn at(text: &str) -> Wall {
    Wall::parse(text).unwrap()
}

#[track_caller]
fn check(text: &str, want: Option<&str>) {
    let got = parse(text, at("2026-11-21T10:00:00Z"), "UTC").map(|t| t.to_string());
    assert_eq!(got.as_deref(), want, "{text:?}");
}

#[test]
fn every_phrasing_of_the_table_is_read() {
    let rows = TABLE.lines().filter(|l| !l.is_empty() && !l.starts_with('#')).skip(1);
    let (mut read, mut none, mut wrong) = (0, 0, Vec::new());
    for row in rows {
        let fields: Vec<&str> = row.split('\t').collect();
        let [now, zone, text, want, _source] = fields[..] else { panic!("a row has 5 columns: {row:?}") };
        let got = parse(&unescape(text), at(now), zone).map_or("-".to_owned(), |t| t.to_string());
        if got != want {
            wrong.push(format!("{text}\n   at {now} in {zone}: want {want}, got {got}"));
        }
        if want == "-" { none += 1 } else { read += 1 }
    }
    assert!(wrong.is_empty(), "{} of {} rows are wrong:\n{}", wrong.len(), read + none, wrong.join("\n"));
    assert!(read >= 80 && none >= 15, "{read} rows with a time, {none} without");
}

#[test]
fn the_present_never_makes_it_panic() {
    for now in [i64::MIN, i64::MAX, 0, 253_402_300_799_999, -377_705_116_800_000] {
        for text in [
            "resets 3pm",
            "resets tomorrow",
            "resets Monday",
            "resets Feb 29",
            "in 3 days",
            "resetsAt: 1763763200",
        ] {
            parse(text, Wall(now), "Pacific/Apia");
        }
    }
    check("resets in 999999999 weeks 999999999 days", None);
    check("resets in 99999999999999999999 days", None);
    check("resets 9999-12-31 23:59", None);
    check("retry after P9999999W", None);
    check("resetsAt: 9999999999999", None);
}

#[test]
fn only_the_end_of_a_long_text_counts() {
    let noise = "ä resets 4pm ".repeat(5000);
    check(&format!("{noise}\n\nresets 3pm"), Some("2026-11-21T15:00:00Z"));
    check(&format!("resets 3pm{}", " .".repeat(TEXT_MAX)), None);
}

/// Bounded, not merely linear: 100 KB take no longer than the 4 KB that are looked at. The bound is generous, for a
/// debug build on a busy machine; a quadratic reading of 100 KB would take minutes.
#[test]
fn hostile_text_returns_quickly() {
    let started = Instant::now();
    for piece in [
        "resets ",
        "resets in ",
        "reset until wait ",
        "1 day ",
        "1d1h1m1s1ms",
        "(((((",
        "resets at at at at ",
        "Feb 4 ",
        "10:27",
        "resets 10:27:33.",
        "retry-after-",
        "|",
        "│\n",
        "reached|",
        "1763763200",
        "P1D",
        "aA",
        "America/",
        "\u{200b}",
        "resets 2026-11-23T08:15:00+",
        "until until until 3 ",
        "İ",
        "\u{0}",
    ] {
        let text = piece.repeat(100_000 / piece.len());
        parse(&text, at("2026-11-21T10:00:00Z"), "Europe/Berlin");
    }
    assert!(started.elapsed().as_secs() < 5, "took {:?}", started.elapsed());
}

/// Every text that is cut anywhere, and every pair of fragments, is read without a panic.
#[test]
fn fragments_never_panic() {
    let now = at("2026-11-21T10:00:00Z");
    for row in TABLE.lines() {
        let text = unescape(&row.replace("\\u{..}", ""));
        for (cut, _) in text.char_indices() {
            parse(&text[cut..], now, "Europe/Berlin");
            parse(&text[..cut], now, "Europe/Berlin");
        }
    }
}
