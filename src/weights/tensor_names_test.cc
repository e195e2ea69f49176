// SPDX-License-Identifier: Apache-2.0
#include "weights/tensor_names.h"

#include <gtest/gtest.h>

namespace quern {
namespace {

TEST(TensorNames, NewerPrefixesBecomeThePublishedOnes) {
  EXPECT_EQ(canonical_name("model.language_model.layers.0.input_layernorm.weight"),
            "model.layers.0.input_layernorm.weight");
  EXPECT_EQ(canonical_name("language_model.model.norm.weight"), "model.norm.weight");
  EXPECT_EQ(canonical_name("language_model.lm_head.weight"), "lm_head.weight");
  EXPECT_EQ(canonical_name("model.audio_tower.conv1.weight"), "audio_tower.conv1.weight");
  EXPECT_EQ(canonical_name("model.multi_modal_projector.linear_1.bias"),
            "multi_modal_projector.linear_1.bias");
  EXPECT_EQ(canonical_name("model.visual.blocks.1.attn.qkv.bias"), "visual.blocks.1.attn.qkv.bias");
}

TEST(TensorNames, ABareDecoderGetsItsFirstWord) {
  EXPECT_EQ(canonical_name("layers.0.mlp.up_proj.weight"), "model.layers.0.mlp.up_proj.weight");
  EXPECT_EQ(canonical_name("embed_tokens.weight"), "model.embed_tokens.weight");
  EXPECT_EQ(canonical_name("norm.weight"), "model.norm.weight");
}

TEST(TensorNames, CanonicalNamesStay) {
  for (const char* name : {"model.layers.0.mlp.up_proj.weight",
                           "lm_head.weight",
                           "visual.merger.mlp.0.bias",
                           "audio_tower.conv1.weight",
                           "model.visualizer.x",
                           "model.encoder.layers.0.fc1.weight",
                           "",
                           "language_model"})
    EXPECT_EQ(canonical_name(name), name);
}

}  // namespace
}  // namespace quern
