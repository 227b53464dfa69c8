#!/bin/sh
# Redis with its settings on standard input, so that the password stands in no command line and in no file.
set -eu

case $REDIS_PASSWORD in
    *[!A-Za-z0-9._~-]*)
        echo "REDIS_PASSWORD may have letters, digits and . _ ~ - alone, because it is part of a URL." >&2
        exit 78
        ;;
esac

# A job counts as accepted once Redis has said so: every write is on disk before that, and nothing is ever evicted.
exec redis-server - <<SETTINGS
port ${REDIS_PORT:-6379}
dir ${REDIS_FOLDER:-/data}
requirepass $REDIS_PASSWORD
appendonly yes
appendfsync always
save ""
maxmemory-policy noeviction
SETTINGS
