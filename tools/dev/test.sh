# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
#
# Builds and runs the tests with CTest: those that bring their own servers side by side, all others one after the
# other, with one Apache Kafka for those labelled kafka or e2e.

test_help() {
    cat <<'END'
usage: ./dev test [--long] [-L LABEL] [-R REGEX] [--preset PRESET]

  --long          also the long stress and chaos tests (sets SB_TEST_LONG=1)
  -L LABEL        only tests whose label matches: unit mock pg kafka e2e chaos, or a regular expression of them
  -R REGEX        only tests whose name (LABEL.NAME) matches
  --preset NAME   debug (default), asan, tsan, release or coverage

A test that cannot run here is skipped and named with its reason at the end. SAGABUS_REQUIRE=kafka (or
kafka,pg) makes that a failure. SB_TEST_KAFKA=HOST:PORT takes a broker that runs already.
END
}

test_command() {
    preset=debug
    test_label=.
    test_regex=.
    while [ $# -gt 0 ]; do
        case $1 in
        --long) export SB_TEST_LONG=1 ;;
        -L) need_value "$1" $# && test_label=$2 && shift ;;
        -R) need_value "$1" $# && test_regex=$2 && shift ;;
        --preset) need_value "$1" $# && preset=$2 && shift ;;
        --help | -h) test_help && exit 0 ;;
        *) usage_error "test: unknown word '$1', see ./dev test --help" ;;
        esac
        shift
    done
    case $preset in
    debug | asan | tsan | release | coverage) ;;
    *) usage_error "test: unknown preset '$preset'; there are debug asan tsan release coverage" ;;
    esac
    setup_quietly test
    build_preset "$preset"

    # Processes of one run write beside each other, and two runs at once must not share a folder.
    stack_without_pg=yes
    stack_private test kafka
    test_results=$stack_dir/results
    mkdir -p "$test_results"
    SB_TEST_PG_BIN=$(pg_bin)
    export SB_TEST_PG_BIN
    export SAGABUS_BIN="$root/build/$preset/cli/sagabus"
    export SB_BUILD_DIR="$root/build/$preset"
    test_kafka_up
    test_languages_up
    test_upgrade_up
    exec 9>&-

    cd "$root"
    _started=$(date +%s)
    # More than there are processors: most of its time a test waits, for a server to come up or a deadline to pass.
    test_group side-by-side -L '^(unit|sim|mock|pg)$' -j $(($(nproc 2>/dev/null || echo 2) * 2 + 1))
    test_group one-by-one -LE '^(unit|sim|mock|pg)$' -j 1
    _status=0
    python3 "$root/tools/dev/summary.py" $(($(date +%s) - _started)) "$test_results"/*.xml || _status=$?
    exit "$_status"
}

# The Kafka of this run, if a test that wants it is chosen.
test_kafka_up() {
    [ -z "${SB_TEST_KAFKA:-}" ] || return 0
    _wanted=$(cd "$root" && ctest --preset "$preset" --no-tests=ignore -N -L '^(kafka|e2e|chaos)$' \
        -L "$test_label" -R "$test_regex" 2>/dev/null | sed -n 's/^Total Tests: //p')
    [ "${_wanted:-0}" -gt 0 ] || return 0
    # In a subshell: what cannot be installed or fetched ends that, not the run.
    if ! (trap - EXIT && setup_quietly test kafka && kafka_fetch && kafka_java >/dev/null); then
        case ${SAGABUS_REQUIRE:-} in
        *kafka*) die "Kafka is required (SAGABUS_REQUIRE=$SAGABUS_REQUIRE) and is not to be had here" ;;
        esac
        say "Kafka is not to be had here: the tests that need it will be skipped"
        return 0
    fi
    say "starting Apache Kafka $kafka_version for the tests"
    stack_start_all
    SB_TEST_KAFKA=$(broker_bootstrap)
    export SB_TEST_KAFKA
    export SB_TEST_KAFKA_CTL="$stack_dir/broker"
    SB_TEST_KAFKA_SASL=$(kafka_sasl_bootstrap)
    export SB_TEST_KAFKA_SASL SB_TEST_KAFKA_CA="$kafka_dir/tls/ca.pem"
}

# The packages of other languages, if a test that wants them is chosen. Their names in SAGABUS_REQUIRE: python, node.
test_languages_up() {
    _wanted=$(cd "$root" && ctest --preset "$preset" --no-tests=ignore -N -R 'languages|asyncapi|e2e.http' \
        -L "$test_label" -R "$test_regex" 2>/dev/null | sed -n 's/^ *Test *#[0-9]*: //p')
    case $_wanted in
    *languages* | *e2e.http*)
        SB_TEST_PYTHON_PATH=$(languages_python) && export SB_TEST_PYTHON_PATH
        SB_TEST_NODE_PATH=$(languages_node node "$root/examples/node") && export SB_TEST_NODE_PATH
        ;;
    esac
    case $_wanted in
    *asyncapi*) SB_TEST_ASYNCAPI_PATH=$(languages_node asyncapi "$root/tests/asyncapi") && export SB_TEST_ASYNCAPI_PATH ;;
    esac
    return 0
}

# The release before, if the test that wants it is chosen; where it cannot be had that test is skipped.
test_upgrade_up() {
    [ -z "${SB_TEST_OLD:-}" ] || return 0
    cd "$root"
    ctest --preset "$preset" --no-tests=ignore -N -L "$test_label" -R "$test_regex" 2>/dev/null |
        grep -q ': e2e.upgrade$' || return 0
    if _commit=$(upgrade_released); then
        upgrade_build "$_commit" || exit 1
    fi
}

test_group() { # test_group NAME CTEST_ARGS...: results as JUnit XML; a failure shows in the summary
    _name=$1
    shift
    foreground ctest --preset "$preset" --no-tests=ignore -L "$test_label" -R "$test_regex" \
        --output-junit "$test_results/$_name.xml" "$@" || :
    [ -f "$test_results/$_name.xml" ] || die "CTest wrote no results for the tests that run $_name"
}
