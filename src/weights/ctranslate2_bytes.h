// SPDX-License-Identifier: Apache-2.0
// For tests: writes the model.bin of a CTranslate2 model.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace quern {

class Ctranslate2Bytes {
 public:
  explicit Ctranslate2Bytes(std::string spec = "WhisperSpec", uint32_t revision = 3)
      : spec_(std::move(spec)), revision_(revision) {}

  // `type`: 0 f32, 1 i8, 2 i16, 3 i32, 4 f16, 5 bf16.
  Ctranslate2Bytes& variable(const std::string& name,
                             const std::vector<uint32_t>& shape,
                             uint8_t type,
                             const std::string& bytes) {
    variables_ += text(name) + number(shape.size(), 1);
    for (const uint32_t size : shape) variables_ += number(size, 4);
    variables_ += number(type, 1) + number(bytes.size(), 4) + bytes;
    ++count_;
    return *this;
  }
  Ctranslate2Bytes& alias(const std::string& name, const std::string& variable) {
    aliases_ += text(name) + text(variable);
    ++alias_count_;
    return *this;
  }

  std::string file(uint32_t version = 6) const {
    return number(version, 4) + text(spec_) + number(revision_, 4) + number(count_, 4) +
           variables_ + number(alias_count_, 4) + aliases_;
  }

 private:
  static std::string number(uint64_t value, size_t bytes) {
    std::string out;
    for (size_t i = 0; i < bytes; ++i) out += static_cast<char>(value >> (8 * i) & 0xff);
    return out;
  }
  static std::string text(const std::string& t) { return number(t.size() + 1, 2) + t + '\0'; }

  std::string spec_, variables_, aliases_;
  uint32_t revision_, count_ = 0, alias_count_ = 0;
};

}  // namespace quern
