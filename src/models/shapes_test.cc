// SPDX-License-Identifier: Apache-2.0
// Every model on Device::meta: for one rank of up to eight, with the shapes of the file or by
// config.json alone; and that what a run on meta says of the arena holds for the run on the CPU.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "models/golden_case.h"

namespace quern {
namespace {

struct Published {
  const char* name;
  const char* config;
  double parameters;  // as published, tied tables once
  int64_t table;      // of these in the embedding table
};

// The keys of published config.json files that say shapes.
constexpr Published kPublished[] = {
    {"Llama-3.1-8B",
     R"({"architectures": ["LlamaForCausalLM"], "hidden_size": 4096, "num_hidden_layers": 32,
      "num_attention_heads": 32, "num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 128256, "rms_norm_eps": 1e-5,
      "rope_theta": 500000.0, "torch_dtype": "bfloat16", "tie_word_embeddings": false, "rope_scaling": {"factor": 8.0,
      "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192, "rope_type": "llama3"}})",
     8030261248,
     128256 * 4096},
    {"SmolLM2-135M",
     R"({"architectures": ["LlamaForCausalLM"], "hidden_size": 576, "num_hidden_layers": 30,
      "num_attention_heads": 9, "num_key_value_heads": 3, "intermediate_size": 1536, "vocab_size": 49152, "rms_norm_eps": 1e-5,
      "rope_theta": 100000, "torch_dtype": "bfloat16", "tie_word_embeddings": true})",
     134515008,
     49152 * 576},
    {"Qwen2.5-7B",
     R"({"architectures": ["Qwen2ForCausalLM"], "hidden_size": 3584, "num_hidden_layers": 28,
      "num_attention_heads": 28, "num_key_value_heads": 4, "intermediate_size": 18944, "vocab_size": 152064, "rms_norm_eps": 1e-6,
      "rope_theta": 1000000.0, "torch_dtype": "bfloat16", "tie_word_embeddings": false})",
     7615616512,
     152064 * 3584},
    {"Qwen2-VL-2B",
     R"({"architectures": ["Qwen2VLForConditionalGeneration"], "hidden_size": 1536, "num_hidden_layers": 28,
      "num_attention_heads": 12, "num_key_value_heads": 2, "intermediate_size": 8960, "vocab_size": 151936, "rms_norm_eps": 1e-6,
      "rope_theta": 1000000.0, "torch_dtype": "bfloat16", "tie_word_embeddings": true, "rope_scaling": {"type": "mrope",
      "mrope_section": [16, 24, 24]}, "vision_config": {"depth": 32, "embed_dim": 1280, "mlp_ratio": 4, "num_heads": 16,
      "in_chans": 3, "hidden_size": 1536, "patch_size": 14, "spatial_merge_size": 2, "spatial_patch_size": 14,
      "temporal_patch_size": 2}})",
     2208985600,
     151936 * 1536},
    {"Qwen2-VL-7B with next to no vision keys",
     R"({"architectures": ["Qwen2VLForConditionalGeneration"], "hidden_size": 3584,
      "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4, "intermediate_size": 18944,
      "vocab_size": 152064, "rms_norm_eps": 1e-6, "rope_theta": 1000000.0, "torch_dtype": "bfloat16", "tie_word_embeddings": false,
      "rope_scaling": {"rope_type": "default", "type": "default", "mrope_section": [16, 24, 24]}, "vision_config": {"in_chans": 3,
      "model_type": "qwen2_vl", "spatial_patch_size": 14}})",
     8291375616,
     152064 * 3584},
    {"Qwen2-VL-72B",
     R"({"architectures": ["Qwen2VLForConditionalGeneration"], "hidden_size": 8192, "num_hidden_layers": 80,
      "num_attention_heads": 64, "num_key_value_heads": 8, "intermediate_size": 29568, "vocab_size": 152064, "rms_norm_eps": 1e-6,
      "rope_theta": 1000000.0, "torch_dtype": "bfloat16", "tie_word_embeddings": false, "rope_scaling": {"type": "mrope",
      "mrope_section": [16, 24, 24]}, "vision_config": {"hidden_size": 8192, "in_chans": 3}})",
     73405560320,
     int64_t{152064} * 8192},
    {"Qwen2.5-VL-7B in the newer layout",
     R"({"architectures": ["Qwen2_5_VLForConditionalGeneration"], "dtype": "bfloat16",
      "image_token_id": 151655, "video_token_id": 151656, "tie_word_embeddings": false, "text_config": {"hidden_size": 3584,
      "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4, "intermediate_size": 18944,
      "vocab_size": 152064, "rms_norm_eps": 1e-6, "rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0,
      "mrope_section": [16, 24, 24]}}, "vision_config": {"hidden_size": 1280, "intermediate_size": 3420, "out_hidden_size": 3584,
      "window_size": 112, "fullatt_block_indexes": [7, 15, 23, 31]}})",
     8292166656,
     152064 * 3584},
    {"GLM-4.1V-9B",
     R"({"architectures": ["Glm4vForConditionalGeneration"], "torch_dtype": "bfloat16",
      "image_token_id": 151343, "video_token_id": 151344, "tie_word_embeddings": false, "text_config": {"hidden_size": 4096,
      "num_hidden_layers": 40, "num_attention_heads": 32, "num_key_value_heads": 2, "intermediate_size": 13696,
      "vocab_size": 151552, "rms_norm_eps": 1e-5, "attention_bias": true, "partial_rotary_factor": 0.5, "rope_theta": 10000.0,
      "rope_scaling": {"rope_type": "default", "mrope_section": [8, 12, 12]}, "max_position_embeddings": 65536},
      "vision_config": {"depth": 24, "hidden_size": 1536, "num_heads": 12, "attention_bias": false, "hidden_act": "silu",
      "image_size": 336, "patch_size": 14, "temporal_patch_size": 2, "spatial_merge_size": 2, "out_hidden_size": 4096,
      "intermediate_size": 13696, "rms_norm_eps": 1e-5}})",
     10292777472,
     int64_t{151552} * 4096},
    {"GLM-4.5V",
     R"({"architectures": ["Glm4vMoeForConditionalGeneration"], "torch_dtype": "bfloat16", "model_type": "glm4v_moe",
      "image_token_id": 151363, "video_token_id": 151364, "tie_word_embeddings": false, "text_config": {"hidden_size": 4096,
      "num_hidden_layers": 46, "num_attention_heads": 96, "num_key_value_heads": 8, "head_dim": 128, "intermediate_size": 10944,
      "moe_intermediate_size": 1408, "n_routed_experts": 128, "num_experts_per_tok": 8, "n_shared_experts": 1, "n_group": 1,
      "topk_group": 1, "norm_topk_prob": true, "routed_scaling_factor": 1.0, "first_k_dense_replace": 1, "use_qk_norm": false,
      "vocab_size": 151552, "rms_norm_eps": 1e-5, "attention_bias": true, "partial_rotary_factor": 0.5, "rope_theta": 10000.0,
      "rope_scaling": {"rope_type": "default", "mrope_section": [8, 12, 12]}, "max_position_embeddings": 65536},
      "vision_config": {"depth": 24, "hidden_size": 1536, "num_heads": 12, "attention_bias": false, "hidden_act": "silu",
      "image_size": 336, "patch_size": 14, "temporal_patch_size": 2, "spatial_merge_size": 2, "out_hidden_size": 4096,
      "intermediate_size": 10944, "rms_norm_eps": 1e-5}})",
     107710933120,
     int64_t{151552} * 4096},
    {"GLM-ASR-Nano",
     R"({"architectures": ["GlmAsrForConditionalGeneration"], "dtype": "bfloat16", "model_type": "glmasr",
      "audio_token_id": 59260, "tie_word_embeddings": true, "projector_hidden_act": "gelu", "text_config": {"model_type": "llama",
      "hidden_size": 2048, "num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 4, "intermediate_size": 6144,
      "vocab_size": 59264, "rms_norm_eps": 1e-5, "max_position_embeddings": 8192, "rope_parameters": {"rope_type": "default",
      "rope_theta": 10000.0}}, "audio_config": {"model_type": "glmasr_encoder", "hidden_size": 1280, "intermediate_size": 5120,
      "num_hidden_layers": 32, "num_attention_heads": 20, "num_mel_bins": 128, "max_position_embeddings": 1500, "hidden_act": "gelu",
      "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}}})",
     2136470528,
     59264 * 2048},
    {"HunyuanOCR 1.0",
     R"({"architectures": ["HunYuanVLForConditionalGeneration"], "torch_dtype": "bfloat16",
      "hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128,
      "intermediate_size": 3584, "vocab_size": 120818, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": true,
      "use_qk_norm": true, "image_token_id": 120120, "rope_scaling": {"type": "xdrope", "alpha": 1000.0, "factor": 1.0,
      "xdrope_section": [16, 16, 16, 16]}, "vision_config": {"hidden_size": 1152, "num_hidden_layers": 27,
      "num_attention_heads": 16, "intermediate_size": 4304, "patch_size": 16, "max_image_size": 2048, "spatial_merge_size": 2}})",
     996208112,
     120818 * 1024},
    {"DeepSeek-V3",
     R"({"architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3", "hidden_size": 7168,
      "num_hidden_layers": 61, "num_attention_heads": 128, "num_key_value_heads": 128, "intermediate_size": 18432,
      "moe_intermediate_size": 2048, "n_routed_experts": 256, "num_experts_per_tok": 8, "n_shared_experts": 1, "n_group": 8,
      "topk_group": 4, "norm_topk_prob": true, "routed_scaling_factor": 2.5, "first_k_dense_replace": 3, "moe_layer_freq": 1,
      "scoring_func": "sigmoid", "topk_method": "noaux_tc", "q_lora_rank": 1536, "kv_lora_rank": 512, "qk_nope_head_dim": 128,
      "qk_rope_head_dim": 64, "v_head_dim": 128, "vocab_size": 129280, "rms_norm_eps": 1e-6, "rope_theta": 10000,
      "max_position_embeddings": 163840, "torch_dtype": "bfloat16", "tie_word_embeddings": false, "rope_scaling": {"type":
      "yarn", "factor": 40, "beta_fast": 32, "beta_slow": 1, "mscale": 1.0, "mscale_all_dim": 1.0,
      "original_max_position_embeddings": 4096}})",
     671026419200,
     int64_t{129280} * 7168},
    {"Kimi-K2 in bf16",
     R"({"architectures": ["DeepseekV3ForCausalLM"], "model_type": "kimi_k2", "hidden_size": 7168,
      "num_hidden_layers": 61, "num_attention_heads": 64, "num_key_value_heads": 64, "intermediate_size": 18432,
      "moe_intermediate_size": 2048, "n_routed_experts": 384, "num_experts_per_tok": 8, "n_shared_experts": 1, "n_group": 1,
      "topk_group": 1, "norm_topk_prob": true, "routed_scaling_factor": 2.827, "first_k_dense_replace": 1, "moe_layer_freq": 1,
      "scoring_func": "sigmoid", "topk_method": "noaux_tc", "q_lora_rank": 1536, "kv_lora_rank": 512, "qk_nope_head_dim": 128,
      "qk_rope_head_dim": 64, "v_head_dim": 128, "vocab_size": 163840, "rms_norm_eps": 1e-6, "rope_theta": 50000.0,
      "max_position_embeddings": 262144, "torch_dtype": "bfloat16", "tie_word_embeddings": false, "rope_scaling": {"type":
      "yarn", "factor": 64.0, "beta_fast": 1.0, "beta_slow": 1.0, "mscale": 1.0, "mscale_all_dim": 1.0,
      "original_max_position_embeddings": 4096}})",
     1026408232448,
     int64_t{163840} * 7168},
};

std::shared_ptr<const Checkpoint> by_config_alone(Config config) {
  return shapes_only_checkpoint(std::move(config), {});
}

bool has_newlines(const ModelInfo& info) {
  return info.model_type == "hunyuan_vl";
}

// A picture of grid_h x grid_w patches; values only where a tower will read them.
MediaInput picture(const ModelInfo& info, int64_t grid_h, int64_t grid_w) {
  MediaInput media;
  media.grid_h = grid_h, media.grid_w = grid_w;
  media.rows = grid_h * grid_w;
  media.row_size = has_newlines(info) ? 3 * 16 * 16 : 3 * 2 * 14 * 14;
  return media;
}

// A window of 96 frames of 128 bands, as long as its sound.
MediaInput window() {
  MediaInput media;
  media.kind = MediaKind::audio;
  media.rows = 96, media.row_size = 128, media.tokens = 12;
  return media;
}

SequenceInput counting(std::vector<int32_t>& ids, int64_t count) {
  ids.resize(static_cast<size_t>(count));
  std::iota(ids.begin(), ids.end(), 0);
  return {.ids = ids, .positions = {}, .axes = 1, .media = {}};
}

// One rank runs a step of 40 tokens, and its tower a picture: every shape meets the next. Returns
// its weights' bytes.
int64_t run_rank(const std::shared_ptr<const Checkpoint>& checkpoint, Shard shard) {
  OwnedCtx meta = OwnedCtx::meta(Isa::avx2);
  const std::unique_ptr<Model> model = make_model(Builder(checkpoint, meta.ctx(), shard));
  const ModelInfo& info = model->info();
  std::vector<int32_t> ids;
  const std::vector<int32_t> last = {39};
  const Tensor logits = SequenceRunner(*model, meta.ctx(), 40).prefill(counting(ids, 40), last);
  EXPECT_EQ(logits.shape(), Shape({1, info.vocab_size}));
  if (info.has_vision) {
    const int64_t tokens = has_newlines(info) ? 2 * (3 + 1) + 2 : 6;
    EXPECT_EQ(model->encode(meta.ctx(), picture(info, 4, 6)).shape(),
              Shape({tokens, info.hidden_size}));
  }
  if (info.has_audio) {
    EXPECT_EQ(model->encode(meta.ctx(), window()).shape(), Shape({12, info.hidden_size}));
  }
  return model->weight_bytes();
}

TEST(Shapes, PublishedModelsHoldOnOneToEightRanks) {
  for (const Published& published : kPublished) {
    const auto checkpoint = by_config_alone(Config::parse(published.config, published.name));
    for (int ranks = 1; ranks <= 8; ++ranks) {
      double bytes = 0;
      for (int rank = 0; rank < ranks; ++rank)
        bytes += static_cast<double>(run_rank(checkpoint, Shard(rank, ranks)));
      const bool is_tied = checkpoint->config().boolean_or("tie_word_embeddings", false);
      // The output matrix is packed, so a tied table is held twice.
      const double expected =
          2 * (published.parameters + (is_tied ? static_cast<double>(published.table) : 0));
      EXPECT_GE(bytes, 0.99 * expected) << published.name << " on " << ranks;
      // Beyond one rank come copies of KV heads, vectors held by all, and rounding to whole panels.
      EXPECT_LE(bytes, (ranks == 1 ? 1.01 : 1.2) * expected) << published.name << " on " << ranks;
    }
  }
}

TEST(Shapes, GoldenModelsHoldOnAnyNumberOfRanks) {
  for (const std::string& name : golden_models()) {
    const std::shared_ptr<const Checkpoint> file = open_checkpoint(kGoldenFolder + name);
    const auto config_only = by_config_alone(Config::read(kGoldenFolder + name + "/config.json"));
    for (const int ranks : {1, 2, 3, 4, 5, 6, 7, 8, 64})
      for (int rank = 0; rank < ranks; ++rank)
        EXPECT_EQ(run_rank(file, Shard(rank, ranks)), run_rank(config_only, Shard(rank, ranks)))
            << name;
  }
}

// Peaks of the arena: after a tower's run and after a prefill of 50 tokens in chunks of 20.
std::vector<int64_t> peaks(const Model& model, Ctx& ctx, Arena& arena) {
  std::vector<int64_t> out;
  if (model.info().has_vision || model.info().has_audio) {
    MediaInput media = model.info().has_audio ? window() : picture(model.info(), 12, 10);
    if (!ctx.device.is_meta())
      media.values.assign(static_cast<size_t>(media.rows * media.row_size), 0.5f);
    arena.reset_peak();
    model.encode(ctx, media);
    out.push_back(arena.peak_bytes());
  }
  std::vector<int32_t> ids;
  const std::vector<int32_t> rows = {3, 19, 49};
  arena.reset_peak();
  SequenceRunner(model, ctx, 50).prefill(counting(ids, 50), rows, 20);
  out.push_back(arena.peak_bytes());
  return out;
}

TEST(Shapes, TheArenaNeedsOnTheCpuWhatMetaSaid) {
  for (const std::string& name : golden_models())
    for (const Isa isa : {Isa::scalar, probe_topology().isa}) {
      ModelGolden real(name, isa);
      OwnedCtx meta = OwnedCtx::meta(isa);
      const std::unique_ptr<Model> shapes =
          make_model(Builder(real.checkpoint(), meta.ctx(), {}, real.building()));
      EXPECT_EQ(peaks(*shapes, meta.ctx(), meta.arena()),
                peaks(real.model(), real.ctx(), real.arena()))
          << name;
      EXPECT_EQ(real.arena().overflow_bytes(), 0) << name;
      EXPECT_EQ(shapes->weight_bytes(), real.model().weight_bytes()) << name;
    }
}

TEST(Shapes, ATowerNeedsMemoryInProportionToThePicture) {
  for (const Published& published : kPublished) {
    OwnedCtx meta = OwnedCtx::meta(Isa::avx2);
    const auto model = make_model(
        Builder(by_config_alone(Config::parse(published.config, published.name)), meta.ctx()));
    if (!model->info().has_vision) continue;
    const auto peak = [&](int64_t rows, int64_t columns) {
      meta.arena().reset_peak();
      model->encode(meta.ctx(), picture(model->info(), rows, columns));
      return static_cast<double>(meta.arena().peak_bytes());
    };
    const double small = peak(60, 60), large = peak(240, 240);
    EXPECT_LT(large, 16.1 * small) << published.name;
    EXPECT_LT(large / (240 * 240), 80 * 1024) << published.name << ": bytes per patch";
  }
}

// Of a token Kimi-K2 keeps 512 + 64 elements in each of 61 layers, whatever the rank.
TEST(Shapes, ALatentCacheHoldsWhatTheFormulaSays) {
  const Published& kimi = kPublished[std::size(kPublished) - 1];
  for (const int ranks : {1, 8}) {
    OwnedCtx meta = OwnedCtx::meta(Isa::avx2);
    const auto model = make_model(Builder(by_config_alone(Config::parse(kimi.config, kimi.name)),
                                          meta.ctx(),
                                          Shard(ranks - 1, ranks)));
    KvSpec spec = model->kv_spec();
    spec.dtype = DType::bf16;
    EXPECT_EQ(spec.bytes_per_token(), 70272);
    spec.dtype = DType::f8_e4m3;
    EXPECT_EQ(spec.bytes_per_token(), 35136 + 61 * 4);  // a scale for each row
  }
}

TEST(Registry, FindsAModelByArchitectureOrType) {
  OwnedCtx meta = OwnedCtx::meta(Isa::avx2);
  std::string config = kPublished[1].config;
  EXPECT_EQ(make_model(Builder(by_config_alone(Config::parse(config, "c")), meta.ctx()))
                ->info()
                .model_type,
            "llama");
  const std::string architectures = R"("architectures": ["LlamaForCausalLM"])";
  config.replace(config.find(architectures), architectures.size(), R"("model_type": "llama")");
  EXPECT_EQ(make_model(Builder(by_config_alone(Config::parse(config, "c")), meta.ctx()))
                ->info()
                .architecture,
            "LlamaForCausalLM");
}

TEST(Registry, NamesWhatItHas) {
  OwnedCtx meta = OwnedCtx::meta(Isa::avx2);
  try {
    make_model(Builder(
        by_config_alone(Config::parse(R"({"architectures": ["MambaForCausalLM"]})", "config.json")),
        meta.ctx()));
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::unsupported);
    EXPECT_THAT(e.what(),
                ::testing::HasSubstr(
                    "MambaForCausalLM: this build has LlamaForCausalLM, Qwen2ForCausalLM"));
  }
}

}  // namespace
}  // namespace quern
