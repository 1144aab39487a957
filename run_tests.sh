#!/usr/bin/env bash
# Every check of the project. With arguments only pytest, with them: ./run_tests.sh tests/unit -k cancel
#
# The engine's tests run a second time on PostgreSQL and RabbitMQ, if both answer: TEST_DATABASE_URL and
# TEST_BROKER_URL say where (by default on this machine, with the passwords that they are installed with).
set -u
cd "$(dirname "${BASH_SOURCE[0]}")" || exit 1
. scripts/bootstrap.sh
bootstrap requirements-dev.txt
bin=.venv/bin

if [ $# -gt 0 ]; then
  exec "$bin/python" -m pytest "$@"
fi

# stage NAME COMMAND…: a heading, the command, its seconds. The first that fails ends everything.
stage() {
  local name=$1 started=$SECONDS code
  shift
  printf '\n=== %s\n' "$name"
  "$@"
  code=$?
  if [ $code -ne 0 ]; then
    printf '\n=== %s: FAILED with exit code %d after %d s\n' "$name" "$code" $((SECONDS - started))
    exit "$code"
  fi
  printf '=== %s: ok, %d s\n' "$name" $((SECONDS - started))
}

checks_data=$(mktemp -d) || exit 1
trap 'rm -rf "$checks_data"' EXIT
secret_key=$("$bin/python" -c 'import secrets; print(secrets.token_urlsafe(64))')

check_for_production() {
  PUBLIC_URL=https://example.org SECRET_KEY=$secret_key DEBUG=0 DATA_DIR=$checks_data \
    "$bin/python" manage.py check --deploy --fail-level WARNING
}

check_migrations() {
  DATA_DIR=$checks_data "$bin/python" manage.py makemigrations --check --dry-run
}

stage "ruff check" "$bin/ruff" check .
stage "ruff format" "$bin/ruff" format --check .
stage "mypy" env DATA_DIR="$checks_data" "$bin/mypy"
stage "import rules" "$bin/lint-imports"
stage "migrations" check_migrations
stage "production settings" check_for_production
stage "pytest, SQLite and embedded Redis" "$bin/python" -m pytest

database=${TEST_DATABASE_URL:-postgres://postgres:postgres@127.0.0.1:5432/postgres}
broker=${TEST_BROKER_URL:-amqp://guest:guest@127.0.0.1:5672//}
if "$bin/python" scripts/answers.py "$database" "$broker"; then
  stage "pytest, PostgreSQL and RabbitMQ" env TEST_DATABASE_URL="$database" TEST_BROKER_URL="$broker" \
    "$bin/python" -m pytest tests/integration/test_constraints.py
else
  printf '\n=== pytest, PostgreSQL and RabbitMQ: skipped (TEST_DATABASE_URL and TEST_BROKER_URL say where they are)\n'
fi

printf '\nAll is well, %d s\n' "$SECONDS"
