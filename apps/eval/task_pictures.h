// SPDX-License-Identifier: Apache-2.0
// Pictures of a task that lie beside its file.
#pragma once

#include <filesystem>

#include "base/json.h"

namespace quern::eval {

// That pictures without a scheme in their URL are files at or below `folder`, of at most
// kMaxPictureBytes. Throws RequestError naming the content part; so does any medium that is no
// picture.
void expect_pictures(const Json& messages, const std::filesystem::path& folder);

// Puts data URLs in the place of such paths. Throws what expect_pictures and reading throw.
void inline_pictures(Json& messages, const std::filesystem::path& folder);

}  // namespace quern::eval
