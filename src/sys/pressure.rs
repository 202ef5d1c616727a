//! Pressure stall information: is the machine itself starved?
//! Source of the format: Linux `Documentation/accounting/psi.rst`.

use crate::model::seen::HostSeen;

/// The host's pressure now; None where the kernel does not tell.
pub fn read() -> HostSeen {
    let text = |file: &str| std::fs::read_to_string(file).ok();
    HostSeen {
        cpu_pressure: text("/proc/pressure/cpu").and_then(|t| avg10(&t, "some")),
        memory_pressure: text("/proc/pressure/memory").and_then(|t| avg10(&t, "full")),
    }
}

/// The `avg10` of one line of a pressure file, percent.
fn avg10(text: &str, line: &str) -> Option<f64> {
    let fields = text.lines().find_map(|l| l.strip_prefix(line)?.strip_prefix(' '))?;
    let value = fields.split_whitespace().find_map(|f| f.strip_prefix("avg10="))?;
    value.parse().ok().filter(|v: &f64| v.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn avg10_is_read_from_the_right_line() {
        let text = "some avg10=3.25 avg60=1.00 avg300=0.10 total=123\nfull avg10=0.50 avg60=0.00 avg300=0.00 total=4\n";
        assert_eq!(avg10(text, "some"), Some(3.25));
        assert_eq!(avg10(text, "full"), Some(0.5));
        assert_eq!(avg10("some avg60=1\n", "some"), None);
        assert_eq!(avg10("some avg10=nan\n", "some"), None);
        assert_eq!(avg10("", "full"), None);
    }
}
