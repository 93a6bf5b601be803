# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
#
# A stack: a PostgreSQL cluster and a broker of its own, in build/run/NAME. Several stacks and several
# checkouts run at once. Others find it through build/run/NAME/env, which a shell can source.
#
# A stack with a file `owner` is private to one run of ./dev (demo, test, bench). It goes away with its
# run; if that run was killed, the next one sweeps it up.

stack=dev
stack_undo=
preset=release

stack_use() { # stack_use NAME
    case $1 in
    '' | .* | *[!A-Za-z0-9._-]*) usage_error "a stack's name is made of letters, digits, dot, dash and underscore" ;;
    esac
    stack=$1
    stack_dir=$root/build/run/$stack
    kafka_dir=$stack_dir/kafka
}

stack_lock() { # one change at a time; held until this process ends, and by none of its children
    exec 9>"$stack_dir/lock"
    flock -w 300 9 || die "another ./dev works on stack $stack"
}

# Whatever ends us from here on (an interrupt, a failure, the end) runs $stack_undo first.
stack_traps() {
    trap 'exit 130' INT
    trap 'exit 143' TERM
    trap 'exit 129' HUP
    trap 'exit 131' QUIT
    trap 'stack_guard_undo $?' EXIT
}

# Runs a step that starts processes; only if it does not succeed, $stack_undo takes them back.
stack_guard() {
    stack_traps
    "$@"
    trap - INT TERM HUP QUIT EXIT
}

stack_guard_undo() {
    trap - EXIT
    trap '' INT TERM HUP QUIT
    [ -z "$launching" ] || kill -s KILL "$!" 2>/dev/null || :
    foreground_end
    $stack_undo
    exit "$1"
}

stack_http_port() { # where a `sagabus serve` of this stack listens: the default for one, free ones for others
    if [ ! -f "$stack_dir/http.port" ]; then
        if [ "$stack" = dev ] && ! port_in_use 8088; then echo 8088; else free_port; fi >"$stack_dir/http.port"
    fi
    cat "$stack_dir/http.port"
}

stack_write_env() {
    (
        umask 077
        {
            echo "export SB_STACK=$(quoted "$stack")"
            echo "export SB_STACK_DIR=$(quoted "$stack_dir")"
            echo "export SB_BROKER_KIND=$(quoted "$(broker_kind)")"
            echo "export SAGABUS_KAFKA_BOOTSTRAP=$(quoted "$(broker_bootstrap)")"
            echo "export SB_BROKER_CTL=$(quoted "$stack_dir/broker")"
            echo "export SAGABUS_HTTP_LISTEN=127.0.0.1:$(stack_http_port)"
            echo "export SAGABUS_SERVER_URL=http://127.0.0.1:$(stack_http_port)"
            echo "export SAGABUS_SCHEMAS_DIR=$(quoted "$root/schemas")"
            if [ -f "$stack_dir/pg.ready" ]; then
                echo "export SAGABUS_PG=$(quoted "$(pg_uri)")"
                echo "export SB_TEST_PG_BIN=$(quoted "$(pg_bin)")"
            fi
        } >"$stack_dir/env.new"
        mv "$stack_dir/env.new" "$stack_dir/env"
    )
    printf '#!/bin/sh\nexec %s broker --stack %s "$@"\n' "$(quoted "$root/dev")" "$stack" >"$stack_dir/broker"
    chmod +x "$stack_dir/broker"
}

stack_up() { # stack_up kafka|dev: starts what does not run yet
    mkdir -p "$stack_dir"
    stack_lock
    if [ "$(cat "$stack_dir/broker.kind" 2>/dev/null)" != "$1" ]; then rm -rf "$kafka_dir"; fi
    echo "$1" >"$stack_dir/broker.kind"
    [ -n "$stack_undo" ] || stack_undo=stack_down_now
    stack_guard stack_start_all
}

stack_start_all() {
    [ -n "${stack_without_pg:-}" ] || pg_up
    broker_start
    stack_write_env
}

stack_down_now() {
    broker_stop || say "cannot end the broker of stack $stack"
    pg_down || say "cannot end PostgreSQL of stack $stack"
}

stack_wipe_now() {
    # What a killed run had in the foreground is still there, and leads a group of its own.
    ! _pid=$(process_pid "$stack_dir/foreground.pid") || kill -s KILL -- "-$_pid" 2>/dev/null || :
    broker_kill || say "cannot end the broker of stack $stack"
    pg_wipe || say "cannot end PostgreSQL of stack $stack"
    rm -rf "$stack_dir"
}

stack_is_up() {
    process_alive "$stack_dir/broker.pid" || process_alive "$stack_dir/pg.pid"
}

# A stack that lives as long as this run and goes away with it, data and all.
stack_private() { # stack_private PURPOSE kafka|dev
    stack_sweep
    stack_use "$1.$$"
    rm -rf "$stack_dir"
    mkdir -p "$stack_dir"
    process_record "$stack_dir/owner" $$
    stack_undo=stack_wipe_now
    stack_traps
    stack_lock
    echo "$2" >"$stack_dir/broker.kind"
}

stack_private_start() {
    stack_start_all
    exec 9>&- # what we run may now stop and start the broker
}

stack_run() { # stack_run PROGRAM ARGS...: in the foreground, with the stack's addresses in the environment
    # shellcheck source=/dev/null
    . "$stack_dir/env"
    export SAGABUS_BIN="$root/build/$preset/cli/sagabus"
    export SB_BUILD_DIR="$root/build/$preset"
    cd "$root"
    foreground "$@"
}

stack_sweep() { # private stacks of runs that were killed
    for _owner in "$root"/build/run/*/owner; do
        [ -f "$_owner" ] || continue
        process_alive "$_owner" && continue
        _dead=$(basename "$(dirname "$_owner")")
        say "cleaning up after a killed run: $_dead"
        (stack_use "$_dead" && stack_wipe_now)
    done
}

up_help() {
    cat <<'END'
usage: ./dev up [--kafka] [--no-pg] [--stack NAME] [--preset PRESET]

Starts a private PostgreSQL and a broker, and prints where their addresses are.
  --kafka         Apache Kafka (fetched once) instead of the in-memory dev broker
  --no-pg         only the broker
  --stack NAME    one of several side by side (default: dev)
  --preset NAME   whose build of the dev broker to use (default: release)

Their data stays over ./dev down and ./dev up; ./dev down --wipe deletes it.
END
}

up_command() {
    _kind=dev
    while [ $# -gt 0 ]; do
        case $1 in
        --kafka) _kind=kafka ;;
        --no-pg) stack_without_pg=yes ;;
        --stack) need_value "$1" $# && stack=$2 && shift ;;
        --preset) need_value "$1" $# && preset=$2 && shift ;;
        --help | -h) up_help && exit 0 ;;
        *) usage_error "up: unknown word '$1', see ./dev up --help" ;;
        esac
        shift
    done
    stack_use "$stack"
    _running=$(cat "$stack_dir/broker.kind" 2>/dev/null) || _running=$_kind
    if [ "$_running" != "$_kind" ] && process_alive "$stack_dir/broker.pid"; then
        die "stack $stack runs with the broker '$_running': ./dev down --stack $stack first"
    fi
    setup_quietly "$_kind"
    if [ "$_kind" = kafka ]; then kafka_fetch || exit 1; else build_preset "$preset" "$build_programs"; fi
    stack_up "$_kind"
    say "stack $stack is up: . build/run/$stack/env"
}

down_help() {
    cat <<'END'
usage: ./dev down [--wipe] [--stack NAME | --all]

Ends the processes of a stack (default: dev), or of all stacks of this checkout.
  --wipe   deletes its data as well
END
}

down_command() {
    _wipe=
    _all=
    _failed=
    while [ $# -gt 0 ]; do
        case $1 in
        --wipe) _wipe=yes ;;
        --all) _all=yes ;;
        --stack) need_value "$1" $# && stack=$2 && shift ;;
        --help | -h) down_help && exit 0 ;;
        *) usage_error "down: unknown word '$1', see ./dev down --help" ;;
        esac
        shift
    done
    if [ -z "$_all" ]; then
        down_one "$stack" "$_wipe"
        return
    fi
    for _dir in "$root"/build/run/*/; do
        [ -d "$_dir" ] || continue
        (down_one "$(basename "$_dir")" "$_wipe") || _failed=yes
    done
    [ -z "$_failed" ]
}

down_one() { # down_one NAME WIPE
    stack_use "$1"
    [ -d "$stack_dir" ] || return 0
    stack_lock
    if [ -n "$2" ]; then stack_wipe_now; else stack_down_now; fi
    ! stack_is_up || die "stack $1 is not down"
}
