#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# `sagabus schema asyncapi`: the same bytes each time and in any order of files, every type and command in it, and
# valid for the official parser, which is in SB_TEST_ASYNCAPI_PATH (node_modules; ./dev test fetches it).
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P)
root=$(CDPATH='' cd -- "$here/../.." && pwd -P)
sagabus=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
unset SAGABUS_KAFKA_BOOTSTRAP SAGABUS_KAFKA_PREFIX || :

write() { # write FILE DIR OPTIONS...
    to=$1
    shift
    "$sagabus" schema asyncapi "$@" >"$to"
}

write "$work/a.json" "$root/schemas"
"$sagabus" schema asyncapi "$root/schemas" --file "$work/b.json"
cmp "$work/a.json" "$work/b.json"

# Files made in another order stand in the folder in another order.
mkdir -p "$work/schemas/events" "$work/schemas/sagas"
find "$root/schemas/events" -name '*.json' | sort -r | while read -r file; do cp "$file" "$work/schemas/events/"; done
cp "$root"/schemas/sagas/*.json "$work/schemas/sagas/"
write "$work/c.json" "$work/schemas"
cmp "$work/a.json" "$work/c.json"

# Another content is another version; a prefix is in every address.
cat >"$work/schemas/events/parcel.lost.v1.json" <<'END'
{"type": "parcel.lost", "version": 1, "title": "Gone", "schema": {"$id": "https://example.com/lost", "$defs": {"place": {"type": "string"}},
 "type": "object", "properties": {"spot": {"$ref": "#/$defs/place"}, "at": {"type": "array", "prefixItems": [{"$ref": "#/$defs/place"}]}}}}
END
write "$work/d.json" "$work/schemas" --kafka-prefix shop. --kafka-bootstrap one:9092,two:9092
python3 - "$work/a.json" "$work/d.json" <<'END'
import json, sys
a, d = (json.load(open(name, encoding="utf-8")) for name in sys.argv[1:])
assert a["info"]["version"] != d["info"]["version"]
assert all(c["address"].startswith("shop.") for c in d["channels"].values())
assert sorted(s["host"] for s in d["servers"].values()) == ["one:9092", "two:9092"]
messages = a["components"]["messages"]
assert "order.created.v1" in messages and "payment.charge" in messages and "payment.refund" in messages
assert "saga.completed.v1" in messages and "saga.reply" in messages
assert "saga.attention.v1" not in messages, "an inner saga event is on no topic"
assert messages["order.created.v1"]["headers"]["allOf"][1]["properties"]["ce_type"]["const"] == "order.created"
reply = a["operations"]["command.cmd.payment"]["reply"]
assert reply["channel"]["$ref"] == "#/channels/saga.replies"
lost = d["components"]["schemas"]["parcel.lost.v1"]
assert "$id" not in lost
moved = "#/components/schemas/parcel.lost.v1/$defs/place"
assert lost["properties"]["at"]["prefixItems"][0]["$ref"] == moved
assert lost["properties"]["spot"]["$ref"] == moved
END

if [ -z "${SB_TEST_ASYNCAPI_PATH:-}" ] || ! command -v node >/dev/null 2>&1; then
    case ",${SAGABUS_REQUIRE:-}," in
    *,node,*)
        echo "FAIL: no AsyncAPI parser: SB_TEST_ASYNCAPI_PATH is not set"
        exit 1
        ;;
    esac
    echo "SKIP: no AsyncAPI parser: SB_TEST_ASYNCAPI_PATH is not set"
    exit 77
fi
export NODE_PATH="$SB_TEST_ASYNCAPI_PATH"
counts=$(python3 -c 'import json, sys; d = json.load(open(sys.argv[1]))
print(len(d["channels"]), len(d["operations"]), len(d["components"]["messages"]))' "$work/a.json")
# The third is there to show that the parser does not take everything.
sed 's/"action": "send"/"action": "shout"/' "$work/a.json" >"$work/bad.json"
node "$here/validate.js" "$work/a.json" "$counts" "$work/d.json" "$work/bad.json"
echo "valid: $counts channels, operations, messages"
