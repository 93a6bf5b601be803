# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
#
# What the examples and tests in other languages need: a Python with the packages of
# examples/python/requirements.txt, and the packages that the lock files of examples/node and tests/asyncapi
# name. Each set is fetched once, pinned, into the user's cache. What is not to be had skips its tests.

languages_cache=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/sagabus

languages_set() { # languages_set NAME FILE: the folder of a set; another content is another folder
    echo "$languages_cache/$1-$(cksum <"$2" | tr ' ' '-')"
}

# languages_fetch FOLDER COMMAND ARGS...: makes the folder by a command that is given where to build it; 1 = could
# not. Several runs may want the same set; the first one fetches.
languages_fetch() {
    _set=$1
    shift
    [ -d "$_set" ] && return 0
    mkdir -p "$languages_cache"
    (
        flock 7
        [ -d "$_set" ] && exit 0
        rm -rf "$_set.new"
        mkdir "$_set.new"
        say "fetching $(basename "$_set") (once)"
        if ! timeout 300 "$@" "$_set.new" >"$_set.log" 2>&1 7>&- 9>&-; then
            say "not to be had: $(grep -iE 'error|unable|could not' "$_set.log" | head -n 1 | cut -c1-300), see $_set.log"
            rm -rf "$_set.new"
            exit 1
        fi
        mv "$_set.new" "$_set"
    ) 7>"$languages_cache/languages.lock"
}

languages_python() { # prints the python of the examples
    _set=$(languages_set python "$root/examples/python/requirements.txt")
    have python3 || return 1
    # pip goes into the folder beside the interpreter's own packages: a venv could not be moved into its place.
    # shellcheck disable=SC2016 # for the inner shell
    languages_fetch "$_set" sh -c 'python3 -m pip install -q --disable-pip-version-check --no-input --only-binary :all: \
        -r "$0" --target "$1/packages"' "$root/examples/python/requirements.txt" >&2 || return 1
    echo "$_set/packages"
}

languages_node() { # languages_node NAME FOLDER: prints node_modules of a folder with a lock file
    have node && have npm || return 1
    _set=$(languages_set "$1" "$2/package-lock.json")
    # shellcheck disable=SC2016 # for the inner shell
    languages_fetch "$_set" sh -c 'cp "$0/package.json" "$0/package-lock.json" "$1/" && cd "$1" &&
        npm ci --ignore-scripts --no-audit --no-fund' "$2" >&2 || return 1
    echo "$_set/node_modules"
}
