# sb_test(NAME LABEL [SOURCES ...] [LINK ...] [TIMEOUT s]): one cmocka program, CTest name "<label>.<name>",
# from test_<name>.c of the calling directory. Called from tests/<label>/CMakeLists.txt.
# Labels: unit (needs nothing), mock (librdkafka's mock cluster), pg (a private server, started by
# tests/support), kafka (a real broker), e2e (whole processes). A test that cannot run exits 77 = skipped.
function(sb_test name label)
    cmake_parse_arguments(T "" "TIMEOUT" "SOURCES;LINK" ${ARGN})
    if(NOT T_SOURCES)
        set(T_SOURCES test_${name}.c)
    endif()
    if(NOT T_TIMEOUT)
        set(T_TIMEOUT 900) # ends what hangs; says nothing about how long a test may take
    endif()
    set(_target test_${label}_${name})
    add_executable(${_target} ${T_SOURCES})
    target_link_libraries(${_target} PRIVATE sb_test_support ${T_LINK})
    add_test(NAME ${label}.${name} COMMAND ${_target})
    set_tests_properties(${label}.${name} PROPERTIES LABELS ${label} TIMEOUT ${T_TIMEOUT} SKIP_RETURN_CODE 77)
endfunction()

# sb_test_cost(SECONDS LABEL NAME...): about how long these take; side by side, the long ones begin first.
function(sb_test_cost seconds label)
    list(TRANSFORM ARGN PREPEND ${label}. OUTPUT_VARIABLE _tests)
    set_tests_properties(${_tests} PROPERTIES COST ${seconds})
endfunction()
