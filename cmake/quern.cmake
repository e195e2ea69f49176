# SPDX-License-Identifier: Apache-2.0
# Helper functions: one static library per room, its tests, benches and fuzz drivers beside it.

set(QUERN_CXX_FLAGS -Wall -Wextra -Werror -Wno-restrict -fno-omit-frame-pointer -ffp-contract=off)
# -Wno-restrict: g++ 12 warns falsely where strings are joined (GCC bug 105651).
# -ffp-contract=off: a fused multiply-add appears only where a kernel asks for it, so that the same
# formula gives the same bits in every translation unit.
if(QUERN_SANITIZE)
  # -g1: reports name functions and lines; variables would cost a sixth of the compile time.
  list(APPEND QUERN_CXX_FLAGS -fsanitize=${QUERN_SANITIZE} -fno-sanitize-recover=all -O1 -g1 -Wno-maybe-uninitialized)
  add_link_options(-fsanitize=${QUERN_SANITIZE})
endif()
if(QUERN_SANITIZE MATCHES "undefined")
  # What these three find the address sanitizer reports too, as an invalid access: a sixth of the compile time for nothing.
  list(APPEND QUERN_CXX_FLAGS -fno-sanitize=null,object-size,vptr)
  # Another sixth for the alignment of every member: checked where bytes are read as numbers, not in tests and in these rooms.
  set(QUERN_NO_ALIGNMENT -fno-sanitize=alignment)
  set(QUERN_UNPACKED_ROOMS prompt sampling plan quantize api api_script server)
endif()

# Everything that ctest and the fuzz smoke run need, and no more: ./dev test builds this much with sanitizers.
add_custom_target(checks)
# Tests (ctest -L numbers) of what optimisation could change: the rooms that compute, and the queues of the engine. ./dev test builds these and the
# program as they are released; the tests of all other rooms are run by it with sanitizers alone. Compiling tests is a third of a build.
add_custom_target(numbers)
set(QUERN_NUMBER_TESTS base_test tensor_test media_test ops_test comm_test cache_test nn_test sampling_test models_test engine_test invariance_test)

# quern_precompile(TARGET HEADER …): the target's sources find these headers parsed already. For targets in which many files include a
# header that takes seconds: half of the time of a sanitizer build went into reading JSON and test headers anew. What a file uses it
# still includes itself. Only the sanitizer presets have QUERN_PCH on: g++ 12 at -O3 warns of library headers read that way, and
# where there is ccache, ./dev leaves the work to it.
function(quern_precompile target)
  if(QUERN_PCH)
    target_compile_options(${target} PRIVATE -Wno-array-bounds -Wno-stringop-overflow)
    target_precompile_headers(${target} PRIVATE ${ARGN})
  endif()
endfunction()

# quern_unity(TARGET): the target's sources are compiled up to eight at a time: most files are short, and reading the same headers for
# each anew took more than half of a build. unity.py says which together, and is asked again when one of them has changed.
# -DQUERN_UNITY=OFF compiles every file by itself, as clang-tidy wants it (./dev lint).
find_program(QUERN_PYTHON python3 REQUIRED)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/cmake/unity.py)
set(QUERN_HEADER_NAMES ${PROJECT_BINARY_DIR}/header_names.txt)  # read once for all targets
if(QUERN_UNITY)
  execute_process(COMMAND ${QUERN_PYTHON} ${PROJECT_SOURCE_DIR}/cmake/unity.py ${PROJECT_SOURCE_DIR}
    OUTPUT_FILE ${QUERN_HEADER_NAMES} COMMAND_ERROR_IS_FATAL ANY)
endif()
function(quern_unity target)
  if(NOT QUERN_UNITY)
    return()
  endif()
  get_target_property(sources ${target} SOURCES)
  execute_process(COMMAND ${QUERN_PYTHON} ${PROJECT_SOURCE_DIR}/cmake/unity.py ${QUERN_HEADER_NAMES} ${CMAKE_CURRENT_SOURCE_DIR} ${sources}
    OUTPUT_VARIABLE lines OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
  string(REPLACE "\n" ";" lines "${lines}")
  foreach(line ${lines})
    separate_arguments(words UNIX_COMMAND "${line}")
    list(GET words 0 group)
    list(GET words 1 file)
    set_source_files_properties(${file} PROPERTIES UNITY_GROUP ${target}_${group})
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${file})
  endforeach()
  set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_MODE GROUP)
  target_compile_options(${target} PRIVATE -Wno-subobject-linkage)  # g++ takes the sources for headers
endfunction()

# quern_test(NAME SOURCES a_test.cc … [LIBS target …] [PRECOMPILE <header> …]): a test program, for ctest.
function(quern_test name)
  cmake_parse_arguments(Q "" "" "SOURCES;LIBS;PRECOMPILE" ${ARGN})
  add_executable(${name} ${Q_SOURCES})
  quern_unity(${name})
  target_compile_options(${name} PRIVATE ${QUERN_CXX_FLAGS} ${QUERN_NO_ALIGNMENT})
  target_compile_definitions(${name} PRIVATE QUERN_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  target_link_libraries(${name} PRIVATE ${Q_LIBS} GTest::gmock GTest::gtest_main)
  list(LENGTH Q_SOURCES sources)
  if(sources GREATER 2)
    quern_precompile(${name} <gmock/gmock.h> <gtest/gtest.h> ${Q_PRECOMPILE})
  endif()
  add_test(NAME ${name} COMMAND ${name})
  # No TIMEOUT here: it would win over the --timeout that ./dev gives, and what is long depends on the build.
  add_dependencies(checks ${name})
  if(name IN_LIST QUERN_NUMBER_TESTS)
    add_dependencies(numbers ${name})
    set_tests_properties(${name} PROPERTIES LABELS numbers)
  endif()
endfunction()

# quern_library(NAME SOURCES a.cc … [DEPS room …] [LIBS target …] [TESTS a_test.cc …] [TEST_DEPS room …]
#               [BENCHES a_bench.cc …] [FUZZERS a_fuzz.cc …] [PRECOMPILE <header> …])
# makes quern_NAME (alias quern::NAME) and NAME_test. Files are listed, never globbed. LIBS are third-party and stay private.
function(quern_library name)
  cmake_parse_arguments(Q "" "" "SOURCES;DEPS;LIBS;TESTS;TEST_DEPS;BENCHES;FUZZERS;PRECOMPILE" ${ARGN})
  add_library(quern_${name} STATIC ${Q_SOURCES})
  quern_unity(quern_${name})
  add_library(quern::${name} ALIAS quern_${name})
  target_include_directories(quern_${name} PUBLIC ${PROJECT_SOURCE_DIR}/src)
  target_compile_options(quern_${name} PRIVATE ${QUERN_CXX_FLAGS})
  if(name IN_LIST QUERN_UNPACKED_ROOMS)
    target_compile_options(quern_${name} PRIVATE ${QUERN_NO_ALIGNMENT})
  endif()
  list(TRANSFORM Q_DEPS PREPEND quern::)
  list(TRANSFORM Q_TEST_DEPS PREPEND quern::)
  target_link_libraries(quern_${name} PUBLIC ${Q_DEPS} PRIVATE ${Q_LIBS})
  if(Q_PRECOMPILE)
    quern_precompile(quern_${name} ${Q_PRECOMPILE})
  endif()
  if(QUERN_TESTS AND Q_TESTS)
    quern_test(${name}_test SOURCES ${Q_TESTS} LIBS quern::${name} ${Q_TEST_DEPS} ${Q_LIBS} PRECOMPILE ${Q_PRECOMPILE})
  endif()
  if(QUERN_BENCHES AND Q_BENCHES)
    find_package(benchmark REQUIRED)
    add_executable(${name}_bench ${Q_BENCHES})
    target_compile_options(${name}_bench PRIVATE ${QUERN_CXX_FLAGS})
    target_link_libraries(${name}_bench PRIVATE quern::${name} ${Q_TEST_DEPS} benchmark::benchmark_main)
  endif()
  if(QUERN_FUZZERS AND Q_FUZZERS)
    foreach(file ${Q_FUZZERS})
      quern_fuzzer(${file} quern::${name} ${Q_TEST_DEPS})
    endforeach()
  endif()
endfunction()

# A fuzz driver defines LLVMFuzzerTestOneInput. With clang it links libFuzzer; with g++ it gets cmake/fuzz_main.cc, which
# mutates the seed files it is given for a bounded number of runs (the smoke run of CI).
function(quern_fuzzer file)
  get_filename_component(target ${file} NAME_WE)
  add_executable(${target} ${file})
  target_compile_options(${target} PRIVATE ${QUERN_CXX_FLAGS})
  target_link_libraries(${target} PRIVATE ${ARGN})
  add_dependencies(checks ${target})
  if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
    target_compile_options(${target} PRIVATE -fsanitize=fuzzer)
    target_link_options(${target} PRIVATE -fsanitize=fuzzer)
  else()
    target_sources(${target} PRIVATE ${PROJECT_SOURCE_DIR}/cmake/fuzz_main.cc)
  endif()
endfunction()
