// SPDX-License-Identifier: Apache-2.0
// What flow/config.yaml of GLM-TTS says of the network that turns speech tokens into mel frames.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace quern {

// The two rates; everything else that the file may state is either seen in the shapes of the
// weights or carried in one form alone.
struct FlowConfig {
  double token_rate_hz = 25, frame_rate_hz = 50;

  // Reads what is needed of the text of a config.yaml, whose one mapping is made by a tag of
  // HyperPyYAML (!new:flow.flow.Flow): scalars, a key to a line. A key that is absent means what
  // the reference's class means by it. `path` is how messages name the file. Throws data_loss for a
  // line that states a needed key and cannot be read, unsupported for a form of the network that is
  // not carried: tokens that guidance drops, a speaker beside the mel prompt or none at all, a
  // second speaker vector, another course of times.
  static FlowConfig from_yaml(std::string_view text, const std::string& path);

  // Mel frames of so many tokens: tokens / token rate * frame rate in double precision, cut to a
  // whole number: at 25 and 50 Hz one less than twice as many for 29, 57, 58, 113, … tokens.
  int64_t frames(int64_t tokens) const;
};

}  // namespace quern
