// SPDX-License-Identifier: Apache-2.0
#include "verify/golden_case.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"

namespace quern {

GoldenCase::GoldenCase(std::string folder) : folder_(std::move(folder)) {
  while (folder_.size() > 1 && folder_.ends_with('/')) folder_.pop_back();
  if (!file_exists(file("expected.json")))
    fail(ErrorCode::not_found,
         "{}: no expected.json: expected a folder as tests/golden/README.md describes it",
         folder_);
  expected_ = std::make_shared<const Json>(
      read_json_file(file("expected.json"), {.max_bytes = size_t{256} << 20}));
  if (!expected_->is_object())
    fail(ErrorCode::data_loss, "{}: expected an object", file("expected.json"));
  const auto number = expected_->find("format");
  if (number == expected_->end() || *number != 1)
    fail(ErrorCode::unsupported,
         "{}: format {}: this build judges format 1",
         file("expected.json"),
         number == expected_->end() ? "none" : number->dump());
  if (file_exists(file("expected.safetensors")))
    tensors_ = open_checkpoint(file("expected.safetensors"));
}

std::string GoldenCase::kind() const {
  const auto kind = expected_->find("kind");
  if (kind == expected_->end() || !kind->is_string())
    fail(ErrorCode::data_loss, "{}: kind: expected a string", file("expected.json"));
  return kind->get<std::string>();
}

std::vector<std::string> GoldenCase::names() const {
  return tensors_ ? tensors_->names() : std::vector<std::string>();
}

Tensor GoldenCase::tensor(std::string_view name) const {
  if (!tensors_) fail(ErrorCode::not_found, "{}: no such file", file("expected.safetensors"));
  return read_tensor(*tensors_, name);
}

Tensor GoldenCase::floats(std::string_view name) const {
  return to_f32(tensor(name));
}

std::vector<int64_t> GoldenCase::integers(std::string_view name) const {
  const Tensor t = tensor(name);
  if (t.dtype() != DType::i64)
    fail(ErrorCode::data_loss, "{}: expected i64, got {}", name, name_of(t.dtype()));
  const auto values = t.span<int64_t>();
  return {values.begin(), values.end()};
}

std::vector<Json> GoldenCase::rows(std::string_view name) const {
  const std::string text = read_file(file(name));
  std::vector<Json> out;
  int64_t line = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view row = std::string_view(text).substr(begin, end - begin);
    begin = end + 1;
    ++line;
    if (row.find_first_not_of(" \r\t") == std::string_view::npos) continue;
    out.push_back(with_context(format("{} line {}", file(name), line), [&] {
      return parse_json(row, "row", {.max_bytes = size_t{16} << 20});
    }));
  }
  return out;
}

}  // namespace quern
