# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
#
# What is done with the sources as text: format, static analysis; and cleaning up.

fmt_help() {
    cat <<'END'
usage: ./dev fmt [--check]

Formats all C files with clang-format 14. --check changes nothing, names what differs, and fails.
END
}

c_files() { # c_files PATTERN...: tracked and new files, from the root
    (cd "$root" && git ls-files --cached --others --exclude-standard -- "$@") | sort -u |
        while read -r _file; do if [ -f "$root/$_file" ]; then echo "$_file"; fi; done
}

fmt_command() {
    _check=
    case ${1:-} in
    --help | -h) fmt_help && exit 0 ;;
    --check) _check=yes ;;
    '') ;;
    *) usage_error "fmt: unknown word '$1', see ./dev fmt --help" ;;
    esac
    setup_quietly lint
    _program=$(clang_tool clang-format)
    cd "$root"
    # Another version lays some lines out differently, and the check would then fail for no one's fault.
    "$_program" --version | grep -q 'version 14\.' || say "note: the format is defined by clang-format 14"
    _files=$(c_files '*.c' '*.h')
    [ -n "$_files" ] || return 0
    if [ -z "$_check" ]; then
        echo "$_files" | tr '\n' '\0' | xargs -0 "$_program" -i
    elif echo "$_files" | tr '\n' '\0' | xargs -0 "$_program" --dry-run -Werror; then
        say "format: nothing differs"
    else
        die "format: run ./dev fmt"
    fi
}

lint_help() {
    cat <<'END'
usage: ./dev lint [--changed]

clang-tidy (checks in .clang-tidy) over all C files and shellcheck over the scripts; any finding fails.
  --changed   only C files that differ from the main branch
END
}

lint_command() {
    _changed=
    case ${1:-} in
    --help | -h) lint_help && exit 0 ;;
    --changed) _changed=yes ;;
    '') ;;
    *) usage_error "lint: unknown word '$1', see ./dev lint --help" ;;
    esac
    setup_quietly lint
    preset=debug
    build_preset debug # for the compile commands and the generated headers
    cd "$root"
    _status=0
    shellcheck -x dev || _status=1
    for _script in $(c_files '*.sh' | grep -v '^tools/dev/'); do shellcheck "$_script" || _status=1; done
    _files=$(c_files '*.c')
    if [ -n "$_changed" ]; then
        _base=$(git merge-base HEAD main 2>/dev/null || git merge-base HEAD origin/main)
        _files=$(echo "$_files" | grep -Fx "$(git diff --name-only "$_base" -- '*.c'; git ls-files -o --exclude-standard -- '*.c')" || :)
    fi
    # Only what the build compiles is looked at: others have no flags.
    if [ -n "$_files" ]; then
        _cache=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/sagabus/lint
        # shellcheck disable=SC2086 # names without blanks
        python3 tools/dev/tidy.py "$(clang_tool clang-tidy)" "$root" "$root/build/debug" "$_cache" $_files || _status=1
    fi
    [ "$_status" -eq 0 ] || die "lint: see the findings above"
    say "lint: no finding"
}

clean_command() {
    case ${1:-} in
    --help | -h) echo 'usage: ./dev clean    ends all stacks of this checkout and deletes build/' && exit 0 ;;
    '') ;;
    *) usage_error "clean: unknown word '$1'" ;;
    esac
    down_command --all --wipe
    for _dir in "$root"/build/run/*/; do
        [ ! -d "$_dir" ] || die "stack $(basename "$_dir") is still there"
    done
    rm -rf "${root:?}/build"
}
