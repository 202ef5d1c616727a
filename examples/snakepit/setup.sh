#!/bin/sh
# Makes the queue, fills it with the tasks in tasks/, and makes a folder for every `dir` in agents.toml. May be run again at any
# time: a task that is anywhere in the queue already is not put into it a second time.
set -eu
cd "$(dirname "$0")"
mkdir -p queue/todo queue/doing queue/done queue/failed results

sed -nE 's/^dir *= *"([^"]*)".*/\1/p' agents.toml | sort -u | while read -r dir; do
  mkdir -p "$dir"
done

for task in tasks/*.md; do
  name=$(basename "$task")
  [ -z "$(find queue -name "$name*")" ] || continue
  # Whole or not at all: a snake may be looking.
  cp "$task" "queue/.$name.new"
  mv "queue/.$name.new" "queue/todo/$name"
done
echo "queue/ is ready: $(find queue/todo -name '*.md' | wc -l | tr -d ' ') tasks to do"
