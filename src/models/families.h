// SPDX-License-Identifier: Apache-2.0
// The factories behind model_table(), one per file of this folder. Private to the room.
#pragma once

#include <memory>

#include "nn/builder.h"
#include "nn/decoder.h"
#include "nn/model.h"

namespace quern {

std::unique_ptr<Model> make_deepseek_v3(const Builder& b);
std::unique_ptr<Model> make_glmasr(const Builder& b);
std::unique_ptr<Model> make_llama(const Builder& b);
std::unique_ptr<Model> make_qwen2(const Builder& b);
std::unique_ptr<Model> make_qwen2_vl(const Builder& b);
std::unique_ptr<Model> make_qwen2_5_vl(const Builder& b);
std::unique_ptr<Model> make_glm4v(const Builder& b);
std::unique_ptr<Model> make_glm4v_moe(const Builder& b);
std::unique_ptr<Model> make_hunyuan_vl(const Builder& b);
std::unique_ptr<Model> make_spark(const Builder& b);
std::unique_ptr<Model> make_whisper(const Builder& b);

// Llama's decoder, where other models have it behind a tower too.
DecoderConfig llama_config(const Config& root, double default_eps = 1e-6);

}  // namespace quern
