# Language, warnings, hardening and sanitizers, carried by one INTERFACE target that every room links.
set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_C_VISIBILITY_PRESET hidden)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

# Asserts stay on in releases: they are for our bugs, and a bug should stop where it is.
string(REPLACE "-DNDEBUG" "" CMAKE_C_FLAGS_RELWITHDEBINFO "${CMAKE_C_FLAGS_RELWITHDEBINFO}")

set(SB_SANITIZE "" CACHE STRING "Sanitizers to build with: address,undefined or thread")
option(SB_COVERAGE "Build for gcov" OFF)
option(SB_WERROR "Treat warnings as errors" OFF)

include(CheckCCompilerFlag)
add_library(sb_options INTERFACE)
target_compile_definitions(sb_options INTERFACE _GNU_SOURCE)
target_include_directories(sb_options INTERFACE ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/include)

# Cutting a message to its buffer is what snprintf is for here, so -Wformat-truncation is off.
set(_warnings -Wall -Wextra -Wconversion -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wformat=2
    -Wimplicit-fallthrough -Wundef -Wvla -Wwrite-strings -Wpointer-arith -Wcast-qual -Wtrampolines
    -Wbidi-chars=any -Wno-format-truncation -Werror=implicit -Werror=incompatible-pointer-types
    -Werror=int-conversion)
# The OpenSSF hardening guide's set; each flag is probed, because compilers differ.
set(_hardening -fstack-protector-strong -fstack-clash-protection -fcf-protection=full
    -fno-delete-null-pointer-checks -fno-strict-overflow -fno-strict-aliasing -ftrivial-auto-var-init=zero)
foreach(_flag IN LISTS _warnings _hardening)
    string(MAKE_C_IDENTIFIER "HAVE${_flag}" _have)
    check_c_compiler_flag(${_flag} ${_have})
    if(${_have})
        target_compile_options(sb_options INTERFACE ${_flag})
    endif()
endforeach()
if(SB_WERROR)
    target_compile_options(sb_options INTERFACE -Werror)
endif()
target_link_options(sb_options INTERFACE -Wl,-z,relro,-z,now,-z,noexecstack -Wl,--as-needed)

if(SB_SANITIZE)
    target_compile_options(sb_options INTERFACE -fsanitize=${SB_SANITIZE} -fno-omit-frame-pointer)
    target_link_options(sb_options INTERFACE -fsanitize=${SB_SANITIZE})
    if(SB_SANITIZE MATCHES "undefined")
        target_compile_options(sb_options INTERFACE -fno-sanitize-recover=undefined)
    endif()
elseif(CMAKE_BUILD_TYPE MATCHES "Rel")
    target_compile_options(sb_options INTERFACE -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3)
endif()
if(SB_COVERAGE)
    target_compile_options(sb_options INTERFACE --coverage)
    target_link_options(sb_options INTERFACE --coverage)
endif()
include(CheckPIESupported)
check_pie_supported(LANGUAGES C)

# sb_room(NAME LINK <targets> SOURCES <files>): one room of the house, an object library.
function(sb_room name)
    cmake_parse_arguments(R "" "" "SOURCES;LINK" ${ARGN})
    add_library(sb_${name} OBJECT ${R_SOURCES})
    target_link_libraries(sb_${name} PUBLIC sb_options Threads::Threads ${R_LINK})
endfunction()
