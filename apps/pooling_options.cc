// SPDX-License-Identifier: Apache-2.0
// Facts: vLLM's config/pooler.py and config/model.py; the losses of transformers' sequence
// classification, which say what scores are.
#include "pooling_options.h"

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "api/field_reader.h"
#include "base/error.h"
#include "base/file.h"
#include "models/registry.h"
#include "nn/decoder.h"
#include "weights/pooling_files.h"

namespace quern {
namespace {

constexpr const char* kConfigFlag = "--pooler-config";

struct PoolerConfig {
  std::optional<PoolingType> type;
  std::optional<bool> is_activated;
};

PoolingType parse_type(const std::string& name, std::string_view where) {
  if (name == "LAST") return PoolingType::last;
  if (name == "MEAN") return PoolingType::mean;
  if (name == "CLS") return PoolingType::cls;
  fail(ErrorCode::unsupported, "{}: expected LAST, MEAN or CLS, got \"{:.60}\"", where, name);
}

// The first of `names` that is there; two of them are one too many.
template <typename Value>
std::optional<Value> one_of(std::optional<Value> a, std::optional<Value> b, const char* names) {
  if (a && b) fail(ErrorCode::invalid_argument, "{}: {} mean the same", kConfigFlag, names);
  return a ? a : b;
}

PoolerConfig parse_pooler_config(const std::string& text) {
  PoolerConfig out;
  if (text.empty()) return out;
  const Json json = parse_json(text, kConfigFlag);
  FieldReader fields(json, std::string(kConfigFlag) + ".");
  const auto type = one_of(fields.string("pooling_type"),
                           fields.string("seq_pooling_type"),
                           "pooling_type and seq_pooling_type");
  if (type) out.type = parse_type(*type, fields.path("pooling_type"));
  out.is_activated = one_of(fields.boolean("normalize"),
                            fields.boolean("use_activation"),
                            "normalize and use_activation");
  for (const char* name : {"task", "tok_pooling_type"})
    fields.refuse(name, "one vector is made of a prompt, not one of each token");
  for (const char* name : {"enable_chunked_processing", "max_embed_len"})
    fields.refuse(name, "a prompt longer than the context is refused, not cut into pieces");
  for (const char* name : {"logit_mean", "logit_sigma", "logit_bias", "logit_scale"})
    fields.refuse(name, "scores are not calibrated here");
  for (const char* name : {"dimensions", "step_tag_id", "returned_token_ids"})
    fields.refuse(name, "leave it out; requests name their dimensions");
  const std::vector<std::string> unknown = fields.reject_misspelt();
  if (!unknown.empty())
    fail(ErrorCode::invalid_argument,
         "{}: no such field: {}; expected pooling_type and normalize",
         kConfigFlag,
         unknown.front());
  return out;
}

// Of the last layer's rows nothing follows that this build does not do.
void check_text_decoder(const Config& config) {
  if (config.has("vision_config") || config.has("audio_config"))
    fail(ErrorCode::unsupported,
         "{}: vectors of models that see or hear are not made here; text models alone",
         config.path());
  const bool is_two_way = !config.boolean_or("is_causal", true) ||
                          config.boolean_or("use_bidirectional_attention", false);
  if (is_two_way)
    fail(ErrorCode::unsupported,
         "{}: this model attends in both directions (is_causal: false); this build attends to what "
         "came before only, so its vectors would be others",
         config.path());
}

ScoreActivation classes_activation(const Config& config, int64_t labels) {
  const ScoreActivation usual = labels == 1 ? ScoreActivation::sigmoid : ScoreActivation::softmax;
  std::string named = config.string_or("sbert_ce_default_activation_function", "");
  if (const auto own = config.find("sentence_transformers"))
    named = own->string_or("activation_fn", named);
  if (!named.empty()) {
    const std::string word = named.substr(named.rfind('.') + 1);
    if (word == "Sigmoid") return ScoreActivation::sigmoid;
    if (word == "Identity") return ScoreActivation::none;
    fail(ErrorCode::unsupported,
         "{}: scores pass through {:.100}: this build has Sigmoid and Identity",
         config.path(),
         named);
  }
  const std::string problem = config.string_or("problem_type", "");
  if (problem == "regression") return ScoreActivation::none;
  if (problem == "multi_label_classification") return ScoreActivation::sigmoid;
  return usual;
}

std::vector<std::string> label_names(const Config& config) {
  std::vector<std::string> out;
  const auto names = config.find("id2label");
  for (int64_t i = 0; i < count_labels(config); ++i) {
    const std::string index = std::to_string(i);
    out.push_back(names && names->has(index) ? names->string(index) : "LABEL_" + index);
  }
  return out;
}

ChosenPooling classes_of(const Config& config, const PoolerConfig& asked) {
  if (asked.type && *asked.type != PoolingType::last)
    fail(ErrorCode::unsupported,
         "{}: a classification head reads the last token: leave pooling_type out",
         kConfigFlag);
  ChosenPooling out;
  out.pooling.output = Output::scores;
  out.pooling.labels = label_names(config);
  out.pooling.activation =
      classes_activation(config, static_cast<int64_t>(out.pooling.labels.size()));
  out.pooling.is_activated = asked.is_activated.value_or(true);
  return out;
}

ChosenPooling embeddings_of(const Config& config,
                            const PoolerConfig& asked,
                            const std::optional<StatedPooling>& stated) {
  ChosenPooling out;
  Pooling& p = out.pooling;
  const std::string gguf = config.string_or("gguf_pooling_type", "");
  if (asked.type)
    p.type = *asked.type;
  else if (stated)
    p.type = parse_type(stated->type, "1_Pooling/config.json");
  else if (!gguf.empty())
    p.type = parse_type(gguf, config.path() + ": pooling_type");
  p.is_activated = asked.is_activated.value_or(!stated || stated->normalizes);
  if (stated) out.max_tokens = stated->max_tokens;
  if (config.has("matryoshka_dimensions")) p.cuts = config.integers("matryoshka_dimensions");
  p.is_matryoshka = config.boolean_or("is_matryoshka", false) || !p.cuts.empty();
  const int64_t hidden = config.integer("hidden_size");
  if (stated && stated->size > 0 && stated->size != hidden)
    fail(ErrorCode::data_loss,
         "1_Pooling/config.json: word_embedding_dimension {}, but {} has a hidden_size of {}",
         stated->size,
         config.path(),
         hidden);
  return out;
}

bool is_to_pool(const PoolingFlags& flags, const Config& config, Output head, bool is_stated) {
  if (flags.runner == "pooling") return true;
  const bool is_converted = flags.convert == "embed" || flags.convert == "classify";
  if (flags.runner == "generate") {
    if (is_converted)
      fail(ErrorCode::invalid_argument, "--convert {}: only with --runner pooling", flags.convert);
    return false;
  }
  if (flags.convert == "none") return head != Output::logits;
  return is_converted || is_stated || head != Output::logits || config.has("gguf_pooling_type");
}

// Which output --convert asks for.
Output output_of(const PoolingFlags& flags, const ModelEntry& entry) {
  if (flags.convert == "none" && entry.head == Output::logits)
    fail(ErrorCode::invalid_argument,
         "--convert none: {} generates text; --convert embed makes embeddings of its hidden states",
         entry.architecture);
  if (flags.convert == "classify" && entry.head != Output::scores)
    fail(ErrorCode::unsupported,
         "--convert classify: {} has no classification head; a ForSequenceClassification model has",
         entry.architecture);
  return entry.head == Output::scores && flags.convert != "embed" ? Output::scores : Output::hidden;
}

}  // namespace

void add_pooling_options(CLI::App& command, PoolingFlags& flags) {
  constexpr const char* kGroup = "Pooling";
  flags.runner = "auto";
  command
      .add_option("--runner",
                  flags.runner,
                  "generate: text; pooling: embeddings, scores or classes (docs/pooling.md); auto: "
                  "what the model was saved as")
      ->group(kGroup)
      ->capture_default_str()
      ->check(CLI::IsMember({"auto", "generate", "pooling"}));
  command
      .add_option(
          "--convert",
          flags.convert,
          "with --runner pooling: embed, classify, none (only what the model was saved as), "
          "auto")
      ->group(kGroup)
      ->capture_default_str()
      ->check(CLI::IsMember({"auto", "none", "embed", "classify"}));
  command
      .add_option("--pooler-config,--override-pooler-config",
                  flags.pooler_config,
                  R"(JSON: {"pooling_type": "LAST", "MEAN" or "CLS", "normalize": true or false})")
      ->group(kGroup);
}

std::optional<ChosenPooling> choose_pooling(const PoolingFlags& flags,
                                            const std::string& path,
                                            const Checkpoint& checkpoint) {
  const Config& config = checkpoint.config();
  const PoolerConfig asked = parse_pooler_config(flags.pooler_config);
  const ModelEntry& entry = model_entry(config);
  std::optional<StatedPooling> stated;
  if (flags.runner != "generate" && is_directory(path)) stated = read_stated_pooling(path);
  if (!is_to_pool(flags, config, entry.head, stated.has_value())) {
    if (flags.pooler_config.empty()) return std::nullopt;
    fail(ErrorCode::invalid_argument, "{}: only with --runner pooling", kConfigFlag);
  }
  check_text_decoder(config);
  if (output_of(flags, entry) == Output::scores) return classes_of(config, asked);
  return embeddings_of(config, asked, stated);
}

std::string describe(const Pooling& p) {
  if (p.output == Output::scores) return format("classes: {}, of the last token", p.labels.size());
  constexpr const char* kTypes[] = {"LAST", "MEAN", "CLS"};
  return format("embeddings of {} values, pooling {}{}",
                p.size,
                kTypes[static_cast<size_t>(p.type)],
                p.is_activated ? ", normalized" : "");
}

}  // namespace quern
