#!/bin/sh
# Plays a snake or the mender for a demo agent: no intelligence. It is run in the agent's folder for each prompt that the agent
# gets, and what it prints is the agent's answer. Real agents never run this.
set -eu
me=$WATCHKEEPER_UNIT
cd ../..
queue=queue
pace=${PACE:-1}   # s that a task takes
cat > /dev/null   # the prompt

# Prints the path of a claim: an own one that was left when we were killed, else the next task. Fails when there is none.
take() {
  for claim in "$queue"/doing/*@"$me"; do
    [ -e "$claim" ] && { echo "$claim"; return; }
  done
  for task in "$queue"/todo/*.md; do
    claim=$queue/doing/$(basename "$task")@$me
    # Touched first, so that it is never seen with the age of the task. Only one rename of a file can succeed.
    touch -c "$task"
    mv "$task" "$claim" 2>/dev/null && { echo "$claim"; return; }
  done
  return 1
}

snake() {
  while claim=$(take); do
    name=$(basename "$claim" "@$me")
    echo "$name: $(head -n 1 "$claim")"
    sleep "$pace"
    touch -c "$claim"   # still at it; a real one does so every few minutes
    if grep -q '^vague$' "$claim"; then
      echo "$me: it does not say what is wanted" >> "$claim"
      mv "$claim" "$queue/failed/$name" && echo "$name: failed"
    else
      echo "$(head -n 1 "$claim"), done by $me" > "results/$name"
      # Gone: somebody thought us dead and returned it. Then the result is theirs to make again.
      mv "$claim" "$queue/done/$name" 2>/dev/null || echo "$name: the claim was lost"
    fi
  done
  echo "the queue is empty"
}

mender() {
  for task in "$queue"/failed/*.md; do
    [ -e "$task" ] || { echo "nothing failed"; return; }
    name=$(basename "$task")
    sed '/^vague$/d' "$task" > "$queue/.$name.new"
    mv "$queue/.$name.new" "$queue/todo/$name"
    rm "$task"
    echo "$name: says what is wanted now, and is in the queue again"
  done
}

case $me in
  mender) mender ;;
  *) snake ;;
esac
