# SPDX-License-Identifier: Apache-2.0
# xgrammar's C++ core as a static library, from the source archive that `./dev setup` fetches (cmake/xgrammar.txt).
# Its Python binding, tests and stack traces are left out; warnings of its code are its own.
set(xgrammar_source ${PROJECT_SOURCE_DIR}/build/third_party/xgrammar)
set(xgrammar_version 0.2.8)
set(xgrammar_found "none")
if(SKBUILD AND NOT EXISTS ${xgrammar_source}/.version)  # pip builds from what it is given
  execute_process(COMMAND python3 cmake/fetch_source.py cmake/xgrammar.txt ${xgrammar_source} build/archives
    WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
endif()
if(EXISTS ${xgrammar_source}/.version)
  file(STRINGS ${xgrammar_source}/.version xgrammar_found LIMIT_COUNT 1)
endif()
if(NOT xgrammar_found STREQUAL xgrammar_version)
  message(FATAL_ERROR "xgrammar ${xgrammar_version} is not in build/third_party (found: ${xgrammar_found}): run ./dev setup")
endif()

file(GLOB xgrammar_files ${xgrammar_source}/cpp/*.cc ${xgrammar_source}/cpp/support/*.cc ${xgrammar_source}/cpp/converter_ext/*.cc)
add_library(xgrammar STATIC ${xgrammar_files})
target_include_directories(xgrammar SYSTEM PUBLIC
  ${xgrammar_source}/include ${xgrammar_source}/3rdparty/picojson ${xgrammar_source}/3rdparty/dlpack/include)
set(xgrammar_flags ${QUERN_CXX_FLAGS})
list(REMOVE_ITEM xgrammar_flags -Wall -Wextra -Werror)
list(TRANSFORM xgrammar_flags REPLACE "^-fsanitize=address,undefined$" "-fsanitize=address")  # undefined: for code of this house
target_compile_options(xgrammar PRIVATE ${xgrammar_flags} -w)
target_compile_definitions(xgrammar PUBLIC XGRAMMAR_ENABLE_CPPTRACE=0 XGRAMMAR_ENABLE_INTERNAL_CHECK=0)
