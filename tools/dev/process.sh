# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
#
# Processes that outlive a command: each is known by a file "PID IDENTITY", never by its name.
#
# IDENTITY is the start time and the boot: a number that another process got later does not match, so a
# stale file is harmless. A zombie counts as dead.

launching= # not empty between a fork and its record; an interrupt handler kills $! then

process_identity() { # process_identity PID: prints it, or nothing when there is no such process
    [ -r "/proc/$1/stat" ] || return 0
    # Field 2 is the name in parentheses and may hold blanks: count from behind it (22nd becomes 20th).
    awk '{ sub(/^.*\) /, ""); if ($1 != "Z" && $1 != "X") print $20 "@" boot }' \
        boot="$(cut -c1-8 /proc/sys/kernel/random/boot_id 2>/dev/null)" "/proc/$1/stat" 2>/dev/null || :
}

process_record() { # process_record FILE PID
    echo "$2 $(process_identity "$2")" >"$1.new"
    mv "$1.new" "$1"
}

process_pid() { # process_pid FILE: prints the pid while that very process lives, else fails
    [ -f "$1" ] || return 1
    _pid=''
    _identity=''
    read -r _pid _identity <"$1" || :
    case $_pid in '' | *[!0-9]*) return 1 ;; esac
    [ -n "$_identity" ] && [ "$(process_identity "$_pid")" = "$_identity" ] || return 1
    echo "$_pid"
}

process_alive() {
    process_pid "$1" >/dev/null
}

process_signal() { # process_signal FILE SIGNAL
    _pid=$(process_pid "$1") || return 1
    kill -s "$2" "$_pid"
}

process_wait_gone() { # process_wait_gone FILE TENTHS
    _tenths=$2
    while process_alive "$1"; do
        [ "$_tenths" -gt 0 ] || return 1
        _tenths=$((_tenths - 1))
        sleep 0.1
    done
}

# Asks with SIGNAL, takes it by force after the grace. A stopped process must run on to hear the signal.
process_stop() { # process_stop FILE SIGNAL GRACE_S
    if process_alive "$1"; then
        process_signal "$1" "$2" || return 1
        process_signal "$1" CONT 2>/dev/null || :
        if ! process_wait_gone "$1" $(($3 * 10)); then
            say "process $(process_pid "$1") did not end within $3 s: killed"
            process_signal "$1" KILL || :
            process_wait_gone "$1" 100 || return 1
        fi
    fi
    rm -f "$1"
}

process_kill() { # at once
    if process_alive "$1"; then
        process_signal "$1" KILL || return 1
        process_wait_gone "$1" 100 || return 1
    fi
    rm -f "$1"
}

# Runs a program in a session of its own and waits. An interrupt of ./dev reaches our traps at once,
# not when the program ends; foreground_end then ends the whole group, and so do we after a normal end,
# so that nothing the program started stays behind.
foreground_pid=
foreground() {
    exec 8<&0
    # A background job ignores SIGINT, and what it starts would inherit that.
    setsid env --default-signal=INT,QUIT "$@" <&8 8<&- 9>&- &
    foreground_pid=$!
    exec 8<&-
    [ -z "${stack_dir:-}" ] || process_record "$stack_dir/foreground.pid" "$foreground_pid"
    _status=0
    wait "$foreground_pid" || _status=$?
    foreground_end
    return "$_status"
}

foreground_end() {
    [ -n "$foreground_pid" ] || return 0
    _group=$foreground_pid
    foreground_pid=
    kill -s TERM -- "-$_group" 2>/dev/null || return 0
    _tenths=100
    while kill -s 0 -- "-$_group" 2>/dev/null; do
        # The leader is our child: dead, it is a zombie of the group until waited for.
        if [ -z "$(process_identity "$_group")" ]; then wait "$_group" 2>/dev/null || :; fi
        [ "$_tenths" -gt 0 ] || break
        _tenths=$((_tenths - 1))
        sleep 0.1
    done
    kill -s KILL -- "-$_group" 2>/dev/null || :
}
