#!/bin/sh
# Plays the builder or the adversary for a demo agent: git and sh, no intelligence. It is run in the agent's clone for each
# prompt that the agent gets, and what it prints is the agent's answer. It does not read the prompt: it acts on what was
# pushed, so that whatever was missed is found at the next prompt. Real agents never run this.
set -eu
me=$WATCHKEEPER_UNIT
docs=machine-docs
reviewers=${REVIEWERS-adversary}   # whose PASS a claim needs; "" = nobody's
each=${CLAIM_EACH:-step}           # a claim for each `step`, or one for the whole `phase`
inbox=$docs/${INBOX:-INBOX-builder.md}
flaw=${LOOKS_FOR:-wrong|unclear}   # what this reviewer finds fault with
pace=${PACE:-1}                    # s that a piece of work takes
cat > /dev/null   # the prompt
export GIT_AUTHOR_NAME="$me" GIT_AUTHOR_EMAIL="$me@localhost" GIT_COMMITTER_NAME="$me" GIT_COMMITTER_EMAIL="$me@localhost"

# What a predecessor left half done when it was killed: what is not pushed has not happened.
rm -f .git/index.lock
git rebase --abort 2>/dev/null || true
git fetch -q origin
git reset -q --hard origin/main
git clean -fdq

# Commits everything and pushes it; when somebody else was faster, goes on top of that and tries again.
publish() {
  git add -A
  git -c commit.gpgsign=false commit -q -m "$1"
  for _ in 1 2 3 4 5; do
    if git push -q origin HEAD:main 2>/dev/null; then
      echo "pushed: $1"
      return
    fi
    git pull -q --rebase origin main || break
  done
  echo "could not push: $1"
  exit 1
}

# The first phase whose status file has no done marker.
current() {
  for plan in plans/*.md; do
    name=$(basename "$plan" .md)
    grep -qx '## DONE' "$docs/STATUS-$name.md" 2>/dev/null || { echo "$name"; return; }
  done
}

steps() { sed -nE 's/^- ([a-z-]+): .*/\1/p' "plans/$1.md"; }

# What is claimed in a phase: its steps, or itself.
labels() {
  if [ "$each" = phase ]; then echo "$1"; else steps "$1" | sed "s/^/$1./"; fi
}

# The files that belong to a label.
files() {
  case $1 in
    *.*) echo "src/${1#*.}.txt" ;;
    *) steps "$1" | sed 's|.*|src/&.txt|' ;;
  esac
}

# The newest claim of a label, ten digits of its commit.
claim_of() { git log -1 --format=%H -F --grep="claim($1):" | cut -c1-10; }

# Whether $1 has said $2 of a claim.
has_said() { [ -n "$(git log --format=%H -F --author="$1 <" --grep="$2")" ]; }

passed() {
  for reviewer in $reviewers; do
    has_said "$reviewer" "review($1): PASS $2" || return 1
  done
}

build() {
  mkdir -p src
  for file in $(files "$1"); do
    [ -e "$file" ] && continue
    echo "building $file"
    sleep "$pace"
    echo "$file, built for $1" > "$file"
    # The first attempt has its faults, so that there is something to find.
    case $file in
      */lines.txt) echo "wrong: counts one line too many" >> "$file" ;;
      */table.txt) echo "unclear: which column is which" >> "$file" ;;
    esac
  done
  publish "claim($1): all of it works"
}

fix() {
  echo "fixing $1"
  sleep "$pace"
  for file in $(files "$1"); do
    sed -E '/^(wrong|unclear):/d' "$file" > "$file.new"
    mv "$file.new" "$file"
  done
  rm -f "$docs"/INBOX-builder*.md
  echo "what was found is fixed" >> "$(files "$1" | head -n 1)"
  publish "claim($1): what was found is fixed"
}

builder() {
  phase=$(current)
  [ -n "$phase" ] || { echo "every phase is done"; return; }
  for label in $(labels "$phase"); do
    claim=$(claim_of "$label")
    if [ -z "$claim" ]; then
      build "$label"
      claim=$(claim_of "$label")
    fi
    passed "$label" "$claim" && continue
    if ls "$docs"/INBOX-builder*.md >/dev/null 2>&1; then
      fix "$label"
    else
      echo "$label waits for its verdict"
    fi
    return
  done
  printf '# Status of %s\n\nEvery claim has its verdict.\n\n## DONE\n' "$phase" > "$docs/STATUS-$phase.md"
  publish "status($phase): done"
}

adversary() {
  answered=0
  for label in $(git log --reverse --format=%s | sed -nE 's/^claim\(([^)]*)\):.*/\1/p' | awk '!seen[$0]++'); do
    claim=$(claim_of "$label")
    has_said "$me" "($label): PASS $claim" && continue
    has_said "$me" "findings($label): $claim" && continue
    echo "checking $label at $claim"
    sleep "$pace"
    # shellcheck disable=SC2046 # file names without blanks
    if found=$(grep -hE "^($flaw):" $(files "$label")); then
      printf '# Findings on %s at %s\n\n%s\n' "$label" "$claim" "$found" > "$inbox"
      publish "findings($label): $claim"
    else
      echo "$label at $claim: holds" >> "$docs/REVIEW-$me.md"
      publish "review($label): PASS $claim"
    fi
    answered=1
  done
  [ "$answered" = 1 ] || echo "no claim is without an answer"
}

case $me in
  *adversary*) adversary ;;
  *) builder ;;
esac
