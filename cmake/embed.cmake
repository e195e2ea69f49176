# SPDX-License-Identifier: Apache-2.0
# Writes OUT: the files of FOLDER named in NAMES (with commas) as the table that src/server/ui.h declares.
# They are written as numbers, so that no sign in them can mean anything to a compiler.
set(types_html "text/html; charset=utf-8")
set(types_css "text/css; charset=utf-8")
set(types_js "text/javascript; charset=utf-8")
set(types_svg "image/svg+xml")
string(REPLACE "," ";" names "${NAMES}")
set(arrays "")
set(rows "")
set(index 0)
foreach(name IN LISTS names)
  file(READ "${FOLDER}/${name}" hex HEX)
  file(SHA256 "${FOLDER}/${name}" hash)
  string(SUBSTRING "${hash}" 0 32 hash)
  string(REGEX REPLACE "^.*\\." "" ending "${name}")
  if(NOT DEFINED types_${ending})
    message(FATAL_ERROR "${name}: no content type is known for .${ending}")
  endif()
  string(REGEX REPLACE "(..)" "0x\\1," bytes "${hex}")
  string(APPEND arrays "constexpr unsigned char kFile${index}[] = {${bytes}0};\n")
  string(APPEND rows "    {\"${name}\", \"${types_${ending}}\", \"${hash}\", text_of(kFile${index}, sizeof kFile${index} - 1)},\n")
  math(EXPR index "${index} + 1")
endforeach()
file(WRITE "${OUT}" "// Made by cmake/embed.cmake from ui/.
#include \"server/ui.h\"

namespace quern {
namespace {

${arrays}
std::string_view text_of(const unsigned char* bytes, size_t size) {
  return {reinterpret_cast<const char*>(bytes), size};
}

}  // namespace

std::span<const UiFile> ui_files() {
  static const UiFile files[] = {
${rows}  };
  return files;
}

}  // namespace quern
")
