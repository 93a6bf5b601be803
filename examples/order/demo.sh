#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# The order example from start to end: one order that succeeds, two that undo themselves, a read model rebuilt from the
# log. `./dev demo` runs it with a PostgreSQL and a broker of its own; to run it with yours, set SAGABUS_PG (an empty
# database) and SAGABUS_KAFKA_BOOTSTRAP and build first.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P)
root=$(CDPATH='' cd -- "$here/../.." && pwd -P)
build=${SB_BUILD_DIR:-$root/build/release}
sagabus=$build/cli/sagabus
participants=$build/examples/sagabus-order-participants
logs=$(mktemp -d "${TMPDIR:-/tmp}/sagabus-demo.XXXXXX")
services='customers inventory payment orders notifications'
pids=

finish() {
    status=$?
    trap - EXIT INT TERM
    for pid in $pids; do kill "$pid" 2>/dev/null || :; done
    for pid in $pids; do wait "$pid" 2>/dev/null || :; done
    if [ "$status" -ne 0 ]; then
        echo "the demo stopped; the last lines of its logs:" >&2
        tail -n 5 "$logs"/*.log >&2 || :
    fi
    rm -rf "$logs"
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then bold=$(printf '\033[1m') plain=$(printf '\033[0m'); else bold='' plain=''; fi
say() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }

# ---- set-up: what a deployment does once ----

export SAGABUS_SCHEMAS_DIR="$root/schemas"
export SAGABUS_LOG_LEVEL="${SAGABUS_LOG_LEVEL:-warn}"
"$sagabus" migrate >"$logs/migrate.log" 2>&1
"$participants" setup
for service in $services; do
    "$sagabus" migrate --only client --schema "$service" >>"$logs/migrate.log" 2>&1
done
"$sagabus" schema apply >"$logs/schema.log" 2>&1
"$sagabus" topics apply >"$logs/topics.log" 2>&1

# ---- the processes: five services, and sagabus ----

for service in $services; do
    "$participants" "$service" 2>"$logs/$service.log" &
    pids="$pids $!"
done
port=$((20000 + $$ % 20000))
tries=0
while :; do
    SAGABUS_HTTP_LISTEN=127.0.0.1:$port "$sagabus" serve 2>"$logs/serve.log" &
    serve=$!
    export SAGABUS_SERVER_URL="http://127.0.0.1:$port"
    while kill -0 "$serve" 2>/dev/null && ! "$sagabus" doctor --only server >/dev/null 2>&1; do sleep 0.1; done
    if kill -0 "$serve" 2>/dev/null; then break; fi
    tries=$((tries + 1))
    [ "$tries" -lt 5 ] || exit 1
    port=$((port + 1)) # someone else has it
done
pids="$serve $pids" # ended first

# ---- three orders ----

start() { # start ORDER CUSTOMER AMOUNT
    status=0
    "$sagabus" saga start order --key "$1" --wait -o json --input "{\"order_id\":\"$1\",\"customer_id\":\"$2\",\"amount\":$3,
        \"currency\":\"EUR\",\"items\":[{\"sku\":\"book\",\"quantity\":1,\"price\":$3}]}" >"$logs/saga.json" || status=$?
    # 7: it ended compensated, which is what two of our orders are here to show
    [ "$status" -eq 0 ] || [ "$status" -eq 7 ] || exit "$status"
    id=$(sed -n 's/.*"id" *: *"\([0-9a-f-]*\)".*/\1/p' "$logs/saga.json" | head -n 1)
    "$sagabus" saga trace "$id"
}

say "1. Ada orders a book. Five services take part, each with its own tables."
start order-1 ada 1999
say "2. Grace orders one too, but cannot pay: the stock that was reserved is given back."
start order-2 grace 1999
say "3. Alan's confirmation cannot be delivered: order, payment and stock are undone, newest first."
start order-3 alan 1999

say "What happened to order-3, as it stands in the event store:"
for stream in inventory payment order; do "$sagabus" event read "$stream/order-3"; done

say "The read model order_summary, kept up to date by the same events:"
"$sagabus" view show order_summary

say "The same table built anew from the log, beside the live one; readers switch over when it is ready:"
"$sagabus" replay order_summary
"$sagabus" view show order_summary

say "Done. Orders and refunds balance; everything that ran is being stopped."
