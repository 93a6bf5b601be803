#!/bin/sh
# The rooms include one way only, base <- migrations <- events <- bus <- saga <- server <- cli; what lies side by
# side inside a room stays apart; and each third party has one home. Reads the #include lines of the tree; first plants every fault in a tree of its
# own and asks to find it, so that a rule that finds nothing is not one that sees nothing.
#
# SPDX-License-Identifier: Apache-2.0
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd -P)

# Prints "file:line: what is wrong" for every fault below the current folder.
check_tree() {
    find base migrations events bus saga server cli include examples -name '*.[ch]' 2>/dev/null | sort |
        while read -r file; do
            awk -v file="$file" '
            BEGIN {
                split("base migrations events bus saga server cli", rooms, " ")
                for (i in rooms) rank[rooms[i]] = i
                room = file; sub(/\/.*/, "", room)
                apart["events/schema/"] = "^events/(store|view)/"
                apart["events/store/"] = "^events/view/"
                apart["events/view/"] = "^events/store/"
                apart["bus/push/"] = "^bus/(relay|subscriber)/"
                apart["bus/relay/"] = "^bus/(push|subscriber)/"
                apart["bus/subscriber/"] = "^bus/(push|relay)/"
                apart["saga/dispatch/"] = "^saga/(orchestrator|participant|query)/"
                apart["saga/orchestrator/"] = "^saga/(participant|query)/"
                apart["saga/participant/"] = "^saga/(dispatch|orchestrator|query)/"
                apart["saga/query/"] = "^saga/(dispatch|orchestrator|participant)/"
            }
            function fault(text) { printf "%s:%d: %s\n", file, FNR, text }
            /^[ \t]*#[ \t]*include[ \t]*["<]/ {
                name = $0; sub(/^[^"<]*["<]/, "", name); sub(/[">].*/, "", name)
                from = name; if (!sub(/\/.*/, "", from)) from = ""

                if (from in rank && room in rank && rank[from] > rank[room])
                    fault(room "/ includes " name ": the arrow goes the other way")
                if (from in rank && room == "include")
                    fault("a public header includes " name ", which is not public")
                if (from in rank && room == "examples")
                    fault("an example includes " name ": it may use include/sagabus/ only")
                if (match(file, /^[a-z]+\/[a-z]+\//) && (inner = substr(file, 1, RLENGTH)) in apart &&
                    name ~ apart[inner])
                    fault(inner " includes " name ": these two know nothing of each other")
                if (name ~ /^\.\.?\//)
                    fault(name ": includes are written from the root")

                if (name ~ /(^|\/)(libpq-fe|libpq-events|postgres_ext)\.h$/ && file !~ /^base\/pg/ && room != "examples")
                    fault(name " belongs to base/pg*")
                if (name ~ /(^|\/)rdkafka[a-z_]*\.h$/ && room != "bus")
                    fault(name " belongs to bus/")
                if (name ~ /^event2\// && room != "server")
                    fault(name " belongs to server/")
                if (name ~ /^curl\// && file !~ /^base\/http_(client|multi)/)
                    fault(name " belongs to base/http_client* and base/http_multi*")
            }' "$file"
        done
}

planted() { # planted FILE INCLUDE: the fault must be found
    mkdir -p "$tree/${1%/*}"
    printf '/* x */\n#include %s\n' "$2" >"$tree/$1"
    found=$(cd "$tree" && check_tree)
    rm "$tree/$1"
    case $found in
    "$1:2: "*) ;;
    *)
        echo "the check is blind: $1 with #include $2 passed"
        exit 1
        ;;
    esac
}

allowed() { # allowed FILE INCLUDE
    mkdir -p "$tree/${1%/*}"
    printf '#include %s\n' "$2" >"$tree/$1"
    found=$(cd "$tree" && check_tree)
    rm "$tree/$1"
    [ -z "$found" ] || {
        echo "the check is too strict: $found"
        exit 1
    }
}

tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
planted base/log.c '"events/store/store.h"'
planted migrations/list.c '"events/store/store.h"'
planted events/view/view.c '"bus/relay/relay.h"'
planted bus/relay/relay.h '"saga/machine.h"'
planted saga/machine.c '"server/http.h"'
planted server/http.c '"cli/main.h"'
planted include/sagabus/event.h '"base/log.h"'
planted examples/order/a.c '"base/log.h"'
planted events/schema/schema.c '"events/store/store.h"'
planted events/view/view_fold.c '"events/store/store.h"'
planted bus/subscriber/inbox.c '"bus/relay/relay.h"'
planted saga/dispatch/gate.c '"saga/orchestrator/open_saga.h"'
planted saga/query/show.c '"saga/orchestrator/shard.h"'
planted bus/relay/relay.c '"../base/log.h"'
planted saga/machine.c '<librdkafka/rdkafka.h>'
planted include/sagabus/bus.h '<librdkafka/rdkafka.h>'
planted events/store/store.c '<libpq-fe.h>'
planted base/json.c '<postgresql/libpq-fe.h>'
planted cli/main.c '<event2/event.h>'
planted server/push.c '<curl/curl.h>'
planted bus/a.c ' <event2/event.h> /* why */'
allowed saga/orchestrator/orchestrator.c '"saga/dispatch/participants.h"'
allowed saga/orchestrator/orchestrator.c '"base/pg.h"'
allowed bus/relay/relay.c '<librdkafka/rdkafka.h>'
allowed base/pg_copy.c '<libpq-fe.h>'
allowed base/http_client.c '<curl/curl.h>'
allowed cli/serve.c '"server/http.h"'
allowed examples/order/a.c '<sagabus/event.h>'

cd "${1:-$root}"
faults=$(check_tree)
if [ -n "$faults" ]; then
    echo "$faults"
    exit 1
fi
echo "the includes of $(find base migrations events bus saga server cli include examples -name '*.[ch]' | wc -l) files keep the arrows"
