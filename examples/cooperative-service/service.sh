#!/bin/sh
# A cooperative service. The protocol is the part between the lines; the rest plays what the file `mode` asks for:
#   echo hang > mode        hung but alive: it prints, and its heartbeat stops
#   echo deaf > mode        the same, and it ignores TERM and its RESTART marker
#   echo orphan > mode      it hangs, and has a child that ignores TERM and outlives it
#   echo crash > mode       it ends with status 1, again after every start
#   echo early > mode       it ends before it wrote anything, after every start
#   git commit ...          its code is stale: it is asked to restart, and runs the new commit then
#   rm mode                 well again
mode() { cat mode 2>/dev/null; }
[ "$(mode)" != early ] || exit 3
# --- the protocol: begin ---
dir=${WATCHKEEPER_UNIT_DIR:?}
touch "$dir/started"                                                # what RESTART must be newer than
git rev-parse HEAD >"$dir/version.new" && mv "$dir/version.new" "$dir/version"
step=$(sed -n 's/^{"step": \([0-9][0-9]*\)}$/\1/p' "$dir/checkpoint.json" 2>/dev/null)     # where the run before us stopped
save() { echo "{\"step\": $step}" >"$dir/checkpoint.new" && mv "$dir/checkpoint.new" "$dir/checkpoint.json"; }
beat() {
    touch "$dir/heartbeat"
    [ -n "$(find "$dir/RESTART" -newer "$dir/started" 2>/dev/null)" ] || return 0
    rm -f "$dir/RESTART"; exit 42                                   # ours: taken away by us; started again at once
}
# --- the protocol: end ---
echo "$WATCHKEEPER_UNIT (phase '$WATCHKEEPER_PHASE') runs $(cat "$dir/version"), pid $$, goes on after step ${step:=0}"
while :; do
    case $(mode) in
        hang) echo "I print, and do no work" ;;
        deaf) trap '' TERM; echo "I do not hear you" ;;
        orphan)
            [ -n "$child" ] || { (trap '' TERM HUP; exec sleep 3600) & child=$!; echo "$child" >orphan; }
            ;;
        crash) exit 1 ;;
        *) beat; step=$((step + 1)); save ;;                        # after each step that is done, never in the midst of one
    esac
    sleep "${BEAT_S:-1}"
done
