#!/usr/bin/env bash
# Entry point of the test image (see build-postgres-image): the part of the official
# postgres image's behaviour that the tests and docker-compose.yml rely on.
#
#   POSTGRES_PASSWORD   required for a new data directory
#   POSTGRES_USER       superuser (default: postgres)
#   POSTGRES_DB         database to create (default: the user's name)
#   PGDATA              data directory (default: /var/lib/postgresql/data)
#
# Arguments that start with "-" go to the server; any other command runs instead of it.
set -euo pipefail

case "${1:-}" in
'' | -*) ;;
postgres) shift ;;
*) exec "$@" ;;
esac

export PGDATA="${PGDATA:-/var/lib/postgresql/data}"

if [ "$(id -u)" = 0 ]; then
  # A volume may come empty and owned by root, or filled by an image with another user id.
  install -d -o postgres -g postgres -m 0700 "$PGDATA"
  install -d -o postgres -g postgres -m 2775 /var/run/postgresql
  find "$PGDATA" ! -user postgres -exec chown postgres:postgres {} +
  exec setpriv --reuid=postgres --regid=postgres --init-groups -- "$0" "$@"
fi

# `docker stop` sends SIGTERM, on which Postgres waits for every client to leave; SIGINT is
# its fast shutdown. A signal during the set-up takes effect after it, so that no
# half-made data directory is left.
server=
stopping=
stop() {
  stopping=yes
  [ -z "$server" ] || kill -INT "$server"
}
trap stop TERM INT

if [ ! -s "$PGDATA/PG_VERSION" ]; then
  : "${POSTGRES_PASSWORD:?must be set to create the database}"
  POSTGRES_USER="${POSTGRES_USER:-postgres}"
  POSTGRES_DB="${POSTGRES_DB:-$POSTGRES_USER}"
  initdb --username="$POSTGRES_USER" --pwfile=<(printf '%s\n' "$POSTGRES_PASSWORD") \
    --encoding=UTF8 --auth-local=trust --auth-host=scram-sha-256 --no-sync --no-instructions
  echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
  # In single-user mode, so that nobody can meet a server that is about to restart.
  if [ "$POSTGRES_DB" != postgres ]; then
    echo "CREATE DATABASE \"${POSTGRES_DB//\"/\"\"}\"" | postgres --single postgres >/dev/null
  fi
fi

[ -z "$stopping" ] || exit 0
postgres -c listen_addresses='*' "$@" &
server=$!

# A signal ends `wait` early: ask again until the server is gone.
status=0
wait "$server" || status=$?
while kill -0 "$server" 2>/dev/null; do
  status=0
  wait "$server" || status=$?
done
exit "$status"
