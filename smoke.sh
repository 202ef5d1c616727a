#!/usr/bin/env bash
# Try it in a minute: builds watchkeeper and runs its demo, which needs no account and touches nothing of yours.
# Wants git and a Rust toolchain; gets tmux if it is missing. Arguments are handed on: `./smoke.sh --keep`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. tests/need.sh

if ! command -v cargo >/dev/null || ! command -v tmux >/dev/null; then
  enter_nix ./smoke.sh "$@"
fi
if ! command -v cargo >/dev/null; then
  echo "$0: \`cargo\` is missing: install Rust 1.89 or newer (https://rustup.rs), then run this again" >&2
  exit 69
fi
need tmux tmux || exit 69

echo "building (a minute or two the first time)" >&2
cargo build --release -q
exec "${CARGO_TARGET_DIR:-target}/release/watchkeeper" demo "$@"
