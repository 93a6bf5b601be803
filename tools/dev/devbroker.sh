# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
#
# The dev broker of a stack: librdkafka's mock cluster in our own helper program. In memory and on a
# random port, so a start after a stop is another, empty broker at another address.

devbroker_program() {
    for _program in "$root/build/$preset/bus/sagabus-devbroker" "$root/build/release/bus/sagabus-devbroker" \
        "$root/build/debug/bus/sagabus-devbroker"; do
        if [ -x "$_program" ]; then
            echo "$_program"
            return 0
        fi
    done
    return 1
}

devbroker_start() {
    _program=$(devbroker_program) || die "the dev broker is not built: run ./dev build, or take --kafka"
    rm -f "$stack_dir/devbroker.ready"
    launching=devbroker
    setsid "$_program" --ready-file "$stack_dir/devbroker.ready" \
        ${SB_DEVBROKER_TOPICS:+--topics "$SB_DEVBROKER_TOPICS"} \
        </dev/null >"$stack_dir/devbroker.log" 2>&1 9>&- &
    process_record "$stack_dir/broker.pid" $!
    launching=
    _left=200
    until [ -s "$stack_dir/devbroker.ready" ]; do
        process_alive "$stack_dir/broker.pid" ||
            die "the dev broker ended at start: $(tail -n 3 "$stack_dir/devbroker.log")"
        _left=$((_left - 1))
        [ "$_left" -gt 0 ] || die "the dev broker is not ready after 20 s, see $stack_dir/devbroker.log"
        sleep 0.1
    done
    cat "$stack_dir/devbroker.log" >&2 # its banner names its limits
}
