// SPDX-License-Identifier: Apache-2.0
#include "weights/renamed_checkpoint.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/error.h"
#include "base/file.h"
#include "weights/config_aliases.h"
#include "weights/name_map.h"
#include "weights/stored.h"
#include "weights/tensor_names.h"
#include "weights/with_config.h"

namespace quern {
namespace {

constexpr std::string_view kNamesFile = "quern_names.json";
constexpr int64_t kMostRows = std::numeric_limits<int32_t>::max();

// Where a tensor lies in the stored one.
struct Place {
  TensorInfo info;
  std::string stored;           // name
  size_t begin = 0, bytes = 0;  // of the stored tensor's bytes
};

class RenamedCheckpoint final : public Checkpoint {
 public:
  RenamedCheckpoint(std::shared_ptr<const Checkpoint> stored, Config config)
      : stored_(std::move(stored)), config_(std::move(config)) {}

  void add(Place place) {
    const std::string name = place.info.name, from = place.stored;
    const auto [it, is_new] = places_.emplace(name, std::move(place));
    if (!is_new)
      fail(ErrorCode::data_loss,
           "{}: both {} and {} would be {}",
           config_.path(),
           it->second.stored,
           from,
           name);
  }

  const TensorInfo* find(std::string_view name) const override {
    const Place* place = place_of(name);
    return place == nullptr ? nullptr : &place->info;
  }
  std::vector<std::string> names() const override {
    std::vector<std::string> out;
    for (const auto& [name, place] : places_) out.push_back(name);
    return out;
  }
  std::span<const std::byte> bytes(std::string_view name) const override {
    const Place* place = place_of(name);
    if (place == nullptr) {
      if (places_.empty()) return stored_->bytes(name);  // throws unavailable
      (void)info(name);                                  // throws not_found with near misses
      return {};
    }
    return stored_->bytes(place->stored).subspan(place->begin, place->bytes);
  }
  const Config& config() const override { return config_; }
  int64_t total_bytes() const override { return stored_->total_bytes(); }
  void read_ahead(std::string_view prefix) const override {
    for_stored(prefix, [this](std::string_view module) { stored_->read_ahead(module); });
  }
  void give_back(std::string_view prefix) const override {
    for_stored(prefix, [this](std::string_view module) { stored_->give_back(module); });
  }

 private:
  const Place* place_of(std::string_view name) const {
    auto it = places_.find(name);
    if (it == places_.end()) it = places_.find(canonical_name(name));
    return it == places_.end() ? nullptr : &it->second;
  }
  // The stored modules whose tensors lie below `prefix` here.
  template <typename Action>
  void for_stored(std::string_view prefix, Action&& action) const {
    const std::string start = canonical_name(format("{}.", prefix));
    std::string last;
    for (auto it = places_.lower_bound(start); it != places_.end() && it->first.starts_with(start);
         ++it) {
      std::string module = it->second.stored.substr(0, it->second.stored.rfind('.'));
      if (module == last) continue;
      action(module);
      last = std::move(module);
    }
  }

  std::shared_ptr<const Checkpoint> stored_;
  Config config_;
  std::map<std::string, Place, std::less<>> places_;
};

// Sizes that tell stacked rows apart; read where they are needed.
class RowCounts {
 public:
  explicit RowCounts(const Config& config) : config_(config) {}

  int64_t heads() const { return config_.integer("num_attention_heads", 1, 4096); }
  int64_t kv_heads() const { return config_.integer_or("num_key_value_heads", heads(), 1, 4096); }
  int64_t head_size() const {
    if (config_.has("head_dim")) return config_.integer("head_dim", 1, 4096);
    const int64_t hidden = config_.integer("hidden_size", 1, int64_t{1} << 24);
    if (hidden % heads() != 0)
      fail(ErrorCode::data_loss,
           "{}: hidden_size {} is no multiple of num_attention_heads {}; state head_dim",
           config_.path(),
           hidden,
           heads());
    return hidden / heads();
  }
  // Rows of one of Llama's tensors that may be stacked with others.
  int64_t of(std::string_view name) const {
    if (name.find(".self_attn.q_proj.") != std::string_view::npos) return heads() * head_size();
    if (name.find(".self_attn.k_proj.") != std::string_view::npos ||
        name.find(".self_attn.v_proj.") != std::string_view::npos)
      return kv_heads() * head_size();
    if (name.find(".mlp.gate_proj.") != std::string_view::npos ||
        name.find(".mlp.up_proj.") != std::string_view::npos)
      return config_.integer("intermediate_size", 1, int64_t{1} << 24);
    fail(ErrorCode::data_loss,
         "{}: only q_proj, k_proj, v_proj, gate_proj and up_proj may be stacked with others",
         name);
  }

 private:
  const Config& config_;
};

// Puts the tensors of a stored checkpoint where a map says.
class Renaming {
 public:
  Renaming(std::shared_ptr<const Checkpoint> stored, const Config& config, std::string help)
      : stored_(std::move(stored)),
        config_(config),
        rows_(config_),
        help_(std::move(help)),
        out_(std::make_unique<RenamedCheckpoint>(stored_, config)) {}

  std::unique_ptr<Checkpoint> apply(const NameMap& map) {
    for (const std::string& name : stored_->names()) {
      const auto [rule, places] = *find_rule(map, name);
      if (rule->to.empty()) continue;
      std::vector<std::string> to;
      for (const NamePattern& one : rule->to) {
        to.push_back(one.fill(places));
        check_name(name, to.back());
      }
      with_context(format("tensor {}", name), [&] { place(*rule, stored_->info(name), to); });
    }
    return std::move(out_);
  }

  using Match = std::pair<const TensorRule*, NamePlaces>;
  static std::optional<Match> find_rule(const NameMap& map, const std::string& name) {
    for (const TensorRule& rule : map.rules)
      if (auto places = rule.from.match(name)) return Match{&rule, std::move(*places)};
    return std::nullopt;
  }

 private:
  // A tensor of a layer that the config does not count, or of a kind that a decoder lacks, would be
  // left out silently.
  void check_name(const std::string& stored, const std::string& name) const {
    const bool takes_parts = config_.has("quantization_config");
    if (!is_decoder_tensor(name, takes_parts))
      fail(ErrorCode::unsupported,
           "{}: tensor {} would be {}, which this decoder does not have; {}",
           config_.path(),
           stored,
           name,
           help_);
    constexpr std::string_view kLayers = "model.layers.";
    if (!name.starts_with(kLayers)) return;
    int64_t layer = 0;
    std::from_chars(name.data() + kLayers.size(), name.data() + name.size(), layer);
    if (const int64_t layers = config_.integer("num_hidden_layers", 1, 1000); layer >= layers)
      fail(ErrorCode::data_loss,
           "{}: tensor {} is of layer {}, and num_hidden_layers is {}; correct it, or leave such "
           "tensors out: {}",
           config_.path(),
           stored,
           layer,
           layers,
           help_);
  }

  void place(const TensorRule& rule, const TensorInfo& info, const std::vector<std::string>& to) {
    if (rule.rows == StackedRows::one) {
      TensorInfo renamed = info;
      renamed.name = to.front();
      const auto bytes = static_cast<size_t>(stored_bytes(info.stored, info.shape, info.name));
      return out_->add({std::move(renamed), info.name, 0, bytes});
    }
    check_stack(info, to);
    if (layout_of(rule.rows, info) == StackedRows::by_kv_group) return deal_out(info, to);
    const bool is_turned = rule.rows == StackedRows::gate_up && up_comes_first(info);
    cut(info, is_turned ? std::vector<std::string>{to[1], to[0]} : to);
  }

  void check_stack(const TensorInfo& info, const std::vector<std::string>& to) const {
    const auto dtype = dtype_of(info.stored);
    if (!dtype || bits_of(*dtype) < 16 || !info.row_order.empty() || info.shape.rank() < 1 ||
        info.shape.rank() > 2)
      fail(ErrorCode::unsupported,
           "{} {}: only stacked matrices and vectors of floats can be told apart",
           name_of(info.stored),
           info.shape.text());
    int64_t expected = 0;
    std::string sum;
    for (const std::string& name : to) {
      expected += rows_.of(name);
      sum += format("{}{} of {}", sum.empty() ? "" : " + ", rows_.of(name), name);
    }
    if (info.shape[0] != expected || expected > kMostRows)
      fail(ErrorCode::data_loss,
           "expected {} rows ({}) by {}, got {} in the file",
           expected,
           sum,
           config_.path(),
           info.shape.text());
  }

  // What a built-in scheme leaves open, the config must say.
  StackedRows layout_of(StackedRows rows, const TensorInfo& info) const {
    if (rows != StackedRows::qkv) return rows;
    if (rows_.kv_heads() == 1) return StackedRows::in_order;  // both are one
    const std::string said = config_.string_or("qkv_layout", "");
    if (said == "in_order") return StackedRows::in_order;
    if (said == "by_kv_group") return StackedRows::by_kv_group;
    fail(
        ErrorCode::unsupported,
        "{}: q, k and v are stored in one, and {}; state \"qkv_layout\": \"in_order\" (all of q, "
        "then k, then v) or \"by_kv_group\" (q, k and v of each KV head together), in config.json "
        "or under \"config\" of quern_names.json; with the wrong one perplexity rises by orders of "
        "magnitude (docs/models/spark.md)",
        info.name,
        said.empty() ? "nothing says how" : format("qkv_layout is \"{:.40}\"", said));
  }

  bool up_comes_first(const TensorInfo& info) const {
    const std::string said = config_.string_or("gate_up_order", "");
    if (said == "gate_first") return false;
    if (said == "up_first") return true;
    fail(ErrorCode::unsupported,
         "{}: gate and up are stored in one, and {}; state \"gate_up_order\": \"gate_first\" or "
         "\"up_first\", in config.json or under \"config\" of quern_names.json; with the wrong one "
         "perplexity rises by orders of magnitude (docs/models/spark.md)",
         info.name,
         said.empty() ? "nothing says which comes first"
                      : format("gate_up_order is \"{:.40}\"", said));
  }

  static int64_t row_bytes(const TensorInfo& info) {
    return stored_bytes(info.stored, info.shape, info.name) / std::max<int64_t>(info.shape[0], 1);
  }
  static TensorInfo part_of(const TensorInfo& info, const std::string& name, int64_t rows) {
    TensorInfo out = info;
    out.name = name;
    out.shape = info.shape.rank() == 1 ? Shape{rows} : Shape{rows, info.shape[1]};
    return out;
  }

  void cut(const TensorInfo& info, const std::vector<std::string>& to) {
    int64_t at = 0;
    for (const std::string& name : to) {
      const int64_t rows = rows_.of(name), width = row_bytes(info);
      out_->add({part_of(info, name, rows),
                 info.name,
                 static_cast<size_t>(at * width),
                 static_cast<size_t>(rows * width)});
      at += rows;
    }
  }

  // q, k and v of each KV head together: rows of each lie scattered in the stored tensor.
  void deal_out(const TensorInfo& info, const std::vector<std::string>& to) {
    const int64_t groups = rows_.kv_heads(), size = rows_.head_size();
    if (rows_.heads() % groups != 0)
      fail(ErrorCode::data_loss,
           "{}: num_attention_heads {} is no multiple of num_key_value_heads {}",
           config_.path(),
           rows_.heads(),
           groups);
    const int64_t q_rows = rows_.heads() / groups * size, group = q_rows + 2 * size;
    const int64_t begins[] = {0, q_rows, q_rows + size}, counts[] = {q_rows, size, size};
    for (size_t part = 0; part < 3; ++part) {
      TensorInfo one = part_of(info, to[part], groups * counts[part]);
      for (int64_t g = 0; g < groups; ++g)
        for (int64_t r = 0; r < counts[part]; ++r)
          one.row_order.push_back(static_cast<int32_t>(g * group + begins[part] + r));
      const auto bytes = static_cast<size_t>(stored_bytes(info.stored, info.shape, info.name));
      out_->add({std::move(one), info.name, 0, bytes});
    }
  }

  std::shared_ptr<const Checkpoint> stored_;
  const Config config_;
  RowCounts rows_;
  std::string help_;
  std::unique_ptr<RenamedCheckpoint> out_;
};

std::vector<std::string> unplaced(const NameMap& map, const std::vector<std::string>& names) {
  std::vector<std::string> out;
  for (const std::string& name : names)
    if (!Renaming::find_rule(map, name)) out.push_back(name);
  return out;
}

// The first map under which every tensor has a place.
const NameMap& fitting_map(const std::vector<const NameMap*>& maps,
                           const Checkpoint& stored,
                           const std::string& help) {
  const std::vector<std::string> names = stored.names();
  std::vector<std::string> fewest;
  const NameMap* nearest = nullptr;
  for (const NameMap* map : maps) {
    std::vector<std::string> missing = unplaced(*map, names);
    if (missing.empty()) return *map;
    if (nearest != nullptr && missing.size() >= fewest.size()) continue;
    fewest = std::move(missing);
    nearest = map;
  }
  const size_t count = fewest.size();
  fewest.resize(std::min<size_t>(count, 3));
  fail(ErrorCode::unsupported,
       "{}: {} of {} tensors have no place under the names of {}: {}{}; {}",
       stored.config().path(),
       count,
       names.size(),
       nearest->name,
       fmt::join(fewest, ", "),
       count > fewest.size() ? ", …" : "",
       help);
}

}  // namespace

std::unique_ptr<Checkpoint> with_published_names(std::unique_ptr<Checkpoint> stored,
                                                 const std::string& folder,
                                                 const std::string& names_file) {
  const std::string beside = format("{}/{}", folder, kNamesFile);
  std::optional<NameFile> file;
  if (!names_file.empty())
    file = read_name_file(names_file);
  else if (file_exists(beside))
    file = read_name_file(beside);
  if (!file && !is_spark(stored->config())) return stored;
  Config config = stored->config();
  if (file) config = with_changed_keys(config, *file->changes);
  config = with_published_keys(config);
  std::vector<const NameMap*> maps;
  if (file && file->has_rules)
    maps.push_back(&file->map);
  else if (is_spark(config))
    for (const NameMap& map : spark_name_maps()) maps.push_back(&map);
  const std::string help = format(
      "say what they are in {} (\"tensors\": a list of {{\"from\", \"to\"}}; docs/models/spark.md)",
      names_file.empty() ? beside : names_file);
  std::shared_ptr<const Checkpoint> shared = std::move(stored);
  if (maps.empty() || shared->names().empty()) return with_config(shared, config);
  const NameMap& map = fitting_map(maps, *shared, help);
  return Renaming(shared, config, help).apply(map);
}

}  // namespace quern
