# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
#
# Shared by every helper of ./dev: messages, and small things the shell lacks.
# Sourced, never run. Callers have set `root`, the checkout's folder.

say() { # to standard error, so that the output of what ./dev runs stays clean
    printf 'dev: %s\n' "$*" >&2
}

die() {
    say "$*"
    exit 1
}

usage_error() { # wrong words on the command line: exit 2
    say "$*"
    exit 2
}

have() {
    command -v "$1" >/dev/null 2>&1
}

need_value() { # need_value OPTION COUNT_OF_WORDS_LEFT
    [ "$2" -ge 2 ] || usage_error "$1 needs a value"
}

is_root() {
    [ "$(id -u)" -eq 0 ]
}

random_hex() { # random_hex BYTES
    od -An -v -N"$1" -tx1 /dev/urandom | tr -d ' \n'
}

quoted() { # one word for a file that a shell sources
    printf "'%s'" "$(printf '%s' "$1" | sed "s/'/'\\\\''/g")"
}

# Ports come from below the kernel's range for outgoing connections (32768 and up): a client's random
# port then never takes the address of a broker that is down for a moment and must come back on it.
free_port() {
    while :; do
        _port=$((20000 + $(od -An -N2 -tu2 /dev/urandom) % 12000))
        port_in_use "$_port" || break
    done
    echo "$_port"
}

port_in_use() {
    _hex=$(printf '%04X' "$1")
    grep -Eq "^ *[0-9]+: [0-9A-F]+:$_hex " /proc/net/tcp /proc/net/tcp6 2>/dev/null
}

port_listens() { # 0A is TCP_LISTEN
    _hex=$(printf '%04X' "$1")
    grep -Eq "^ *[0-9]+: [0-9A-F]+:$_hex [0-9A-F]+:[0-9A-F]+ 0A " /proc/net/tcp /proc/net/tcp6 2>/dev/null
}
