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

bench_command() {
    case ${1:-} in
    --help | -h) bench_help && exit 0 ;;
    '' | -*) usage_error "bench: which one? ./dev bench NAME, see ./dev bench --help" ;;
    esac
    preset=release
    setup_quietly kafka
    kafka_fetch || exit 1
    build_preset release
    stack_private bench kafka
    mkdir -p "$kafka_dir"
    touch "$kafka_dir/for-bench"
    stack_private_start
    _status=0
    stack_run "$root/build/release/tests/bench/bench" "$@" || _status=$?
    exit "$_status"
}
