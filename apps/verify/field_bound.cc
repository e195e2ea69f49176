// SPDX-License-Identifier: Apache-2.0
#include "verify/field_bound.h"

#include <nlohmann/json.hpp>

#include "base/error.h"

namespace quern {
namespace {

std::string_view mode_key(Activation activation) {
  if (activation == Activation::bf16) return "bfloat16";
  if (activation == Activation::f16) return "float16";
  return activation == Activation::f32 ? "float32" : "int8";
}

// The first entry of field_tolerance that fits; null if there is none.
Json own_bound(const GoldenCase& golden, std::string_view field) {
  const Json fields = golden.expected().value("field_tolerance", Json::object());
  for (const auto& [pattern, own] : fields.items())
    if (fits_pattern(field, pattern)) return own;
  return {};
}

void take(const Json& stated, std::string_view where, Bound& bound) {
  const auto read = [&](const char* key, double& value) {
    const auto found = stated.find(key);
    if (found == stated.end()) return;
    if (!found->is_number())
      fail(ErrorCode::data_loss, "{}: {}: expected a number", where, key);
    value = found->get<double>();
  };
  read("atol", bound.atol);
  read("rtol", bound.rtol);
  read("mean_abs_limit", bound.mean_limit);
}

}  // namespace

std::optional<Bound> field_bound(const GoldenCase& golden,
                                 std::string_view field,
                                 Activation activation) {
  const Json tolerances = golden.expected().value("tolerance", Json::object());
  const auto stated = tolerances.find(std::string(mode_key(activation)));
  if (stated == tolerances.end()) return std::nullopt;
  Bound bound;
  take(*stated, "tolerance", bound);
  if (activation != Activation::f32) return bound;
  take(own_bound(golden, field), format("field_tolerance of {}", field), bound);
  return bound;
}

bool has_own_bound(const GoldenCase& golden, std::string_view field) {
  return !own_bound(golden, field).is_null();
}

Finding compare_field(const GoldenCase& golden,
                      const std::string& field,
                      std::span<const float> got,
                      Activation activation) {
  const Tensor expected = golden.floats(field);
  const std::optional<Bound> bound = field_bound(golden, field, activation);
  Finding out = compare_values(field, got, expected.span<float>(), bound.value_or(Bound{1, 0, 1}));
  if (bound || got.size() != expected.span<float>().size()) return out;
  out.verdict = Verdict::not_judged;
  out.note = format("off by {:.3g}, {}; the case states no bound for this mode", out.error, out.note);
  return out;
}

}  // namespace quern
