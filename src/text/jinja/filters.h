// SPDX-License-Identifier: Apache-2.0
// The filters behind "|", by name. Each group stands in a file of its own.
#pragma once

#include <span>
#include <string_view>
#include <utility>

#include "text/jinja/ast.h"

namespace quern::jinja {

// Null where there is none.
Filter find_filter(std::string_view name);
// jinja2 has it, this subset does not.
bool is_unsupported_filter(std::string_view name);

using FilterEntry = std::pair<std::string_view, Filter>;
std::span<const FilterEntry> text_filters();
std::span<const FilterEntry> sequence_filters();
std::span<const FilterEntry> selection_filters();
std::span<const FilterEntry> number_filters();
std::span<const FilterEntry> conversion_filters();

}  // namespace quern::jinja
