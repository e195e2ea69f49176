// SPDX-License-Identifier: Apache-2.0
// Scheme: how a checkpoint is quantized and as whose files it is written.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "quantize/int_layer.h"

namespace quern {

// How the codes of a matrix are chosen.
enum class Rounding : uint8_t { nearest, gptq, awq };
// What a code is.
enum class Element : uint8_t {
  whole_number,
  e4m3_channel,
  e4m3_block,
  int8_channel,  // a byte, and inputs are rounded to bytes too when the model is run
};

struct Scheme {
  std::string name;  // "gptq-int4"
  Rounding rounding = Rounding::nearest;
  Element element = Element::whole_number;
  // Of whole numbers:
  int bits = 4;
  int64_t group = 128;  // inputs that share a scale; -1: all
  bool is_symmetric = true;
  IntLayout layout = IntLayout::compressed_tensors;
  // Of GPTQ:
  bool has_act_order = false;  // inputs are rounded in order of importance, in groups as they lie
  double damping = 0.01;       // of the mean of the Hessian's diagonal
  // Of inputs that are rounded too: what SmoothQuant moves of their range into the weights, as an
  // exponent; 0: nothing is moved.
  double smoothing = 0;
  bool searches_ranges = false;  // shrinks a group's range where that lowers its error

  // Channels of an inner axis that no scheme's group or word is cut by.
  int64_t granule() const;
  bool is_float() const {
    return element == Element::e4m3_channel || element == Element::e4m3_block;
  }
  bool needs_calibration() const { return rounding != Rounding::nearest || smoothing > 0; }
};

// The names that parse_scheme() takes.
std::vector<std::string> scheme_names();

// What a user may ask for besides a scheme's name; unset: the scheme's own choice.
struct SchemeChoices {
  int64_t group = 0;   // 0: 128
  int symmetric = -1;  // 0, 1
  std::string layout;  // "awq", "gptq", "compressed-tensors"
  int searches_ranges = -1;
  bool has_act_order = false;
  double damping = 0.01;
  double smoothing = -1;  // below 0: 0.5 where there is any
  // No texts are to be had: the scheme must do with the weights alone.
  bool is_without_texts = false;
};
// Throws invalid_argument naming the flag where the scheme cannot be so.
Scheme parse_scheme(std::string_view name, const SchemeChoices& choices = {});

// config.json's quantization_config. `kept`: linear layers that stay floats, as the files spell
// them.
Json quantization_config_of(const Scheme& scheme, const std::vector<std::string>& kept);

}  // namespace quern
