# Sourced by the lab's scripts. The lab is a folder with everything in it: $WATCHKEEPER_LAB, else watchkeeper-lab in the
# folder for temporary files. `env` in it says what is up, as lines of KEY=VALUE for whoever runs tests.

LAB=${WATCHKEEPER_LAB:-${TMPDIR:-/tmp}/watchkeeper-lab}

# packages NAME…: installs what is missing, of Debian's packages. Only as root: nothing else may start these daemons.
packages() {
  local missing=() name
  for name in "$@"; do dpkg -s "$name" >/dev/null 2>&1 || missing+=("$name"); done
  [ ${#missing[@]} -eq 0 ] && return 0
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 1
  local install=(env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}")
  "${install[@]}" >"$LAB/apt.log" 2>&1 ||
    { apt-get update -qq >>"$LAB/apt.log" 2>&1; "${install[@]}" >>"$LAB/apt.log" 2>&1; }
}

# say KEY VALUE: puts a line into `env` in place of the one with that key.
say() {
  touch "$LAB/env"
  { grep -v "^$1=" "$LAB/env" || true; [ -z "$2" ] || echo "$1=$2"; } >"$LAB/env.new"
  mv "$LAB/env.new" "$LAB/env"
}

# end_pid FILE: ends the process that a pid file names, and waits for it.
end_pid() {
  local pid i
  [ -s "$1" ] || return 0
  pid=$(cat "$1")
  kill "$pid" 2>/dev/null || true
  for i in $(seq 50); do [ -d "/proc/$pid" ] && ! grep -q '^State:.Z' "/proc/$pid/status" 2>/dev/null || break; sleep .1; done
  [ -d "/proc/$pid" ] && kill -9 "$pid" 2>/dev/null
  rm -f "$1"
}

# unmount what lies below the lab.
unmount_all() {
  awk -v lab="$1/" 'index($2, lab) == 1 { print $2 }' /proc/mounts | sort -r | while read -r m; do umount "$m"; done
}
