// SPDX-License-Identifier: Apache-2.0
#include "text/tokenizer/tokenizer.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/error.h"
#include "base/file.h"
#include "text/tokenizer/byte_alphabet.h"
#include "text/tokenizer/line_breaks.h"
#include "text/tokenizer/long_runs.h"
#include "text/tokenizer/tokenizer_parts.h"
#include "text/tokenizer/utf8.h"

namespace quern {
namespace {

constexpr size_t kMaxTextBytes = size_t{256} << 20;
constexpr size_t kMaxConfigBytes = size_t{16} << 20;

void check_text(std::string_view text) {
  if (text.size() > kMaxTextBytes)
    fail(ErrorCode::invalid_argument,
         "text to tokenize: {} bytes, the limit is {}",
         text.size(),
         kMaxTextBytes);
  if (const size_t bad = utf8_valid_prefix(text); bad < text.size())
    fail(ErrorCode::invalid_argument, "text to tokenize: not valid UTF-8 at byte {}", bad);
}

// What decoding makes of an added token: the bytes that its characters write, if all are of the
// alphabet, else itself.
std::string bytes_of_name(const std::string& name) {
  auto bytes = bytes_of_alphabet(name);
  return bytes ? std::move(*bytes) : name;
}

SentencePieceFamily sentencepiece_family_of(const std::string& folder) {
  const std::string path = folder + "/config.json";
  if (!file_exists(path)) return SentencePieceFamily::plain;
  const Json config = read_json_file(path, {.max_bytes = kMaxConfigBytes});
  const bool is_spark = config.is_object() && config.value("model_type", Json()) == "spark";
  return is_spark ? SentencePieceFamily::spark : SentencePieceFamily::plain;
}

}  // namespace

struct Tokenizer::State {
  explicit State(TokenizerParts parts)
      : ids(std::move(parts.ids)),
        added(std::move(parts.added)),
        normalizer(std::move(parts.normalizer)),
        pre_tokenizer(std::move(parts.pre_tokenizer)),
        post_processor(std::move(parts.post_processor)),
        bpe(std::move(parts.vocabulary)),
        bos(parts.bos),
        eos(parts.eos),
        pad(parts.pad),
        follows_kimi(parts.follows_kimi),
        pieces(std::move(parts.pieces)),
        prefixes_every_stretch(parts.prefixes_every_stretch),
        line_break(std::move(parts.line_break)) {
    added.finish([this](const std::string& content) { return normalized(content); });
    id_end = bpe.size();
    for (const AddedToken& token : added.all()) id_end = std::max(id_end, token.id + 1);
    added_index.assign(id_end, -1);
    for (const AddedToken& token : added.all()) {
      added_index[token.id] = static_cast<int32_t>(added_bytes.size());
      added_names.push_back(token.is_normalized ? normalized(token.content) : token.content);
      added_bytes.push_back(bytes_of_added(added_names.back()));
      if (token.is_special) special.push_back(token.id);
    }
    std::sort(special.begin(), special.end());
    special.erase(std::unique(special.begin(), special.end()), special.end());
  }

  std::string bytes_of_added(const std::string& name) const {
    if (!line_break.empty() && name == line_break) return "\n";
    return pieces ? name : bytes_of_name(name);
  }
  const AddedToken* added_token(int32_t id) const {
    return id < 0 || id >= id_end || added_index[id] < 0 ? nullptr : &added.all()[added_index[id]];
  }
  std::string normalized(std::string_view text) const {
    std::string storage;
    return std::string(normalizer.apply(text, storage));
  }
  // `at_begin`: of the whole text.
  void encode_plain(std::string_view text, bool at_begin, std::vector<int32_t>& out) const {
    using Begins = SentencePiece::Begins;
    if (pieces)
      return pieces->encode(
          text, at_begin || prefixes_every_stretch ? Begins::yes : Begins::no, out);
    for (const std::string_view word : pre_tokenizer.split(text).views) bpe.encode(word, out);
  }

  // SentencePiece finds the symbols that its user defined in any text: those that are special are
  // taken apart behind their first character where they are to be plain text.
  void encode_unparsed(std::string_view text, bool at_begin, std::vector<int32_t>& out) const {
    using Begins = SentencePiece::Begins;
    const auto& file = pieces->file();
    size_t done = 0;
    const auto encode_to = [&](size_t end) {
      const bool begins = done == 0 && (at_begin || prefixes_every_stretch);
      pieces->encode(text.substr(done, end - done), begins ? Begins::yes : Begins::no, out);
      done = end;
    };
    for (const Segment& part : added.split(text, AddedTokens::Stage::raw, true)) {
      const bool is_symbol = part.id >= 0 && static_cast<size_t>(part.id) < file.pieces.size() &&
                             file.pieces[static_cast<size_t>(part.id)].type ==
                                 SentencePieceFile::PieceType::user_defined;
      if (!is_symbol) continue;
      size_t first = 0;
      static_cast<void>(utf8_at(part.text, 0, first));
      encode_to(static_cast<size_t>(part.text.data() - text.data()) + first);
    }
    encode_to(text.size());
  }

  // Everything but the post-processor.
  void encode_part(std::string_view text, bool parse_special, std::vector<int32_t>& out) const {
    std::string storage;
    if (!parse_special && follows_kimi)
      return encode_plain(normalizer.apply(text, storage), true, out);
    for (const Segment& raw : added.split(text, AddedTokens::Stage::raw, parse_special)) {
      if (raw.id >= 0) {
        out.push_back(raw.id);
        continue;
      }
      const std::string_view rewritten = normalizer.apply(raw.text, storage);
      for (const Segment& part :
           added.split(rewritten, AddedTokens::Stage::normalized, parse_special)) {
        if (part.id >= 0)
          out.push_back(part.id);
        else if (pieces && !parse_special)
          encode_unparsed(part.text, out.empty(), out);
        else
          encode_plain(part.text, out.empty(), out);
      }
    }
  }

  StringMap<int32_t> ids;
  AddedTokens added;
  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  PostProcessor post_processor;
  Bpe bpe;
  std::optional<int32_t> bos, eos, pad;
  bool follows_kimi;
  std::shared_ptr<const SentencePiece> pieces;  // null: bytes are merged
  bool prefixes_every_stretch;
  std::string line_break;
  int32_t id_end = 0;
  std::vector<int32_t> added_index;  // by id: into added.all(), or -1
  // In the order of added.all(): names as ids are read back (after the normalizer, as in the
  // reference), and their bytes.
  std::vector<std::string> added_names, added_bytes;
  std::vector<int32_t> special;
};

Tokenizer::Tokenizer(TokenizerParts parts) : state_(std::make_unique<State>(std::move(parts))) {}
Tokenizer::~Tokenizer() = default;
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;

namespace {

// GLM's older files are tiktoken's under SentencePiece's name, whose own begin with the tag of
// their first field, a line break.
bool is_ranked(std::string_view model) {
  return !model.empty() && model[0] > ' ';
}

}  // namespace

Tokenizer Tokenizer::from_folder(const std::string& folder) {
  const std::string json = folder + "/tokenizer.json", ranks = folder + "/tiktoken.model",
                    pieces = folder + "/tokenizer.model";
  const std::string config_path = folder + "/tokenizer_config.json";
  const std::string config =
      file_exists(config_path) ? read_file(config_path, kMaxConfigBytes) : std::string();
  if (file_exists(json)) {
    const MappedFile file(json);
    return with_context("while loading " + json, [&] { return from_json(file.text(), config); });
  }
  if (file_exists(ranks)) {
    const MappedFile file(ranks);
    return with_context("while loading " + ranks,
                        [&] { return from_tiktoken(file.text(), config); });
  }
  if (file_exists(pieces)) {
    const MappedFile file(pieces);
    return with_context("while loading " + pieces, [&] {
      if (is_ranked(file.text())) return from_tiktoken(file.text(), config);
      return from_sentencepiece(file.text(), config, sentencepiece_family_of(folder));
    });
  }
  fail(ErrorCode::not_found,
       "{}: neither tokenizer.json nor tiktoken.model nor tokenizer.model is there",
       folder);
}

std::vector<int32_t> Tokenizer::encode(std::string_view text, const EncodeOptions& options) const {
  check_text(text);
  const State& s = *state_;
  std::vector<int32_t> ids;
  ids.reserve(text.size() / 4 + 8);
  if (!s.follows_kimi)
    s.encode_part(text, options.parse_special, ids);
  else
    for (const std::string_view part : cut_long_runs(text))
      s.encode_part(part, options.parse_special, ids);
  if (options.add_special_tokens) s.post_processor.apply(ids);
  return ids;
}

std::vector<int32_t> Tokenizer::encode_pair(std::string_view first, std::string_view second) const {
  const EncodeOptions bare{.add_special_tokens = false};
  std::vector<int32_t> ids = encode(first, bare);
  state_->post_processor.join(ids, encode(second, bare));
  return ids;
}

std::string Tokenizer::decode(std::span<const int32_t> ids, const DecodeOptions& options) const {
  const State& s = *state_;
  std::string bytes;
  for (const int32_t id : ids)
    if (!options.skip_special || !is_special(id)) bytes += token_bytes(id);
  std::string text;
  replace_line_breaks(s.line_break, bytes);
  text.reserve(bytes.size());
  append_lossy_utf8(bytes, true, text);
  return text;
}

std::string_view Tokenizer::token_bytes(int32_t id) const {
  const State& s = *state_;
  if (id < 0 || id >= s.id_end) return {};
  if (s.added_index[id] >= 0) return s.added_bytes[s.added_index[id]];
  return id < s.bpe.size() ? std::string_view(s.bpe.bytes(id)) : std::string_view();
}

std::optional<std::string> Tokenizer::id_to_token(int32_t id) const {
  const State& s = *state_;
  if (id < 0 || id >= s.id_end) return std::nullopt;
  if (s.added_index[id] >= 0) return s.added_names[s.added_index[id]];
  if (id >= s.bpe.size() || s.bpe.bytes(id).empty()) return std::nullopt;
  if (s.pieces) return s.pieces->file().pieces[static_cast<size_t>(id)].text;
  return s.bpe.is_mergeable(id) ? alphabet_of_bytes(s.bpe.bytes(id)) : s.bpe.bytes(id);
}

std::optional<int32_t> Tokenizer::token_to_id(std::string_view token) const {
  if (const AddedToken* added = state_->added.find(token)) return added->id;
  const auto entry = state_->ids.find(token);
  if (entry == state_->ids.end()) return std::nullopt;
  return entry->second;
}

std::string_view Tokenizer::line_break() const {
  return state_->line_break;
}
int32_t Tokenizer::vocab_size() const {
  return state_->id_end;
}
bool Tokenizer::is_special(int32_t id) const {
  const AddedToken* token = state_->added_token(id);
  return token && token->is_special;
}
const std::vector<int32_t>& Tokenizer::special_ids() const {
  return state_->special;
}
std::optional<int32_t> Tokenizer::bos_id() const {
  return state_->bos;
}
std::optional<int32_t> Tokenizer::eos_id() const {
  return state_->eos;
}
std::optional<int32_t> Tokenizer::pad_id() const {
  return state_->pad;
}

}  // namespace quern
