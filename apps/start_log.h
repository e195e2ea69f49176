// SPDX-License-Identifier: Apache-2.0
// What the log says once a model is loaded.
#pragma once

#include <cstdint>

#include "loaded_model.h"
#include "nn/builder.h"

namespace quern {

// How answers are read, and whether that was asked for or found.
void log_parsers(const AnswerDialects& dialects, const LoadOptions& load);
// Of a model in this process: how long it took, and what memory.
void log_ready(const OpenedModel& opened, int64_t took_us);

// Of a rank whose experts lie in the file: how many are held, and what speed is to be expected.
void log_experts(const Builder& builder);

}  // namespace quern
