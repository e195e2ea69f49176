// SPDX-License-Identifier: Apache-2.0
// quern tokenize: ids and pieces of a text, as the model's own tokenizer makes them.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "base/json.h"
#include "commands.h"
#include "exit_codes.h"
#include "model_source.h"

namespace quern {
namespace {

struct TokenizeOptions {
  std::string model, text;
  bool add_special_tokens = false, plain = false, json = false;
};

std::string read_standard_input() {
  return {std::istreambuf_iterator<char>(std::cin), {}};
}

int tokenize(const TokenizeOptions& o) {
  const Tokenizer tokenizer = open_tokenizer(find_model(o.model));
  const std::string text = o.text == "-" ? read_standard_input() : o.text;
  const std::vector<int32_t> ids = tokenizer.encode(
      text, {.add_special_tokens = o.add_special_tokens, .parse_special = !o.plain});
  if (o.json) {
    Json pieces = Json::array();
    for (const int32_t id : ids) pieces.push_back(tokenizer.id_to_token(id).value_or(""));
    const Json out = {{"ids", ids}, {"tokens", pieces}, {"decoded", tokenizer.decode(ids)}};
    std::printf("%s\n", json_text(out).c_str());
    return kExitDone;
  }
  for (const int32_t id : ids)
    std::printf("%8d  %s\n", id, tokenizer.id_to_token(id).value_or("").c_str());
  std::printf("%zu tokens\n", ids.size());
  return kExitDone;
}

}  // namespace

void add_tokenize_command(CLI::App& parent, int& exit_code) {
  auto o = std::make_shared<TokenizeOptions>();
  CLI::App* command = parent.add_subcommand("tokenize", "ids and pieces of a text");
  command
      ->add_option("MODEL,-m,--model",
                   o->model,
                   "folder, .gguf file, name in the Hugging Face cache, or smollm2-135m")
      ->required();
  command->add_option("TEXT,--text", o->text, "the text; - reads standard input")->required();
  command->add_flag(
      "--add-special-tokens", o->add_special_tokens, "with what the tokenizer puts around a text");
  command->add_flag("--plain", o->plain, "special tokens in the text are ordinary text");
  command->add_flag("--json", o->json, "one JSON object");
  command->callback([o, &exit_code] { exit_code = tokenize(*o); });
}

}  // namespace quern
