# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
#
# The chaos test in its long form: the release build, a real Kafka and PostgreSQL of its own.

chaos_help() {
    cat <<'END'
usage: ./dev chaos [--sagas N] [--seed S] [--preset PRESET]

Sagas over separate processes that are killed and stopped, a PostgreSQL and a Kafka that crash, answers and
messages that get lost; when all is back a checker that reads only what is left must find nothing
(docs/chaos.md). The faults and the time grow with the sagas.
  --sagas N       how many sagas (default: 10000, some 15 minutes)
  --seed S        repeats the plan of an earlier run
  --preset NAME   release (default), debug or asan
END
}

chaos_command() {
    preset=release
    _sagas=10000
    while [ $# -gt 0 ]; do
        case $1 in
        --sagas) need_value "$1" $# && _sagas=$2 && shift ;;
        --seed) need_value "$1" $# && export SB_TEST_SEED="$2" && shift ;;
        --preset) need_value "$1" $# && preset=$2 && shift ;;
        --help | -h) chaos_help && exit 0 ;;
        *) usage_error "chaos: unknown word '$1', see ./dev chaos --help" ;;
        esac
        shift
    done
    case $_sagas in
    '' | *[!0-9]*) usage_error "chaos: --sagas $_sagas is not a number" ;;
    esac
    case $preset in
    debug | asan | release) ;;
    *) usage_error "chaos: unknown preset '$preset'; there are release debug asan" ;;
    esac
    setup_quietly test kafka
    kafka_fetch || exit 1
    build_preset "$preset"
    stack_without_pg=yes # the test kills the one it starts itself
    stack_private chaos kafka
    stack_private_start
    # shellcheck source=/dev/null
    . "$stack_dir/env"
    export SB_TEST_KAFKA="$SAGABUS_KAFKA_BOOTSTRAP" SB_TEST_KAFKA_CTL="$SB_BROKER_CTL" SB_CHAOS_SAGAS="$_sagas"
    unset SAGABUS_HTTP_LISTEN SAGABUS_SERVER_URL SAGABUS_SCHEMAS_DIR SAGABUS_KAFKA_BOOTSTRAP
    SB_TEST_PG_BIN=$(pg_bin)
    export SB_TEST_PG_BIN SB_BUILD_DIR="$root/build/$preset"
    cd "$root"
    _status=0
    foreground "$root/build/$preset/tests/chaos/test_chaos_chaos" || _status=$?
    exit "$_status"
}
