#!/bin/sh
# Returns to the queue what was claimed by somebody who has not touched it for STALE_MINUTES: dead, stopped or lost.
set -eu
cd "$(dirname "$0")"
stale=${STALE_MINUTES:-30}
every=${LOOK_EVERY_S:-60}
echo "returning what nobody has touched for $stale minutes"
while :; do
  find queue/doing -type f -mmin "+$stale" | while read -r claim; do
    name=$(basename "$claim")
    task=${name%@*}
    # Not over a task of that name that is there again.
    [ -e "queue/todo/$task" ] && continue
    # It may be finished at this very moment.
    if mv "$claim" "queue/todo/$task" 2>/dev/null; then
      echo "$(date +%H:%M:%S) returned $task, claimed by ${name##*@}"
    fi
  done
  sleep "$every"
done
