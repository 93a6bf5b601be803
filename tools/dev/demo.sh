# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
#
# The order demo with a stack of its own, from nothing to nothing.

demo_help() {
    cat <<'END'
usage: ./dev demo [--kafka]

Installs and builds what is missing, starts a private PostgreSQL and a broker, shows order sagas (one that
succeeds, one that undoes itself) and a view replayed, and ends everything again.
  --kafka   Apache Kafka instead of the in-memory dev broker
END
}

demo_command() {
    _kind=dev
    while [ $# -gt 0 ]; do
        case $1 in
        --kafka) _kind=kafka ;;
        --help | -h) demo_help && exit 0 ;;
        *) usage_error "demo: unknown word '$1', see ./dev demo --help" ;;
        esac
        shift
    done
    preset=release
    setup_quietly "$_kind"
    [ "$_kind" = dev ] || kafka_fetch || exit 1
    build_preset release "$build_programs"
    stack_private demo "$_kind"
    stack_private_start
    _status=0
    stack_run "$root/examples/order/demo.sh" || _status=$?
    exit "$_status"
}
