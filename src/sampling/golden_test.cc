// SPDX-License-Identifier: Apache-2.0
// Probabilities against the reference's warpers (tests/golden/sampling).
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <numeric>

#include "base/file.h"
#include "base/json.h"
#include "sampling/sampler.h"

namespace quern {
namespace {

const std::string kFolder = QUERN_SOURCE_DIR "/tests/golden/sampling/";

// Just enough of a safetensors file for numbers of our own repository.
class Arrays {
 public:
  explicit Arrays(const std::string& path) : bytes_(read_file(path)) {
    uint64_t length = 0;
    std::memcpy(&length, bytes_.data(), 8);
    header_ = parse_json(std::string_view(bytes_).substr(8, length), path);
    data_ = bytes_.data() + 8 + length;
  }
  template <typename T>
  std::vector<T> get(const std::string& name) const {
    const Json& entry = header_.at(name);
    std::vector<T> values(entry.at("shape").at(0).get<size_t>());
    std::memcpy(values.data(),
                data_ + entry.at("data_offsets").at(0).get<size_t>(),
                values.size() * sizeof(T));
    return values;
  }

 private:
  std::string bytes_;
  Json header_;
  const char* data_ = nullptr;
};

SamplingParams params_of(const Json& row) {
  SamplingParams p;
  p.repetition_penalty = row.at("repetition_penalty");
  p.temperature = row.at("temperature");
  p.top_k = row.at("top_k");
  p.top_p = row.at("top_p");
  p.min_p = row.at("min_p");
  return p;
}

TEST(SamplingGolden, ProbabilitiesWithinOneHundredThousandth) {
  const Json expected = read_json_file(kFolder + "expected.json");
  const Arrays arrays(kFolder + "expected.safetensors");
  for (const Json& row : expected.at("rows")) {
    const std::string index = std::to_string(row.at("index").get<int>());
    std::vector<int32_t> history;
    for (const int64_t token : arrays.get<int64_t>(index + ".history"))
      history.push_back(static_cast<int32_t>(token));
    const auto logits = arrays.get<float>(index + ".logits");
    auto probabilities = sampled_distribution(logits, params_of(row), {history, history.size()});
    auto reference = arrays.get<float>(index + ".probs");
    ASSERT_EQ(probabilities.size(), reference.size());
    if (row.at("ties").get<bool>()) {
      EXPECT_NEAR(std::accumulate(probabilities.begin(), probabilities.end(), 0.0),
                  std::accumulate(reference.begin(), reference.end(), 0.0),
                  1e-5)
          << index;
      // Which of equals stay may differ, not how many of what probability.
      std::sort(probabilities.begin(), probabilities.end());
      std::sort(reference.begin(), reference.end());
    }
    for (size_t i = 0; i < reference.size(); ++i)
      EXPECT_NEAR(probabilities[i], reference[i], 1e-5) << index << " " << i;
  }
}

}  // namespace
}  // namespace quern
