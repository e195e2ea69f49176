// SPDX-License-Identifier: Apache-2.0
// Sources: specs/whisper_spec.py, specs/transformer_spec.py and the WhisperLoader and BartLoader of
// converters/transformers.py in CTranslate2 (names of variables; which are fused); the
// configuration classes of transformers 5.23 (keys of the files).
#include "quantize/whisper_ctranslate2.h"

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "text/tokenizer/tokenizer.h"
#include "weights/ctranslate2_file.h"

namespace quern {
namespace {

constexpr uint32_t kRevision = 3;  // of the layout of variables
constexpr int64_t kMaxLayers = 1000;
// The vocabulary of the models for English alone, and of no other; is_multilingual in CTranslate2's
// src/models/whisper.cc tells them apart by it too.
constexpr int64_t kEnglishVocabulary = 51864;

// Where in the order of stored rows a tensor begins: fused ones are cut apart.
struct Part {
  std::string variable, name;
  int64_t index = 0, count = 1;  // the index-th of `count` equal parts
};

class WhisperTensors {
 public:
  explicit WhisperTensors(std::shared_ptr<const Checkpoint> source) : source_(std::move(source)) {}

  bool has(const std::string& variable) const { return source_->has(variable); }

  // The shape of a variable of so many axes.
  const Shape& shape(const std::string& variable, int rank) const {
    const TensorInfo* info = source_->find(variable);
    if (info == nullptr) fail(ErrorCode::data_loss, "variable {} is missing", variable);
    if (info->shape.rank() != rank)
      fail(ErrorCode::data_loss,
           "variable {}: expected {} axes, got {}",
           variable,
           rank,
           info->shape.text());
    return info->shape;
  }

  int64_t scalar(const std::string& variable) {
    (void)shape(variable, 0);
    taken_.insert(variable);
    const Tensor value = read_f32(*source_, variable);
    return static_cast<int64_t>(*value.data<float>());
  }

  void add(const Part& part) {
    const TensorInfo& info = source_->info(part.variable);
    if (info.stored != Stored::f32 && info.stored != Stored::f16 && info.stored != Stored::bf16)
      fail(ErrorCode::unsupported,
           "variable {}: {} weights: take the model as float16 or float32",
           part.variable,
           name_of(info.stored));
    taken_.insert(part.variable);
    const auto bytes = part_bytes(part);
    SafetensorsEntry entry{part.name, info.stored, info.shape, 0, 0};
    entry.shape.set(0, info.shape[0] / part.count);
    tensors_.push_back({std::move(entry), [bytes](FileWriter& out) { out.write(bytes); }});
  }

  // transformers has no bias of keys; the fused one holds zeros in its place.
  void expect_zeros(const Part& part) const {
    const auto bytes = part_bytes(part);
    if (std::ranges::any_of(bytes, [](std::byte b) { return b != std::byte{0}; }))
      fail(ErrorCode::unsupported, "variable {}: keys with a bias", part.variable);
  }

  // What is left has no place in the layout; scalars are settings.
  void expect_all_taken() const {
    for (const std::string& name : source_->names())
      if (!taken_.contains(name) && source_->info(name).shape.rank() > 0)
        fail(ErrorCode::unsupported, "variable {}: not one of a Whisper's", name);
  }

  Stored stored(const std::string& variable) const { return source_->info(variable).stored; }
  void set_taken(const std::string& variable) { taken_.insert(variable); }
  bool is_same(const std::string& a, const std::string& b) const {
    const auto x = source_->bytes(a), y = source_->bytes(b);
    return x.size() == y.size() && std::memcmp(x.data(), y.data(), x.size()) == 0;
  }
  std::vector<OutTensor> take() { return std::move(tensors_); }

 private:
  std::span<const std::byte> part_bytes(const Part& part) const {
    const TensorInfo& info = source_->info(part.variable);
    const auto bytes = source_->bytes(part.variable);
    if (info.shape.rank() == 0 || info.shape[0] % part.count != 0)
      fail(ErrorCode::data_loss,
           "variable {}: {} is not {} parts",
           part.variable,
           info.shape.text(),
           part.count);
    const size_t size = bytes.size() / static_cast<size_t>(part.count);
    return bytes.subspan(static_cast<size_t>(part.index) * size, size);
  }

  std::shared_ptr<const Checkpoint> source_;
  std::vector<OutTensor> tensors_;
  std::set<std::string> taken_;
};

// The encoder or the decoder.
struct Stack {
  std::string name;
  int64_t layers = 0, heads = 0, inner = 0;
};

class WhisperImport {
 public:
  explicit WhisperImport(const std::string& folder)
      : folder_(folder),
        model_(open_ctranslate2_file(folder + "/model.bin")),
        source_(std::move(model_.variables)),
        tensors_(source_) {
    if (model_.spec != "WhisperSpec" || model_.revision != kRevision)
      fail(ErrorCode::unsupported,
           "{}/model.bin: {:.80} of revision {}: of CTranslate2's models this build converts "
           "Whisper (WhisperSpec) of revision {}",
           folder,
           model_.spec,
           model_.revision,
           kRevision);
  }

  ImportedModel run() {
    for (Stack* stack : {&encoder_, &decoder_}) add_stack(*stack);
    for (const std::string conv : {"conv1", "conv2"})
      for (const std::string kind : {"weight", "bias"})
        tensors_.add({"encoder/" + conv + "/" + kind, "model.encoder." + conv + "." + kind});
    tensors_.add({kEmbeddings, "model.decoder.embed_tokens.weight"});
    add_head();
    expect_usual_settings();
    tensors_.expect_all_taken();
    const Tokenizer tokenizer = Tokenizer::from_folder(folder_);
    ImportedModel out{source_, tensors_.take(), {}};
    write_files(tokenizer, out.files);
    return out;
  }

 private:
  static constexpr const char* kEmbeddings = "decoder/embeddings/weight";
  static constexpr const char* kHead = "decoder/projection/weight";
  static constexpr const char* kPositions = "/position_encodings/encodings";

  // What CTranslate2 could do otherwise, and transformers' Whisper could not.
  void expect_usual_settings() {
    constexpr std::pair<const char*, int64_t> kSettings[] = {{"activation", 3},  // gelu
                                                             {"pre_norm", 1},
                                                             {"alibi", 0},
                                                             {"scale_embeddings", 0},
                                                             {"start_from_zero_embedding", 0}};
    for (const auto& [key, usual] : kSettings)
      for (const Stack* stack : {&encoder_, &decoder_}) {
        const std::string name = stack->name + "/" + key;
        if (!tensors_.has(name) || tensors_.scalar(name) == usual) continue;
        fail(
            ErrorCode::unsupported, "{}: {}; a Whisper has {}", name, tensors_.scalar(name), usual);
      }
  }

  void add_head() {
    if (!tensors_.has(kHead)) return;
    is_tied_ = tensors_.is_same(kHead, kEmbeddings);
    if (is_tied_)
      tensors_.set_taken(kHead);
    else
      tensors_.add({kHead, "proj_out.weight"});
  }

  void add_norm(const std::string& variable, const std::string& name) {
    tensors_.add({variable + "/gamma", name + ".weight"});
    tensors_.add({variable + "/beta", name + ".bias"});
  }

  void add_linear(const std::string& variable, const std::string& name) {
    tensors_.add({variable + "/weight", name + ".weight"});
    tensors_.add({variable + "/bias", name + ".bias"});
  }

  // Projections that lie above one another in one variable.
  void add_fused(const std::string& variable,
                 const std::string& name,
                 const std::vector<std::string>& projections) {
    const auto count = static_cast<int64_t>(projections.size());
    for (int64_t i = 0; i < count; ++i) {
      const std::string& projection = projections[static_cast<size_t>(i)];
      tensors_.add({variable + "/weight", name + projection + ".weight", i, count});
      const Part bias{variable + "/bias", name + projection + ".bias", i, count};
      if (projection == "k_proj")
        tensors_.expect_zeros(bias);
      else
        tensors_.add(bias);
    }
  }

  void add_layer(const Stack& stack, int64_t index) {
    const std::string from = format("{}/layer_{}/", stack.name, index);
    const std::string to = format("model.{}.layers.{}.", stack.name, index);
    add_norm(from + "self_attention/layer_norm", to + "self_attn_layer_norm");
    add_fused(from + "self_attention/linear_0", to + "self_attn.", {"q_proj", "k_proj", "v_proj"});
    add_linear(from + "self_attention/linear_1", to + "self_attn.out_proj");
    if (&stack == &decoder_) {
      add_norm(from + "attention/layer_norm", to + "encoder_attn_layer_norm");
      add_linear(from + "attention/linear_0", to + "encoder_attn.q_proj");
      add_fused(from + "attention/linear_1", to + "encoder_attn.", {"k_proj", "v_proj"});
      add_linear(from + "attention/linear_2", to + "encoder_attn.out_proj");
    }
    add_norm(from + "ffn/layer_norm", to + "final_layer_norm");
    add_linear(from + "ffn/linear_0", to + "fc1");
    add_linear(from + "ffn/linear_1", to + "fc2");
  }

  void add_stack(Stack& stack) {
    while (tensors_.has(format("{}/layer_{}/ffn/linear_0/weight", stack.name, stack.layers)))
      if (++stack.layers > kMaxLayers) fail(ErrorCode::data_loss, "too many layers");
    stack.inner = tensors_.shape(stack.name + "/layer_0/ffn/linear_0/weight", 2)[0];
    stack.heads = tensors_.scalar(stack.name + "/num_heads");
    for (int64_t i = 0; i < stack.layers; ++i) add_layer(stack, i);
    add_norm(stack.name + "/layer_norm", format("model.{}.layer_norm", stack.name));
    tensors_.add({stack.name + kPositions, format("model.{}.embed_positions.weight", stack.name)});
  }

  int32_t id_of(const Tokenizer& tokenizer, const char* token) const {
    const auto id = tokenizer.token_to_id(token);
    if (!id) fail(ErrorCode::data_loss, "{}/tokenizer.json: no {}: no Whisper's", folder_, token);
    return *id;
  }

  int64_t vocabulary() const { return tensors_.shape(kEmbeddings, 2)[0]; }
  int64_t bands() const { return tensors_.shape("encoder/conv1/weight", 3)[1]; }

  void write_files(const Tokenizer& tokenizer, std::map<std::string, std::string>& files) const {
    if (tokenizer.vocab_size() > vocabulary())
      fail(ErrorCode::data_loss,
           "{}: the tokenizer knows {} tokens, the model {}",
           folder_,
           tokenizer.vocab_size(),
           vocabulary());
    files["tokenizer.json"] = tokenizer_text(tokenizer);
    const auto put = [&](const char* name, const Json& json) { files[name] = json.dump(2) + "\n"; };
    put("config.json", config(tokenizer));
    put("generation_config.json", generation(tokenizer));
    put("tokenizer_config.json", tokenizer_config());
    const std::string own = folder_ + "/preprocessor_config.json";
    if (file_exists(own))
      files["preprocessor_config.json"] = read_file(own);
    else
      put("preprocessor_config.json", preprocessor());
  }

  // Older tokenizers end before the tokens of time, which the model has: one for each 0.02 s.
  // Without a name they would count as padding of the vocabulary.
  std::string tokenizer_text(const Tokenizer& tokenizer) const {
    std::string text = read_file(folder_ + "/tokenizer.json");
    const int32_t first = id_of(tokenizer, "<|notimestamps|>") + 1;
    if (tokenizer.vocab_size() != first) return text;
    Json json = parse_json(text, "tokenizer.json");
    for (int64_t id = first; id < vocabulary(); ++id)
      json["added_tokens"].push_back(
          {{"id", id},
           {"content", format("<|{:.2f}|>", 0.02 * static_cast<double>(id - first))},
           {"single_word", false},
           {"lstrip", false},
           {"rstrip", false},
           {"normalized", false},
           {"special", false}});
    return json.dump();
  }

  Json config(const Tokenizer& tokenizer) const {
    const int32_t end = id_of(tokenizer, "<|endoftext|>");
    const Stored stored = tensors_.stored(kEmbeddings);
    Json out{{"architectures", {"WhisperForConditionalGeneration"}},
             {"model_type", "whisper"},
             {"activation_function", "gelu"},
             {"d_model", tensors_.shape(kEmbeddings, 2)[1]},
             {"vocab_size", vocabulary()},
             {"num_mel_bins", bands()}};
    for (const Stack* stack : {&encoder_, &decoder_}) {
      out[stack->name + "_layers"] = stack->layers;
      out[stack->name + "_attention_heads"] = stack->heads;
      out[stack->name + "_ffn_dim"] = stack->inner;
    }
    out["num_hidden_layers"] = encoder_.layers;
    out["max_source_positions"] = tensors_.shape(encoder_.name + kPositions, 2)[0];
    out["max_target_positions"] = tensors_.shape(decoder_.name + kPositions, 2)[0];
    out["scale_embedding"] = false;
    out["is_encoder_decoder"] = true;
    for (const char* key : {"bos_token_id", "eos_token_id", "pad_token_id"}) out[key] = end;
    out["decoder_start_token_id"] = id_of(tokenizer, "<|startoftranscript|>");
    out["tie_word_embeddings"] = is_tied_;
    out["torch_dtype"] = stored == Stored::f16    ? "float16"
                         : stored == Stored::bf16 ? "bfloat16"
                                                  : "float32";
    return out;
  }

  // Names of languages stand between the start of a transcript and the first task.
  Json languages(const Tokenizer& tokenizer) const {
    Json out = Json::object();
    const int32_t tasks = id_of(tokenizer, "<|translate|>");
    for (int32_t id = id_of(tokenizer, "<|startoftranscript|>") + 1; id < tasks; ++id)
      if (const auto token = tokenizer.id_to_token(id); token && token->starts_with("<|"))
        out[*token] = id;
    return out;
  }

  Json generation(const Tokenizer& tokenizer) const {
    const Config stated = Config::read(folder_ + "/config.json");
    const auto ids = [&](const char* key) {
      return stated.has(key) ? stated.integers(key) : std::vector<int64_t>();
    };
    const int32_t end = id_of(tokenizer, "<|endoftext|>");
    const bool is_multilingual = vocabulary() != kEnglishVocabulary;
    Json out{{"suppress_tokens", ids("suppress_ids")},
             {"begin_suppress_tokens", ids("suppress_ids_begin")},
             {"bos_token_id", end},
             {"eos_token_id", end},
             {"pad_token_id", end},
             {"decoder_start_token_id", id_of(tokenizer, "<|startoftranscript|>")},
             {"no_timestamps_token_id", id_of(tokenizer, "<|notimestamps|>")},
             {"prev_sot_token_id", id_of(tokenizer, "<|startofprev|>")},
             {"max_initial_timestamp_index", 50},
             {"max_length", tensors_.shape(decoder_.name + kPositions, 2)[0]},
             {"return_timestamps", false},
             {"is_multilingual", is_multilingual}};
    if (stated.has("alignment_heads")) out["alignment_heads"] = stated.json().at("alignment_heads");
    if (!is_multilingual) return out;
    out["lang_to_id"] = languages(tokenizer);
    out["task_to_id"] = {{"transcribe", id_of(tokenizer, "<|transcribe|>")},
                         {"translate", id_of(tokenizer, "<|translate|>")}};
    return out;
  }

  static Json tokenizer_config() {
    Json out{{"tokenizer_class", "WhisperTokenizer"}, {"processor_class", "WhisperProcessor"}};
    for (const char* key : {"bos_token", "eos_token", "pad_token", "unk_token"})
      out[key] = "<|endoftext|>";
    out["add_prefix_space"] = false;
    out["errors"] = "replace";
    out["model_max_length"] = 1024;
    return out;
  }

  // Windows of half a minute, as every Whisper has them.
  Json preprocessor() const {
    return {{"feature_extractor_type", "WhisperFeatureExtractor"},
            {"processor_class", "WhisperProcessor"},
            {"feature_size", bands()},
            {"sampling_rate", 16000},
            {"hop_length", 160},
            {"n_fft", 400},
            {"chunk_length", 30},
            {"n_samples", 480000},
            {"nb_max_frames", 3000},
            {"padding_side", "right"},
            {"padding_value", 0.0},
            {"return_attention_mask", false}};
  }

  std::string folder_;
  Ctranslate2Model model_;
  std::shared_ptr<const Checkpoint> source_;
  WhisperTensors tensors_;
  Stack encoder_{.name = "encoder"}, decoder_{.name = "decoder"};
  bool is_tied_ = true;
};

}  // namespace

ImportedModel whisper_of_ctranslate2(const std::string& folder) {
  return WhisperImport(folder).run();
}

}  // namespace quern
