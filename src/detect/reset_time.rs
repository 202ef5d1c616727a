//! stub
pub fn parse(_text: &str, _now: crate::base::time::Wall, _zone: &str) -> Option<crate::base::time::Wall> {
    None
}
