#!/bin/sh
# Makes what the fleet works on: a bare repository that holds the plans, and a clone for every `dir` and `repo` in
# agents.toml. May be run again at any time: what is there stays, what is missing is made.
set -eu
cd "$(dirname "$0")"
mkdir -p work

if [ ! -d work/origin.git ]; then
  rm -rf work/new.git work/new
  git init -q --bare work/new.git
  git -C work/new.git symbolic-ref HEAD refs/heads/main
  git clone -q work/new.git work/new 2>/dev/null   # it warns that it is empty
  cp -R plans work/new/
  mkdir work/new/machine-docs
  echo "Status files, verdicts and inboxes of the agents." > work/new/machine-docs/README.md
  git -C work/new checkout -q -B main
  git -C work/new add .
  git -C work/new -c user.name=setup -c user.email=setup@localhost -c commit.gpgsign=false commit -q -m "the plans"
  git -C work/new push -q origin main
  rm -rf work/new
  mv work/new.git work/origin.git
fi

sed -nE 's/^(dir|repo) *= *"([^"]*)".*/\2/p' agents.toml | sort -u | while read -r clone; do
  [ -d "$clone/.git" ] && continue
  rm -rf "$clone"
  git clone -q work/origin.git "$clone"
  git -C "$clone" config user.name "$(basename "$clone")"   # commits say who made them
  git -C "$clone" config user.email "$(basename "$clone")@localhost"
done
echo "work/ is ready: origin.git and a clone for each agent"
