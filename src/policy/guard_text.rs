//! stub
pub fn guarded(text: &str) -> String {
    text.to_owned()
}
pub fn is_ours(composer: &str, sent: &str) -> bool {
    composer == sent
}
