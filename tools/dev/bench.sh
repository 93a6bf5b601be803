# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
#
# Benchmarks run the release build against real servers of their own, never against the dev broker.

bench_help() {
    cat <<'END'
usage: ./dev bench NAME [--json] [OPTION...]

Runs build/release/tests/bench/bench NAME with a private PostgreSQL (fsync on) and Apache Kafka. Prints a
table, or with --json an array of measures, each beside its reference of the same run. Other options are the
benchmark's own.
END
}

# The SQL of message-db, whose write_message stands beside our appends: fetched once, into the user's cache. 1 when
# npm or its registry is not there.
bench_message_db() {
    _version=1.3.1
    _folder=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/sagabus/message-db-$_version
    if [ ! -d "$_folder/package/database" ]; then
        command -v npm >/dev/null 2>&1 || return 1
        mkdir -p "$_folder"
        (cd "$_folder" && npm pack --silent "@eventide/message-db@$_version" >/dev/null 2>&1 &&
            tar xzf "eventide-message-db-$_version.tgz") || return 1
    fi
    SB_MESSAGE_DB=$_folder/package/database
    export SB_MESSAGE_DB
}

# Restate and DBOS, which run the same sagas beside ours: fetched once, into the user's cache. 1 when npm or its
# registry is not there.
bench_peers() {
    SB_BENCH_PEERS=$(languages_node bench-peers "$root/tests/bench/peers") || return 1
    cp "$root"/tests/bench/peers/*.mjs "$(dirname "$SB_BENCH_PEERS")/"
    export SB_BENCH_PEERS
}

bench_command() {
    case ${1:-} in
    --help | -h) bench_help && exit 0 ;;
    '' | -*) usage_error "bench: which one? ./dev bench NAME, see ./dev bench --help" ;;
    esac
    preset=release
    setup_quietly kafka
    kafka_fetch || exit 1
    build_preset release bench
    if [ "$1" = append ]; then bench_message_db || say 'message-db is not to be had: no measures beside it'; fi
    if [ "$1" = saga ]; then bench_peers || say 'Restate and DBOS are not to be had: no measures beside them'; fi
    stack_private bench kafka
    mkdir -p "$kafka_dir"
    touch "$kafka_dir/for-bench"
    stack_private_start
    _status=0
    stack_run "$root/build/release/tests/bench/bench" "$@" || _status=$?
    exit "$_status"
}
