# Sourced by start_services.sh and run_tests.sh: makes .venv and keeps it as the requirements say.
# shellcheck shell=bash

fail() {
  printf '%s\n' "$*" >&2
  exit 1
}

# A Python of 3.11 or newer: the one that PYTHON names, else the first that is found.
find_python() {
  local candidate
  for candidate in ${PYTHON:+"$PYTHON"} python3 python3.14 python3.13 python3.12 python3.11 python; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
      printf '%s\n' "$candidate"
      return 0
    fi
  done
  return 1
}

is_whole() {
  .venv/bin/python -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

make_venv() {
  local python
  python=$(find_python) || fail "Python 3.11 or newer is needed and was not found. Install it, or name one: PYTHON=/path/to/python $0"
  "$python" -c 'import venv, ensurepip' >/dev/null 2>&1 ||
    fail "$python can't make virtual environments. On Debian and Ubuntu: apt install python3-venv"
  rm -rf .venv
  printf 'Making a virtual environment in .venv\n'
  "$python" -m venv .venv || { rm -rf .venv; fail "$python could not make .venv"; }
}

# Seconds on the same line while something long goes on; nothing where the output is no terminal.
tick() {
  local seconds=0
  while sleep 1; do
    seconds=$((seconds + 1))
    printf '\r%s %d s ' "$1" "$seconds"
  done
}

# install FILE: what FILE pins, unless it is there. A stamp in .venv remembers the FILE that was installed last.
install() {
  local file=$1 stamp=.venv/.installed-$1 log=.venv/install.log message ticker='' started=$SECONDS
  if [ -f "$stamp" ] && cmp -s "$file" "$stamp"; then
    return 0
  fi
  message="Installing packages (first start, or $file changed) ..."
  if [ -t 1 ]; then
    tick "$message" &
    ticker=$!
    # shellcheck disable=SC2064
    trap "kill $ticker 2>/dev/null" EXIT
  fi
  printf '%s' "$message"
  if .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-input -r "$file" >"$log" 2>&1; then
    stop_ticking "$ticker"
    if [ -n "$ticker" ]; then
      printf '\r%s' "$message"
    fi
    printf ' %d s\n' $((SECONDS - started))
    cp "$file" "$stamp"
  else
    stop_ticking "$ticker"
    printf '\n'
    tail -n 15 "$log" >&2
    fail "The packages of $file could not be installed (see above, and all of it in $log). Run $0 again to retry."
  fi
}

stop_ticking() {
  if [ -n "$1" ]; then
    kill "$1" 2>/dev/null
    wait "$1" 2>/dev/null
    trap - EXIT
  fi
}

# bootstrap FILE: one at a time, where the system has flock.
bootstrap() {
  if command -v flock >/dev/null 2>&1; then
    exec 9<.
    flock 9
  fi
  is_whole || make_venv
  install "$1"
  exec 9<&-
}
