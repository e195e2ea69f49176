// SPDX-License-Identifier: Apache-2.0
// For the tests of this room: a tiny checkpoint of the spark family in any of its layouts, and its
// logits by plain loops.
#pragma once

#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "base/format.h"
#include "base/json.h"
#include "tensor/shape.h"

namespace quern {

struct SparkLayout {
  enum class Qkv { apart, in_order, by_kv_group };
  Qkv qkv = Qkv::apart;
  enum class Gate { apart, gate_first, up_first };
  Gate gate = Gate::apart;
  bool has_biases = false, has_layer_norms = false, is_tied = false, is_interleaved = false;
  bool has_megatron_names = false;
  std::string act = "silu";
};

class SparkFolder {
 public:
  static constexpr int kLayers = 2, kHeads = 4, kGroups = 2, kSize = 8, kHidden = 24, kInner = 40,
                       kVocab = 50;
  static constexpr double kEps = 1e-5, kTheta = 10000;

  explicit SparkFolder(const SparkLayout& layout)
      : layout_(layout),
        path_(std::filesystem::temp_directory_path() /
              format("quern_spark_{}", reinterpret_cast<uintptr_t>(this))) {
    std::filesystem::create_directories(path_);
    make_weights();
    write("config.json", config().dump());
    write_weights({});
  }
  ~SparkFolder() { std::filesystem::remove_all(path_); }

  std::string path() const { return path_.string(); }
  void write(const std::string& name, const std::string& content) const {
    std::ofstream(path_ / name, std::ios::binary) << content;
  }

  // What config.json states, in the spelling of the layout.
  Json config() const {
    Json c = {{"architectures", Json::array({"SparkModel"})},
              {"model_type", "spark"},
              {"hidden_act", layout_.act},
              {"vocab_size", kVocab},
              {"rope_theta", kTheta}};
    const bool is_old = layout_.has_megatron_names;
    c[is_old ? "n_embd" : "hidden_size"] = kHidden;
    c[is_old ? "ffn_hidden_size" : "intermediate_size"] = kInner;
    c[is_old ? "num_layers" : "num_hidden_layers"] = kLayers;
    c[is_old ? "n_head" : "num_attention_heads"] = kHeads;
    c[is_old ? "multi_query_group_num" : "num_key_value_heads"] = kGroups;
    c[is_old ? "kv_channels" : "head_dim"] = kSize;
    c[is_old ? "layernorm_epsilon" : "rms_norm_eps"] = kEps;
    c[is_old ? "seq_length" : "max_position_embeddings"] = 64;
    if (layout_.is_interleaved) c["rope_style"] = "interleaved";
    if (layout_.qkv == SparkLayout::Qkv::in_order) c["qkv_layout"] = "in_order";
    if (layout_.qkv == SparkLayout::Qkv::by_kv_group) c["qkv_layout"] = "by_kv_group";
    if (layout_.gate == SparkLayout::Gate::gate_first) c["gate_up_order"] = "gate_first";
    if (layout_.gate == SparkLayout::Gate::up_first) c["gate_up_order"] = "up_first";
    return c;
  }

  // Writes the weights, and `extra` vectors of zeros besides.
  void write_weights(const std::map<std::string, int64_t>& extra) const {
    std::map<std::string, Weight> stored = layout_.has_megatron_names ? megatron() : weights_;
    for (const auto& [name, size] : extra)
      stored[name] = {{size}, std::vector<float>(static_cast<size_t>(size))};
    Json header = Json::object();
    std::string data;
    for (const auto& [name, w] : stored) {
      const size_t begin = data.size();
      data.append(reinterpret_cast<const char*>(w.values.data()), w.values.size() * sizeof(float));
      Json shape = Json::array();
      for (int i = 0; i < w.shape.rank(); ++i) shape.push_back(w.shape[i]);
      header[name] = {{"dtype", "F32"}, {"shape", shape}, {"data_offsets", {begin, data.size()}}};
    }
    const std::string text = header.dump();
    std::string length;
    for (int i = 0; i < 8; ++i) length += static_cast<char>(text.size() >> (8 * i) & 255);
    write("model.safetensors", length + text + data);
  }

  // Logits behind each of `ids`, [T * V], by loops in double.
  std::vector<double> logits(const std::vector<int32_t>& ids) const;

 private:
  struct Weight {
    Shape shape;
    std::vector<float> values;
  };
  using Row = std::vector<double>;

  void make_weights() {
    std::mt19937 random(7);
    std::normal_distribution<float> normal(0, 1);
    const auto add = [&](const std::string& name, const Shape& shape, float scale, float mean = 0) {
      Weight& w = weights_[name];
      w.shape = shape;
      for (int64_t i = 0; i < shape.numel(); ++i) w.values.push_back(mean + scale * normal(random));
    };
    const auto linear = [&](const std::string& name, int64_t n, int64_t k) {
      add(name + ".weight", {n, k}, 0.3f);
      if (layout_.has_biases) add(name + ".bias", {n}, 0.3f);
    };
    const auto norm = [&](const std::string& name) {
      add(name + ".weight", {kHidden}, 0.1f, 1);
      if (layout_.has_layer_norms) add(name + ".bias", {kHidden}, 0.3f);
    };
    add("model.embed_tokens.weight", {kVocab, kHidden}, 1);
    for (int i = 0; i < kLayers; ++i) {
      const std::string at = format("model.layers.{}.", i);
      norm(at + "input_layernorm");
      norm(at + "post_attention_layernorm");
      linear(at + "self_attn.q_proj", kHeads * kSize, kHidden);
      linear(at + "self_attn.k_proj", kGroups * kSize, kHidden);
      linear(at + "self_attn.v_proj", kGroups * kSize, kHidden);
      linear(at + "self_attn.o_proj", kHidden, kHeads * kSize);
      linear(at + "mlp.gate_proj", kInner, kHidden);
      linear(at + "mlp.up_proj", kInner, kHidden);
      linear(at + "mlp.down_proj", kHidden, kInner);
    }
    norm("model.norm");
    if (!layout_.is_tied) linear("lm_head", kVocab, kHidden);
  }

  // Rows [begin, end) of `from` behind those of `to`.
  static void append_rows(const Weight& from, int64_t begin, int64_t end, Weight& to) {
    const int64_t cols = from.shape.rank() == 2 ? from.shape[1] : 1;
    to.values.insert(
        to.values.end(), from.values.begin() + begin * cols, from.values.begin() + end * cols);
    const int64_t rows = static_cast<int64_t>(to.values.size()) / cols;
    to.shape = from.shape.rank() == 2 ? Shape{rows, cols} : Shape{rows};
  }

  // The same weights as Megatron would name and stack them.
  std::map<std::string, Weight> megatron() const {
    std::map<std::string, Weight> out;
    const std::string root = "transformer.encoder.";
    out["transformer.embedding.word_embeddings.weight"] = weights_.at("model.embed_tokens.weight");
    for (const std::string part : {"weight", "bias"}) {
      const auto move = [&](const std::string& from, const std::string& to) {
        const auto found = weights_.find(from + "." + part);
        if (found != weights_.end()) out[to + "." + part] = found->second;
      };
      move("lm_head", "transformer.output_layer");
      move("model.norm", root + "final_layernorm");
      for (int i = 0; i < kLayers; ++i) {
        const std::string from = format("model.layers.{}.", i),
                          to = format("{}layers.{}.", root, i);
        for (const char* norm : {"input_layernorm", "post_attention_layernorm"})
          move(from + norm, to + norm);
        move(from + "self_attn.o_proj", to + "self_attention.dense");
        move(from + "mlp.down_proj", to + "mlp.dense_4h_to_h");
        if (weights_.contains(from + "self_attn.q_proj." + part)) stack(from, to, part, out);
      }
    }
    return out;
  }

  void stack(const std::string& from,
             const std::string& to,
             const std::string& part,
             std::map<std::string, Weight>& out) const {
    const auto at = [&](const char* name) -> const Weight& {
      return weights_.at(from + name + "." + part);
    };
    const Weight &q = at("self_attn.q_proj"), &k = at("self_attn.k_proj"),
                 &v = at("self_attn.v_proj"), &gate = at("mlp.gate_proj"), &up = at("mlp.up_proj");
    Weight qkv, both;
    const int groups = layout_.qkv == SparkLayout::Qkv::by_kv_group ? kGroups : 1;
    for (int g = 0; g < groups; ++g)
      for (const Weight* w : {&q, &k, &v}) {
        const int64_t rows = w->shape[0] / groups;
        append_rows(*w, g * rows, (g + 1) * rows, qkv);
      }
    const bool is_turned = layout_.gate == SparkLayout::Gate::up_first;
    for (const Weight* w : {is_turned ? &up : &gate, is_turned ? &gate : &up})
      append_rows(*w, 0, kInner, both);
    out[to + "self_attention.query_key_value." + part] = std::move(qkv);
    out[to + "mlp.dense_h_to_4h." + part] = std::move(both);
  }

  Row norm(const std::string& name, const Row& x) const;
  Row linear(const std::string& name, const Row& x) const;
  double act(double x) const;
  void rotate(double* head, int position) const;
  void attend(const std::string& at, std::vector<Row>& h) const;

  SparkLayout layout_;
  std::filesystem::path path_;
  std::map<std::string, Weight> weights_;  // under Llama's names
};

inline SparkFolder::Row SparkFolder::norm(const std::string& name, const Row& x) const {
  double mean = 0, square = 0;
  if (layout_.has_layer_norms)
    for (const double v : x) mean += v / kHidden;
  for (const double v : x) square += (v - mean) * (v - mean) / kHidden;
  Row y;
  for (size_t i = 0; i < x.size(); ++i) {
    y.push_back((x[i] - mean) / std::sqrt(square + kEps) * weights_.at(name + ".weight").values[i]);
    if (layout_.has_layer_norms) y.back() += weights_.at(name + ".bias").values[i];
  }
  return y;
}

inline SparkFolder::Row SparkFolder::linear(const std::string& name, const Row& x) const {
  const Weight& w = weights_.at(name + ".weight");
  const auto bias = weights_.find(name + ".bias");
  Row y(static_cast<size_t>(w.shape[0]));
  for (size_t n = 0; n < y.size(); ++n) {
    y[n] = bias == weights_.end() ? 0 : bias->second.values[n];
    for (size_t k = 0; k < x.size(); ++k) y[n] += x[k] * w.values[n * x.size() + k];
  }
  return y;
}

inline double SparkFolder::act(double x) const {
  if (layout_.act == "gelu") return x / 2 * (1 + std::erf(x * std::sqrt(0.5)));
  if (layout_.act == "gelu_pytorch_tanh")
    return x / 2 * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
  return x / (1 + std::exp(-x));
}

inline void SparkFolder::rotate(double* head, int position) const {
  for (int j = 0; j < kSize / 2; ++j) {
    const double angle = position * std::pow(kTheta, -2.0 * j / kSize);
    double& a = head[layout_.is_interleaved ? 2 * j : j];
    double& b = head[layout_.is_interleaved ? 2 * j + 1 : j + kSize / 2];
    const double turned = a * std::cos(angle) - b * std::sin(angle);
    b = b * std::cos(angle) + a * std::sin(angle);
    a = turned;
  }
}

inline void SparkFolder::attend(const std::string& at, std::vector<Row>& h) const {
  std::vector<Row> q, k, v;
  for (size_t t = 0; t < h.size(); ++t) {
    const Row n = norm(at + "input_layernorm", h[t]);
    q.push_back(linear(at + "self_attn.q_proj", n));
    k.push_back(linear(at + "self_attn.k_proj", n));
    v.push_back(linear(at + "self_attn.v_proj", n));
    for (int i = 0; i < kHeads; ++i)
      rotate(&q[t][static_cast<size_t>(i * kSize)], static_cast<int>(t));
    for (int i = 0; i < kGroups; ++i)
      rotate(&k[t][static_cast<size_t>(i * kSize)], static_cast<int>(t));
  }
  for (size_t t = 0; t < h.size(); ++t) {
    Row mixed(kHeads * kSize, 0);
    for (size_t head = 0; head < kHeads; ++head) {
      const size_t own = head * kSize, shared = head / (kHeads / kGroups) * kSize;
      Row weight;
      double sum = 0;
      for (size_t s = 0; s <= t; ++s) {
        double score = 0;
        for (size_t e = 0; e < kSize; ++e) score += q[t][own + e] * k[s][shared + e];
        weight.push_back(std::exp(score / std::sqrt(static_cast<double>(kSize))));
        sum += weight.back();
      }
      for (size_t s = 0; s <= t; ++s)
        for (size_t e = 0; e < kSize; ++e) mixed[own + e] += weight[s] / sum * v[s][shared + e];
    }
    const Row out = linear(at + "self_attn.o_proj", mixed);
    for (size_t i = 0; i < kHidden; ++i) h[t][i] += out[i];
  }
}

inline std::vector<double> SparkFolder::logits(const std::vector<int32_t>& ids) const {
  const Weight& table = weights_.at("model.embed_tokens.weight");
  std::vector<Row> h;
  for (const int32_t id : ids)
    h.emplace_back(table.values.begin() + id * kHidden, table.values.begin() + (id + 1) * kHidden);
  std::vector<double> out;
  for (int i = 0; i < kLayers; ++i) {
    const std::string at = format("model.layers.{}.", i);
    attend(at, h);
    for (Row& x : h) {
      const Row n = norm(at + "post_attention_layernorm", x);
      Row gate = linear(at + "mlp.gate_proj", n);
      const Row up = linear(at + "mlp.up_proj", n);
      for (size_t f = 0; f < gate.size(); ++f) gate[f] = act(gate[f]) * up[f];
      const Row down = linear(at + "mlp.down_proj", gate);
      for (size_t j = 0; j < kHidden; ++j) x[j] += down[j];
    }
  }
  for (const Row& x : h) {
    const Row row =
        linear(layout_.is_tied ? "model.embed_tokens" : "lm_head", norm("model.norm", x));
    out.insert(out.end(), row.begin(), row.end());
  }
  return out;
}

}  // namespace quern
