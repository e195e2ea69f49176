// SPDX-License-Identifier: Apache-2.0
#include "weights/gguf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>

#include "base/error.h"
#include "weights/gguf_bytes.h"
#include "weights/gguf_header.h"
#include "weights/gguf_names.h"
#include "weights/weight_format.h"

namespace quern {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr uint32_t kF32 = 0, kF16 = 1, kTq1 = 34, kQ4K = 12;

std::string floats(int count) {
  std::string out;
  for (int i = 0; i < count; ++i) out += little_endian(static_cast<float>(i));
  return out;
}

std::string message_of(const auto& body) {
  try {
    body();
  } catch (const Error& e) {
    return format("{}: {}", name_of(e.code()), e.what());
  }
  return "no error";
}

std::string header_error(const std::string& file) {
  return message_of([&] { parse_gguf_header(std::as_bytes(std::span(file)), "x.gguf"); });
}

class Folder {
 public:
  Folder()
      : path_(fs::temp_directory_path() /
              format("quern_gguf_{}", reinterpret_cast<uintptr_t>(this))) {
    fs::create_directories(path_);
  }
  ~Folder() { fs::remove_all(path_); }
  std::string write(const std::string& name, const std::string& content) const {
    std::ofstream(path_ / name, std::ios::binary) << content;
    return (path_ / name).string();
  }

 private:
  fs::path path_;
};

TEST(GgufHeader, ReadsValuesAndTensors) {
  GgufBytes b;
  b.u32("n", 7)
      .f32("eps", 1e-5f)
      .boolean("yes", true)
      .text("s", "text")
      .texts("list", {"a", "", "ccc"})
      .integers("ids", {3, -1});
  b.raw("big", GgufType::u64, little_endian<uint64_t>(1) + "")
      .raw("d", GgufType::f64, little_endian(0.5));
  b.array("nested",
          GgufType::array,
          2,
          little_endian(0u) + little_endian(uint64_t{2}) + "xy" + little_endian(8u) +
              little_endian(uint64_t{1}) + gguf_string("z"));
  b.tensor("m", {3, 2}, kF32, floats(6)).tensor("v", {5}, kF16, std::string(10, 'x'));
  const std::string file = b.file();
  const GgufHeader header = parse_gguf_header(std::as_bytes(std::span(file)), "x");
  const GgufMetadata& m = header.metadata;
  EXPECT_EQ(m.integer("n"), 7);
  EXPECT_EQ(m.number("eps"), 1e-5);  // not 9.99999974e-06
  EXPECT_EQ(m.number("d"), 0.5);
  EXPECT_EQ(m.boolean("yes"), true);
  EXPECT_EQ(m.string("s"), "text");
  EXPECT_THAT(m.strings("list"), ElementsAre("a", "", "ccc"));
  EXPECT_THAT(m.integers("ids"), ElementsAre(3, -1));
  EXPECT_THAT(m.integers("n"), ElementsAre(7));
  EXPECT_EQ(m.find("nested")->count, 2u);
  EXPECT_FALSE(m.integer("absent").has_value());
  EXPECT_THAT(message_of([&] { (void)m.integer("s"); }),
              HasSubstr("key s: expected an integer below 2^63, got string"));
  EXPECT_THAT(message_of([&] { (void)m.strings("ids"); }),
              HasSubstr("expected an array of strings, got an array of i32"));
  ASSERT_EQ(header.tensors.size(), 2u);
  EXPECT_EQ(header.tensors[0].shape, Shape({2, 3}));
  EXPECT_EQ(header.tensors[0].bytes.size(), 24u);
  EXPECT_EQ(header.tensors[1].bytes.size(), 10u);
}

TEST(GgufHeader, RefusesOtherFilesAndVersions) {
  GgufBytes b;
  EXPECT_THAT(header_error("GGU"),
              HasSubstr("data_loss: x.gguf: magic at byte 0: expected 4 bytes"));
  EXPECT_THAT(header_error("GGML" + std::string(40, '\0')), HasSubstr("is this a GGUF file?"));
  b.version = 1;
  EXPECT_THAT(header_error(b.file()),
              HasSubstr("unsupported: x.gguf: GGUF version 1, this build reads 2 and 3"));
  b.version = 0x03000000;
  EXPECT_THAT(header_error(b.file()), HasSubstr("big-endian"));
  b.version = 2;
  EXPECT_EQ(header_error(b.file()), "no error");
}

TEST(GgufHeader, BoundsCountsByTheFile) {
  GgufBytes tensors, pairs;
  tensors.extra_tensors = uint64_t{1} << 62;
  EXPECT_THAT(
      header_error(tensors.file()),
      HasSubstr("data_loss: x.gguf: tensor count: 4611686018427387904 of at least 24 bytes"));
  pairs.extra_pairs = UINT64_MAX;
  EXPECT_THAT(header_error(pairs.file()),
              HasSubstr("metadata count: 18446744073709551615 of at least 13 bytes"));
  const auto array = [](GgufType element, uint64_t count, const std::string& elements) {
    return header_error(GgufBytes().array("a", element, count, elements).file());
  };
  EXPECT_THAT(array(GgufType::u8, uint64_t{1} << 63, ""),
              HasSubstr("a: 9223372036854775808 of at least 1 bytes"));
  EXPECT_THAT(array(GgufType::f64, (uint64_t{1} << 61) + 1, ""), HasSubstr("data_loss"));
  EXPECT_THAT(array(GgufType::string, 1, little_endian(UINT64_MAX)),
              HasSubstr("data_loss: x.gguf: a at byte"));
  EXPECT_THAT(array(static_cast<GgufType>(13), 1, "x"), HasSubstr("unknown value type 13"));
  EXPECT_THAT(
      header_error(GgufBytes().raw("k", GgufType::string, little_endian(uint64_t{1} << 40)).file()),
      HasSubstr("expected 1099511627776 bytes"));
  EXPECT_THAT(header_error(GgufBytes().u32("k", 1).u32("k", 2).file()),
              HasSubstr("key k is given twice"));
}

TEST(GgufHeader, BoundsTheDepthOfArrays) {
  std::string deep;
  for (int i = 0; i < 10000; ++i) deep += little_endian(9u) + little_endian(uint64_t{1});
  EXPECT_THAT(header_error(GgufBytes().raw("a", GgufType::array, deep).file()),
              HasSubstr("arrays nested deeper than 4"));
}

TEST(GgufHeader, RefusesBadTensors) {
  const auto one =
      [](const std::vector<uint64_t>& sizes, uint32_t type, uint64_t offset, size_t data = 64) {
        GgufBytes b;
        b.tensor_at("t", sizes, type, offset);
        return header_error(b.file() + std::string(data, 'x'));
      };
  EXPECT_EQ(one({16}, kF32, 0), "no error");
  EXPECT_THAT(one({16}, kF32, 32), HasSubstr("bytes as its header says, found"));
  EXPECT_THAT(
      one({16}, kF32, 0, 63),
      HasSubstr(
          "expected at least 128 bytes as its header says, found 127: is the download complete?"));
  EXPECT_THAT(one({16}, kF32, 8), HasSubstr("no multiple of the alignment 32"));
  EXPECT_THAT(one({16}, kF32, uint64_t{1} << 63), HasSubstr("beyond any file"));
  EXPECT_THAT(one({16}, kF32, UINT64_MAX - 31), HasSubstr("beyond any file"));
  EXPECT_THAT(one({uint64_t{1} << 32, uint64_t{1} << 32}, kF32, 0), HasSubstr("2^48"));
  EXPECT_THAT(one({uint64_t{1} << 63, 2}, kF32, 0), HasSubstr("2^48"));
  EXPECT_THAT(one({uint64_t{1} << 47}, kF32, 0), HasSubstr("is the download complete?"));
  EXPECT_THAT(one({0, uint64_t{1} << 47}, kF32, 0), HasSubstr("a dimension of 0"));
  EXPECT_THAT(one({1, 1, 1, 1, 1}, kF32, 0), HasSubstr("5 dimensions, the limit is 4"));
  EXPECT_THAT(one({100}, kQ4K, 0), HasSubstr("rows of 100 elements are no multiple of the 256"));
  EXPECT_THAT(one({256}, kTq1, 0),
              HasSubstr("unsupported: x.gguf: tensor t: stored as TQ1_0; this build reads F32"));
  EXPECT_THAT(one({256}, 4711, 0), HasSubstr("unknown type 4711"));
  EXPECT_THAT(
      header_error(
          GgufBytes().tensor("a", {16}, kF32, floats(16)).tensor_at("b", {8}, kF32, 32).file()),
      HasSubstr("tensor b: begins at 32, inside another tensor, which ends at 64"));
  EXPECT_THAT(
      header_error(
          GgufBytes().tensor("a", {8}, kF32, floats(8)).tensor("a", {8}, kF32, floats(8)).file()),
      HasSubstr("tensor a is given twice"));
}

TEST(GgufHeader, RefusesBadAlignment) {
  for (const uint32_t alignment : {0u, 3u, 48u, 1u << 31})
    EXPECT_THAT(header_error(GgufBytes().u32("general.alignment", alignment).file()),
                HasSubstr("expected a power of two"));
  EXPECT_EQ(header_error(GgufBytes().u32("general.alignment", 64).file()), "no error");
}

TEST(GgufHeader, SurvivesEveryTruncation) {
  const std::string file = gguf_model("llama")
                               .texts("tokenizer.ggml.tokens", {"a", "b"})
                               .tensor("v", {8}, kF32, floats(8))
                               .file();
  for (size_t size = 0; size < file.size(); ++size)
    EXPECT_THAT(header_error(file.substr(0, size)), HasSubstr("data_loss")) << size;
  EXPECT_EQ(header_error(file), "no error");
}

TEST(GgufNames, BecomeThePublishedOnes) {
  EXPECT_EQ(published_name("token_embd.weight"), "model.embed_tokens.weight");
  EXPECT_EQ(published_name("output.weight"), "lm_head.weight");
  EXPECT_EQ(published_name("output_norm.weight"), "model.norm.weight");
  EXPECT_EQ(published_name("blk.12.attn_q.bias"), "model.layers.12.self_attn.q_proj.bias");
  EXPECT_EQ(published_name("blk.0.ffn_norm.weight"),
            "model.layers.0.post_attention_layernorm.weight");
  EXPECT_EQ(published_name("blk.0.ffn_down.weight"), "model.layers.0.mlp.down_proj.weight");
  EXPECT_EQ(published_name("rope_freqs.weight"), "rope_freqs.weight");
  for (const char* odd :
       {"", "blk.", "blk.0", "blk.0.", "blk.0.attn_q", "blk.0.unknown.weight", "output"})
    EXPECT_EQ(published_name(odd), odd);
}

TEST(GgufNames, RotaryRowsComeBackInOrder) {
  // Two heads of size 4: the converter stores the rows 0 2 1 3 | 4 6 5 7.
  EXPECT_THAT(rotary_row_order(8, 2), ElementsAre(0, 2, 1, 3, 4, 6, 5, 7));
  EXPECT_THAT(rotary_row_order(6, 1), ElementsAre(0, 2, 4, 1, 3, 5));
  EXPECT_THROW(rotary_row_order(6, 2), Error);
  EXPECT_THROW(rotary_row_order(6, 0), Error);
}

TEST(Gguf, OpensAsACheckpoint) {
  const Folder folder;
  GgufBytes b = gguf_model("llama");
  b.tensor("token_embd.weight", {16, 3}, kF32, floats(48));
  b.tensor("blk.0.attn_q.weight", {16, 16}, kF32, floats(256))
      .tensor("blk.0.attn_q.bias", {16}, kF32, floats(16));
  b.tensor("blk.0.attn_k.weight", {16, 8}, kF32, floats(128))
      .tensor("blk.0.attn_v.weight", {16, 8}, kF32, floats(128));
  b.tensor("rope_freqs.weight", {2}, kF32, floats(2));
  const auto checkpoint = open_checkpoint(folder.write("m.gguf", b.file()));
  EXPECT_THAT(checkpoint->info("model.layers.0.self_attn.q_proj.weight").row_order,
              ElementsAre(0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11, 12, 14, 13, 15));
  EXPECT_THAT(checkpoint->info("model.layers.0.self_attn.k_proj.weight").row_order,
              ElementsAre(0, 2, 1, 3, 4, 6, 5, 7));
  EXPECT_TRUE(checkpoint->info("model.layers.0.self_attn.v_proj.weight").row_order.empty());
  const Tensor bias = read_f32(*checkpoint, "model.layers.0.self_attn.q_proj.bias");
  EXPECT_THAT(std::vector<float>(bias.data<float>(), bias.data<float>() + 4),
              ElementsAre(0, 2, 1, 3));
  const WeightFormat& plain = format_of(*checkpoint, "model.layers.0.self_attn.k_proj");
  const Tensor rows =
      plain.read(*checkpoint, "model.layers.0.self_attn.k_proj", {1, 3}, {0, 16}, Device::cpu())
          .codes;
  EXPECT_EQ(rows.data<float>()[0], 32);  // published row 1 is stored row 2
  EXPECT_EQ(rows.data<float>()[16], 16);
  EXPECT_TRUE(checkpoint->has("rope_freqs.weight"));
}

TEST(Gguf, MakesAConfig) {
  const Folder folder;
  GgufBytes b = gguf_model("llama");
  b.texts("tokenizer.ggml.tokens", {"a", "<|eot_id|>", "<|im_end|>"})
      .integers("tokenizer.ggml.token_type", {1, 3, 1});
  b.u32("tokenizer.ggml.bos_token_id", 0)
      .u32("tokenizer.ggml.eos_token_id", 0)
      .f32("general.sampling.temp", 0.6f);
  b.tensor("token_embd.weight", {16, 5}, kF16, std::string(160, 'x'));
  const std::string path = folder.write("m.gguf", b.file());
  const auto checkpoint = open_checkpoint(path);
  const Config& c = checkpoint->config();
  EXPECT_THAT(c.strings("architectures"), ElementsAre("LlamaForCausalLM"));
  EXPECT_EQ(c.string("model_type"), "llama");
  EXPECT_EQ(c.integer("hidden_size"), 16);
  EXPECT_EQ(c.integer("intermediate_size"), 32);
  EXPECT_EQ(c.integer("num_hidden_layers"), 2);
  EXPECT_EQ(c.integer("num_attention_heads"), 4);
  EXPECT_EQ(c.integer("num_key_value_heads"), 2);
  EXPECT_EQ(c.integer("head_dim"), 4);
  EXPECT_EQ(c.integer("max_position_embeddings"), 512);
  EXPECT_EQ(c.number("rms_norm_eps"), 1e-5);
  EXPECT_EQ(c.number("rope_theta"), 1e6);
  EXPECT_FALSE(c.has("rope_scaling"));
  EXPECT_EQ(c.integer("vocab_size"), 5);  // the embedding's rows, not the vocabulary's tokens
  EXPECT_TRUE(c.boolean("tie_word_embeddings"));
  EXPECT_FALSE(c.boolean("attention_bias"));
  EXPECT_EQ(c.string("torch_dtype"), "float16");
  EXPECT_THAT(c.integers("eos_token_id"), ElementsAre(0, 1));
  EXPECT_EQ(gguf_generation_config(path).dump(),
            R"({"bos_token_id":0,"eos_token_id":[0,1],"temperature":0.6})");
}

TEST(Gguf, ConfigOfOtherFamilies) {
  const Folder folder;
  const auto config = [&](GgufBytes& b) {
    return open_checkpoint(folder.write("m.gguf", b.file()))->config();
  };
  GgufBytes qwen = gguf_model("qwen2vl");
  qwen.integers("qwen2vl.rope.dimension_sections", {1, 1, 0, 0}).u32("qwen2vl.vocab_size", 9);
  qwen.tensor("output.weight", {16, 9}, kF32, floats(144))
      .tensor("blk.0.attn_q.weight", {16, 16}, kF32, floats(256));
  qwen.tensor("blk.0.attn_q.bias", {16}, kF32, floats(16));
  const Config vl = config(qwen);
  EXPECT_THAT(vl.sub("rope_scaling").integers("mrope_section"), ElementsAre(1, 1, 0));
  EXPECT_TRUE(vl.boolean("attention_bias"));
  EXPECT_FALSE(vl.boolean("tie_word_embeddings"));
  EXPECT_EQ(vl.integer("vocab_size"), 9);
  EXPECT_TRUE(open_checkpoint(folder.write("m.gguf", qwen.file()))
                  ->info("model.layers.0.self_attn.q_proj.weight")
                  .row_order.empty());

  GgufBytes scaled = gguf_model("qwen2")
                         .text("qwen2.rope.scaling.type", "yarn")
                         .f32("qwen2.rope.scaling.factor", 4);
  scaled.u32("qwen2.rope.scaling.original_context_length", 128)
      .u32("qwen2.rope.dimension_count", 2)
      .u32("qwen2.vocab_size", 4);
  const Config yarn = config(scaled);
  EXPECT_EQ(yarn.sub("rope_scaling").string("rope_type"), "yarn");
  EXPECT_EQ(yarn.sub("rope_scaling").number("factor"), 4);
  EXPECT_EQ(yarn.sub("rope_scaling").integer("original_max_position_embeddings"), 128);
  EXPECT_EQ(yarn.number("partial_rotary_factor"), 0.5);

  GgufBytes experts = gguf_model("llama")
                          .u32("llama.expert_count", 8)
                          .u32("llama.expert_used_count", 2)
                          .u32("llama.vocab_size", 4);
  EXPECT_THAT(config(experts).strings("architectures"), ElementsAre("MixtralForCausalLM"));
  EXPECT_EQ(config(experts).integer("num_local_experts"), 8);
}

TEST(Gguf, SaysWhatIsWrongWithAModel) {
  const Folder folder;
  const auto error = [&](GgufBytes& b) {
    return message_of([&] { open_checkpoint(folder.write("m.gguf", b.file())); });
  };
  GgufBytes unknown = gguf_model("mamba"), nothing;
  EXPECT_THAT(
      error(unknown),
      HasSubstr(
          "m.gguf: general.architecture: mamba; this build reads llama, qwen2, qwen2vl from GGUF"));
  EXPECT_THAT(error(nothing), HasSubstr("key general.architecture is missing"));
  GgufBytes bare = GgufBytes().text("general.architecture", "llama");
  EXPECT_THAT(error(bare), HasSubstr("key llama.embedding_length is missing"));
  GgufBytes uneven =
      gguf_model("llama").u32("llama.vocab_size", 4).integers("llama.attention.key_length", {4, 8});
  EXPECT_THAT(error(uneven), HasSubstr("unsupported"));
  GgufBytes rows = gguf_model("llama")
                       .u32("llama.vocab_size", 4)
                       .tensor("blk.0.attn_q.weight", {16, 6}, kF32, floats(96));
  EXPECT_THAT(error(rows), HasSubstr("blk.0.attn_q.weight: 6 rows for 4 heads"));
  GgufBytes zero = GgufBytes()
                       .text("general.architecture", "qwen2")
                       .u32("qwen2.embedding_length", 8)
                       .u32("qwen2.attention.head_count", 0);
  EXPECT_THAT(error(zero), HasSubstr("qwen2.attention.head_count: expected at least 1, got 0"));
}

TEST(Gguf, JoinsPartsOfASplitModel) {
  const Folder folder;
  const auto part = [](GgufBytes b, uint32_t number, const std::string& name) {
    b.u32("split.no", number).u32("split.count", 2).u32("split.tensors.count", 2);
    return b.tensor(name, {16, 8}, kF32, floats(128)).file();
  };
  const std::string first =
      folder.write("m-00001-of-00002.gguf", part(gguf_model("qwen2"), 0, "token_embd.weight"));
  EXPECT_THAT(message_of([&] { open_checkpoint(first); }), HasSubstr("not_found"));
  const std::string second =
      folder.write("m-00002-of-00002.gguf", part(GgufBytes(), 1, "blk.0.attn_k.weight"));
  EXPECT_THAT(open_checkpoint(first)->names(),
              ElementsAre("model.embed_tokens.weight", "model.layers.0.self_attn.k_proj.weight"));
  EXPECT_EQ(open_checkpoint(first)->total_bytes(), 1024);
  EXPECT_THAT(message_of([&] { open_checkpoint(second); }),
              HasSubstr("one of 2 parts: expected the first"));
  folder.write("m-00002-of-00002.gguf", part(GgufBytes(), 0, "blk.0.attn_k.weight"));
  EXPECT_THAT(message_of([&] { open_checkpoint(first); }),
              HasSubstr("expected part 1 of 2 (counted from 0), its metadata says 0 of 2"));
}

TEST(Gguf, GivesVocabularyAndTemplate) {
  const Folder folder;
  GgufBytes b = gguf_model("qwen2");
  EXPECT_THAT(message_of([&] { read_gguf_vocabulary(folder.write("m.gguf", b.file())); }),
              HasSubstr("carries no vocabulary"));
  EXPECT_EQ(gguf_chat_template(folder.write("m.gguf", b.file())), "");
  b.text("tokenizer.ggml.model", "gpt2")
      .text("tokenizer.ggml.pre", "qwen2")
      .texts("tokenizer.ggml.tokens", {"a", "b", "ab"});
  b.integers("tokenizer.ggml.token_type", {1, 1, 3})
      .texts("tokenizer.ggml.merges", {"a b"})
      .u32("tokenizer.ggml.eos_token_id", 2);
  b.boolean("tokenizer.ggml.add_bos_token", false).text("tokenizer.chat_template", "{{ x }}");
  const std::string path = folder.write("m.gguf", b.file());
  const GgufVocabulary v = read_gguf_vocabulary(path);
  EXPECT_EQ(v.model, "gpt2");
  EXPECT_EQ(v.pre, "qwen2");
  EXPECT_THAT(v.tokens, ElementsAre("a", "b", "ab"));
  EXPECT_THAT(v.token_types, ElementsAre(1, 1, 3));
  EXPECT_THAT(v.merges, ElementsAre("a b"));
  EXPECT_EQ(v.eos, 2);
  EXPECT_EQ(v.bos, -1);
  EXPECT_EQ(v.add_bos, false);
  EXPECT_FALSE(v.add_eos.has_value());
  EXPECT_EQ(gguf_chat_template(path), "{{ x }}");
}

}  // namespace
}  // namespace quern
