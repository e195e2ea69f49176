// SPDX-License-Identifier: Apache-2.0
// How far a field of a speech case may lie from what is stored.
#pragma once

#include <optional>
#include <string_view>

#include "tensor/ctx.h"
#include "verify/compare.h"
#include "verify/golden_case.h"

namespace quern {

// tolerance.float32 (or tolerance.bfloat16, float16 for those activations) of expected.json, of
// which field_tolerance of the first pattern that fits the field ("mel.*"; a star stands for any
// text) replaces what it states: atol, rtol, mean_abs_limit. Empty where the case states none for
// that mode. Throws data_loss where it does not state them as numbers.
std::optional<Bound> field_bound(const GoldenCase& golden,
                                 std::string_view field,
                                 Activation activation);

// Whether a pattern of field_tolerance fits the field.
bool has_own_bound(const GoldenCase& golden, std::string_view field);

// Compares with that bound; without one the difference is stated, not judged.
Finding compare_field(const GoldenCase& golden,
                      const std::string& field,
                      std::span<const float> got,
                      Activation activation);

}  // namespace quern
