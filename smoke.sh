#!/usr/bin/env bash
# Try it in a minute: builds watchkeeper and drives the builder-adversary example through both phases of its plan, with one
# agent killed and one hung on the way. The agents are scripted; it needs no account and touches nothing of yours: its files,
# its git repository and its tmux server are in one temporary folder, which is removed at the end.
#
#   ./smoke.sh            build, run, check, tear down
#   ./smoke.sh --keep     leave the fleet and its folder standing at the end, to look around in
#
# Wants git and a Rust toolchain; gets tmux if it is missing. WATCHKEEPER=PROGRAM skips the build.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. tests/need.sh

keep=
for word in "$@"; do
  case $word in
    --keep) keep=yes ;;
    *) echo "usage: $0 [--keep]" >&2; exit 2 ;;
  esac
done

if [ -z "${WATCHKEEPER:-}" ]; then
  if ! command -v cargo >/dev/null || ! command -v tmux >/dev/null; then
    enter_nix ./smoke.sh "$@"
  fi
  if ! command -v cargo >/dev/null; then
    echo "$0: \`cargo\` is missing: install Rust 1.89 or newer (https://rustup.rs), then run this again" >&2
    exit 69
  fi
fi
need tmux tmux || exit 69
need git git || exit 69

if [ -z "${WATCHKEEPER:-}" ]; then
  echo "building (a minute or two the first time)" >&2
  cargo build --release -q
  WATCHKEEPER=${CARGO_TARGET_DIR:-target}/release/watchkeeper
fi
WATCHKEEPER=$(cd "$(dirname "$WATCHKEEPER")" && pwd)/$(basename "$WATCHKEEPER")

SECONDS=0   # the story begins here, not with the build

# A short path: a socket's name has room for about 100 bytes.
base=${TMPDIR:-/tmp}
[ "${#base}" -le 40 ] || base=/tmp
dir=$(mktemp -d "${base%/}/watchkeeper-smoke-XXXXXX")
export TMUX_TMPDIR=$dir PACE=0.3
unset TMUX
fleet=$dir/fleet
state=$fleet/.watchkeeper
config=$fleet/agents.toml
watchdog=
trouble=0

wk() { "$WATCHKEEPER" --config "$config" "$@"; }
tmux_() { tmux -u -L builder-adversary "$@" 2>/dev/null; }
# Told also from within a condition, whose own output is dropped.
exec 3>&1
step() { printf '%5s s  >>>  %s\n' "$SECONDS" "$*" >&3; }
pid_of() { tmux_ display-message -p -t "=ba-$1:" '#{pane_pid}'; }

tear_down() {
  status=$?
  trap - EXIT INT TERM
  [ -z "$watchdog" ] || kill "$watchdog" 2>/dev/null || true
  [ -z "$watchdog" ] || wait "$watchdog" 2>/dev/null || true
  if [ -n "$keep" ] && [ "$status" -lt 128 ]; then
    printf '\nKept. To look around, and to end it:\n'
    printf '  export TMUX_TMPDIR=%s WATCHKEEPER_CONFIG=%s\n' "$dir" "$config"
    printf '  %s status        %s run\n' "$WATCHKEEPER" "$WATCHKEEPER"
    printf '  tmux -L builder-adversary kill-server; rm -r %s\n' "$dir"
  else
    tmux_ kill-server || true
    rm -rf "$dir"
  fi
  exit "$status"
}
trap tear_down EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# until SECONDS WHAT COMMAND…: waits until the command succeeds.
until_() {
  local end=$((SECONDS + $1)) what=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    if [ "$SECONDS" -ge "$end" ] || ! kill -0 "$watchdog" 2>/dev/null; then
      printf '\nWaited in vain for %s. The last events:\n' "$what"
      wk events --last 15 || true
      cat "$state/status" || true
      exit 1
    fi
    sleep 0.2
  done
}

pushed() { git -C "$fleet/work/origin.git" log --format=%s main | grep -qE "$1"; }
happened() { cat "$state"/events/*.jsonl 2>/dev/null | grep -qE "$1"; }
# What each turn used, by the agents' own transcripts, oldest first; the sum of that; and what the watchdog counted.
turns() {
  cat "$fleet"/work/.demo/*/*.jsonl | sort -t'"' -k8,8 |
    sed -nE 's/^\{"type":"usage",.*"input":([0-9]+),"output":([0-9]+),.*/\1 \2/p' | awk '{ print $1 + $2 }'
}
sum() { awk '{ n += $1 } END { print n + 0 }'; }
counted() { wk status --json | sed -nE 's/^ *"tokens": ([0-9]+).*/\1/p' | sum; }
all_is_counted() { [ "$(counted)" = "$(turns | sum)" ]; }
# The grand total of `tokens --by $1`.
total_by() { wk tokens --by "$1" --json | sed -nE '/^  "total": \{/,/\}/s/^ *"total": ([0-9]+).*/\1/p'; }
phase_is() { grep -q "\"id\": \"$1\"" "$state/phase.json"; }

# check WHAT COMMAND…
check() {
  local what=$1
  shift
  if "$@" >/dev/null 2>&1; then
    printf '  yes   %s\n' "$what"
  else
    printf '  NO    %s\n' "$what"
    trouble=1
  fi
}

step "watchkeeper init builder-adversary, ./setup.sh; the times made short"
"$WATCHKEEPER" init builder-adversary "$fleet" >/dev/null
"$fleet/setup.sh" >/dev/null
# Two edits: how often it looks and what counts as silence; and that a hung adversary is not nudged first.
awk '{ print }
  /^signal_interval/ { print "stall_idle = 5" }
  /^prompt = "prompts.adversary/ { print "ladder = { tiers = [\"kill-start\", \"alert\"], cooldown_s = 2, quiet_s = 2 }" }' \
  "$config" | sed 's/^signal_interval = 5 /signal_interval = 0.5 /' > "$config.new"
mv "$config.new" "$config"
wk check >/dev/null

step "watchkeeper run: two agents, a plan of two phases"
# What the watchdog says, but for the single steps of typing and of each turn, and without the day.
tell() {
  while IFS= read -r line; do
    case $line in
      *' act '*' text' | *'  state '* | watching*) ;;
      *) printf '         %s\n' "${line#????-??-?? }" ;;
    esac
  done
}
"$WATCHKEEPER" --config "$config" run > >(tell) 2>&1 &
watchdog=$!

until_ 60 "the first claim" pushed '^claim\(1-count.lines\)'
# Its pid may be another one by the time that it is used.
victim=
kill_builder() { victim=$(pid_of builder) && kill -9 "$victim"; }
until_ 20 "a builder to kill" kill_builder
step "kill -9 $victim, the builder, just after its first claim"
until_ 60 "the builder's return" happened 'it is dead \(killed by signal 9\)'
until_ 120 "the second phase" phase_is 2-report
step "phase 1-count is done; both agents begin the next one"

until_ 60 "the adversary's second kickoff" happened 'delivered \(kickoff\): Phase 2-report begins. You are `adversary`'
step "the adversary hangs: its spinner turns, and nothing comes"
wk nudge adversary HANG 0 >/dev/null
hung=$(pid_of adversary)
is_replaced() {
  # A machine that is short of CPU holds a kill back, rightly; a person who knows better lets it through.
  if wk status --json | grep -q 'veto: the machine is'; then
    step "watchkeeper approve adversary: the machine is short of CPU, and the kill was held back"
    wk approve adversary
  fi
  [ "$(pid_of adversary)" != "$hung" ]
}
until_ 120 "the end of the hung adversary" is_replaced
step "the adversary was ended and started anew, as pid $(pid_of adversary)"

until_ 120 "the end of the plan" test -e "$state/SEQUENCE-COMPLETE"
took=$SECONDS
step "SEQUENCE-COMPLETE"
until_ 30 "the news of it" grep -q 'the plan is complete' "$state/outbox.jsonl"

until_ 30 "the count of the last turn" all_is_counted

printf '\nWhat was pushed, oldest first:\n'
git -C "$fleet/work/origin.git" log --reverse --format='  %an: %s' main

printf '\nwatchkeeper tokens --by gate (what demo agents use is made up: a token for every four bytes read or said)\n'
wk tokens --by gate | sed 's/^/  /'

printf '\nIs it all there?\n'
subjects=$(git -C "$fleet/work/origin.git" log --format=%s main)
every_step_passed() {
  for label in 1-count.lines 1-count.words 2-report.table 2-report.help; do
    grep -qF "review($label): PASS" <<<"$subjects" || return 1
  done
}
check "each step was claimed, reviewed and passed" every_step_passed
check "phase.json says since when the plan is complete" grep -qE '"completed": "20' "$state/phase.json"
check "git.json knows the last commit" grep -q "$(git -C "$fleet/work/origin.git" rev-parse main)" "$state/git.json"
check "no ping is owed any more" grep -qE '"pings": \[\]' "$state/git.json"
check "the killed builder was restarted, and the reason is in the events" happened 'it is dead \(killed by signal 9\)'
check "the hung adversary was ended on proof: two stale clocks" happened 'stale clocks needed'
check "people were told that the plan is complete" grep -q 'the plan is complete' "$state/outbox.jsonl"
check "both agents live, and rest" sh -c "tmux -L builder-adversary list-panes -a -F '#{pane_dead}' | grep -c 0 | grep -qx 2"
# A record for each phase before its first claim and for each claimed step; none where nobody's turn ended in between.
gates="1-count 1-count:1-count.lines 1-count:1-count.words 2-report 2-report:2-report.table 2-report:2-report.help"
ledger_is_in_order() {
  local ids
  ids=$(sed -nE 's/^\{"phase_id":"([^"]*)".*/\1/p' "$state/token-log.jsonl")
  [ "$(tr ' ' '\n' <<<"$gates" | grep -xF "$ids")" = "$ids" ] || return 1
  for gate in 1-count:1-count.words 2-report:2-report.help; do
    grep -qxF "$gate" <<<"$ids" || return 1
  done
  ! grep -q '"total":0,"messages":0' "$state/token-log.jsonl"
}
# All but a turn that ended after the plan did.
ledger_adds_up() {
  local ledger
  ledger=$(sed -nE 's/.*"total":([0-9]+),"messages":[0-9]+\}\}$/\1/p' "$state/token-log.jsonl" | sum)
  for by in gate phase agent; do
    [ "$(total_by "$by")" = "$ledger" ] || return 1
  done
  [ "$ledger" = "$(counted)" ] || [ $((ledger + $(turns | tail -n 1))) = "$(counted)" ]
}
check "each turn that ended was counted once, also of agents that were killed later" all_is_counted
check "token-log.jsonl has each phase and step once, in order, and nothing empty" ledger_is_in_order
check "its records add up to what the agents used" ledger_adds_up
if [ -z "$keep" ]; then
  wk down >/dev/null 2>&1 || true
  check "down leaves nothing running" sh -c "! kill -0 $hung 2>/dev/null && ! tmux -L builder-adversary list-panes -a -F '#{pane_dead}' 2>/dev/null | grep -q 0"
fi

if [ "$trouble" = 0 ]; then
  printf '\nAll of it, in %s s. `watchkeeper demo` shows single agents in trouble; examples/README.md has more fleets.\n' "$took"
else
  printf '\nNot all of it.\n'
fi
exit "$trouble"
