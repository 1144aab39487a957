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

# Two lanes, because the tests wait more than they work; they share nothing. The second one's output comes at the end.
database=${TEST_DATABASE_URL:-postgres://postgres:postgres@127.0.0.1:5432/postgres}
broker=${TEST_BROKER_URL:-amqp://guest:guest@127.0.0.1:5672//}
# What the database and the broker matter to, run again on the big ones.
on_services=(integration/test_{brake,checkpoints,constraints,executions,node_stops,pauses,registry_races}
  integration/test_{retrying,statistics,stop_trials,stops,tombstones} acceptance/test_{cancel,crashes,node_stops,retry,trees})
on_services=("${on_services[@]/#/tests/}")
on_services=("${on_services[@]/%/.py}")
# These share no worker with others; in the second lane, so that both take equally long.
apart=(tests/acceptance/test_{celery_tasks,recovery,start_services}.py)

# tests_of STAGE [pytest options]
tests_of() {
  local stage=$1
  shift
  case $stage in
    acceptance) set -- tests/acceptance tests/chaos "${apart[@]/#/--ignore=}" "$@" ;;
    others) set -- tests/unit tests/integration tests/architecture "${apart[@]}" "$@" ;;
    services) set -- "${on_services[@]}" "$@" ;;
  esac
  if [ "$stage" = services ]; then
    export TEST_DATABASE_URL=$database TEST_BROKER_URL=$broker
  fi
  "$bin/python" -m pytest -o cache_dir="$checks_data/cache-$stage" "$@"
}

first_lane() {
  (stage "pytest, SQLite and embedded Redis: acceptance, chaos" tests_of acceptance)
  echo $? >"$checks_data/code-acceptance"
}

second_lane() {
  (stage "pytest, SQLite and embedded Redis: unit, integration, architecture, some of acceptance" tests_of others)
  echo $? >"$checks_data/code-others"
  if "$bin/python" scripts/answers.py "$database" "$broker"; then
    (stage "pytest, PostgreSQL and RabbitMQ: integration, acceptance" tests_of services)
    echo $? >"$checks_data/code-services"
  else
    printf '\n=== pytest, PostgreSQL and RabbitMQ: skipped (TEST_DATABASE_URL and TEST_BROKER_URL say where they are)\n'
    echo 0 >"$checks_data/code-services"
  fi
}

second_lane >"$checks_data/second.log" 2>&1 &
second=$!
trap 'kill "$second" 2>/dev/null; wait "$second" 2>/dev/null; rm -rf "$checks_data"' EXIT

first_lane
wait "$second"
cat "$checks_data/second.log"

# The lanes make a small machine very busy. Up to three tests that fail there are looked at again with nothing beside
# them, and fail the check if they fail again. Their first failure is named at the very end: it wants a look, too.
most_repeated=3
unsteady=()
for name in acceptance others services; do
  code=$(cat "$checks_data/code-$name" 2>/dev/null || echo 1)
  [ "$code" -eq 0 ] && continue
  failed=$("$bin/python" scripts/failed_tests.py "$checks_data/cache-$name")
  count=$(printf '%s' "$failed" | grep -c .)
  if [ "$code" -ne 1 ] || [ "$count" -eq 0 ] || [ "$count" -gt $most_repeated ]; then
    printf '\n=== Something failed (%s), see above: %d s\n' "$name" "$SECONDS"
    exit 1
  fi
  (stage "pytest, once more and alone: what failed ($name)" tests_of "$name" --last-failed --last-failed-no-failures=none) || exit 1
  unsteady+=("$failed")
done

if [ ${#unsteady[@]} -ne 0 ]; then
  printf '\n=== Failed beside other tests, and passed alone:\n%s\n' "${unsteady[*]}"
fi
printf '\nAll is well, %d s\n' "$SECONDS"
