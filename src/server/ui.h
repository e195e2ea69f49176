// SPDX-License-Identifier: Apache-2.0
// The playground's files (ui/ of the source tree), which the build puts into the program.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

#include "server/router.h"

namespace quern {

struct UiFile {
  std::string_view name, content_type;
  std::string_view hash;  // of the bytes, in hex
  std::string_view bytes;
};

// The table that cmake/embed.cmake writes.
std::span<const UiFile> ui_files();

// The page at / and what it consists of under /ui/. Neither asks for a key, as neither holds
// anything of anybody's; what the page asks of the API carries the key of its reader.
void add_ui_routes(Router& router);

}  // namespace quern
