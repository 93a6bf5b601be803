# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
#
# The broker of a stack, Apache Kafka or the dev broker, behind the same verbs. Tests use them too.

broker_help() {
    cat <<'END'
usage: ./dev broker VERB [--stack NAME]

  start    start it again: Kafka at the same address, with its data
  stop     end it in order
  kill     end it at once (SIGKILL)
  pause    stop its process (SIGSTOP): connected, but silent
  resume   let it run on
  wipe     kill it, delete its data, start it as a new cluster at the same address
  status   print kafka|dev, up|paused|down, and its address

The dev broker keeps nothing: its start and wipe give an empty broker at a new address.
END
}

broker_kind() { # kafka or dev, as the stack was made
    cat "$stack_dir/broker.kind" 2>/dev/null || die "no stack named $stack: run ./dev up --stack $stack"
}

broker_start() {
    process_alive "$stack_dir/broker.pid" && return 0
    if [ "$(broker_kind)" = kafka ]; then kafka_start; else devbroker_start; fi
}

broker_stop() {
    process_stop "$stack_dir/broker.pid" TERM 20
}

broker_kill() {
    process_kill "$stack_dir/broker.pid"
}

broker_wipe() { # what is deleted needs no orderly end
    broker_kill
    rm -rf "$kafka_dir/data"
    broker_start
}

broker_bootstrap() {
    if [ "$(broker_kind)" = kafka ]; then kafka_bootstrap; else cat "$stack_dir/devbroker.ready"; fi
}

broker_status() {
    if ! _pid=$(process_pid "$stack_dir/broker.pid"); then
        _state=down
    elif grep -q '^State:.*T' "/proc/$_pid/status"; then
        _state=paused
    else
        _state=up
    fi
    echo "$(broker_kind) $_state $(broker_bootstrap 2>/dev/null)"
}

broker_command() {
    verb=
    while [ $# -gt 0 ]; do
        case $1 in
        --stack) need_value "$1" $# && stack=$2 && shift ;;
        --help | -h) broker_help && exit 0 ;;
        start | stop | kill | pause | resume | wipe | status) verb=$1 ;;
        *) usage_error "broker: unknown word '$1'; verbs are start stop kill pause resume wipe status" ;;
        esac
        shift
    done
    [ -n "$verb" ] || usage_error "broker: which verb? start stop kill pause resume wipe status"
    stack_use "$stack"
    [ -d "$stack_dir" ] || die "no stack named $stack: run ./dev up --stack $stack"
    case $verb in
    status) broker_status && return 0 ;;
    esac
    stack_lock
    stack_undo=broker_kill # what an interrupted or failed start leaves
    case $verb in
    start | wipe)
        stack_guard "broker_$verb"
        stack_write_env
        ;;
    stop) broker_stop ;;
    kill) broker_kill ;;
    pause) process_signal "$stack_dir/broker.pid" STOP || die "the broker of $stack is down" ;;
    resume) process_signal "$stack_dir/broker.pid" CONT || die "the broker of $stack is down" ;;
    esac
}
