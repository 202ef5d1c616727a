# Sourced by smoke.sh and tests/run: gets a program that is missing. Not meant to be run by itself.
#
# need COMMAND PACKAGE    0: it is there. 1: it could not be got, which is said in one line.
# enter_nix SCRIPT ARGS…  becomes `nix develop --command SCRIPT ARGS…` where nix is; returns where it is not.

need() {
  command -v "$1" >/dev/null && return 0
  if command -v apt-get >/dev/null; then
    need_as_root apt-get install -y -qq --no-install-recommends "$2" ||
      { need_as_root apt-get update -qq && need_as_root apt-get install -y -qq --no-install-recommends "$2"; } || true
  elif command -v brew >/dev/null; then
    echo "installing $2: brew install $2" >&2
    brew install -q "$2" >&2 || true
  fi
  command -v "$1" >/dev/null && return 0
  echo "$0: \`$1\` is missing: install it (apt install $2, brew install $2, or enter \`nix develop\`), then run this again" >&2
  return 1
}

need_as_root() {
  if [ "$(id -u)" = 0 ]; then
    echo "installing: $*" >&2
    DEBIAN_FRONTEND=noninteractive "$@" >/dev/null 2>&1
  elif command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
    echo "installing: sudo $*" >&2
    sudo DEBIAN_FRONTEND=noninteractive "$@" >/dev/null
  else
    return 1
  fi
}

enter_nix() {
  # Inside already, or none here.
  [ -z "${IN_NIX_SHELL:-}" ] && command -v nix >/dev/null || return 0
  echo "entering \`nix develop\`, which has all that is needed" >&2
  exec nix --extra-experimental-features 'nix-command flakes' develop --command "$@"
}
