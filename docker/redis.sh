#!/bin/sh
# Redis with its settings on standard input, so that the password stands in no command line and in no file.
set -eu

case $REDIS_PASSWORD in
    *[!A-Za-z0-9._~-]*)
        echo "REDIS_PASSWORD may have letters, digits and . _ ~ - alone, because it is part of a URL." >&2
        exit 78
        ;;
esac

# Users and TLS, where there is more than one machine: see docs/several-machines.md.
more() {
    for file in "${REDIS_MORE:-/zoetrope/redis.d}"/*.conf; do
        if [ -f "$file" ]; then echo "include $file"; fi
    done
}

# A job counts as accepted once Redis has said so: every write is on disk before that, and nothing is ever evicted.
exec redis-server - <<SETTINGS
port ${REDIS_PORT:-6379}
dir ${REDIS_FOLDER:-/data}
requirepass $REDIS_PASSWORD
appendonly yes
appendfsync always
save ""
maxmemory-policy noeviction
$(more)
SETTINGS
