// SPDX-License-Identifier: Apache-2.0
// What preprocessor_config.json says of mel features.
#pragma once

#include "media/audio/log_mel.h"
#include "weights/config.h"

namespace quern {

// Windows of `features` (a preprocessor_config.json, or a part of one) for a model of `bands` mel
// bands, which takes multiples of `frames`. Throws data_loss where the files contradict each other,
// unsupported for dither, padding_value and do_normalize.
MelShape read_mel_shape(const Config& features, int64_t bands, int64_t frames);

}  // namespace quern
