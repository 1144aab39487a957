#!/usr/bin/env bash
# Starts everything: web server, worker, a private Redis if REDIS_URL is not set. Ctrl+C stops it all.
# Options: ./start_services.sh --help
set -u
cd "$(dirname "${BASH_SOURCE[0]}")" || exit 1
. scripts/bootstrap.sh
bootstrap requirements.txt
exec .venv/bin/python manage.py start_services "$@"
