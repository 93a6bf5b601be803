# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
#
# Configure and build by the presets of CMakePresets.json.

build_help() {
    cat <<'END'
usage: ./dev build [PRESET]

Builds build/PRESET, only what changed. Presets: debug (default), asan, tsan, release, coverage.
END
}

# What people run, without the tests.
build_programs='cli/all bus/all examples/all'

build_preset() { # build_preset PRESET [TARGETS]; quiet unless it fails or takes a while
    [ -f "$root/CMakePresets.json" ] || die "no CMakePresets.json in $root"
    (
        cd "$root" || exit 1
        if [ ! -f "build/$1/build.ninja" ]; then
            say "configuring build/$1"
            mkdir -p build
            cmake --preset "$1" >"build/configure-$1.log" 2>&1 9>&- || {
                sed -n '/CMake Error/,$p' "build/configure-$1.log" | head -n 30 >&2
                say "the whole log is build/configure-$1.log"
                exit 1
            }
        fi
        say "building build/$1"
        # shellcheck disable=SC2086 # words
        cmake --build --preset "$1" -j "$(nproc 2>/dev/null || echo 2)" ${2:+--target $2} >&2 9>&-
    ) || die "the build of $1 failed"
}

build_command() {
    case ${1:-} in
    --help | -h) build_help && exit 0 ;;
    '') preset=debug ;;
    debug | asan | tsan | release | coverage) preset=$1 ;;
    *) usage_error "build: unknown preset '$1'; there are debug asan tsan release coverage" ;;
    esac
    setup_quietly
    build_preset "$preset"
}
