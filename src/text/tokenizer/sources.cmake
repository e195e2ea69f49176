# SPDX-License-Identifier: Apache-2.0
set(TOKENIZER_SOURCES
  tokenizer/added_tokens.cc tokenizer/bpe.cc tokenizer/byte_alphabet.cc tokenizer/component_json.cc
  tokenizer/detokenizer.cc tokenizer/gguf_vocabulary.cc tokenizer/json_fields.cc tokenizer/long_runs.cc
  tokenizer/normalizer.cc
  tokenizer/post_processor.cc tokenizer/pre_tokenizer.cc tokenizer/regex.cc tokenizer/tiktoken.cc tokenizer/tokenizer.cc
  tokenizer/sentencepiece.cc tokenizer/sentencepiece_file.cc
  tokenizer/sentencepiece_tokenizer.cc tokenizer/tokenizer_config.cc tokenizer/tokenizer_json.cc tokenizer/tokenizer_parts.cc tokenizer/unicode.cc
  tokenizer/utf8.cc tokenizer/word_patterns.cc)
set(TOKENIZER_TESTS
  tokenizer/bpe_test.cc tokenizer/detokenizer_test.cc tokenizer/gguf_vocabulary_test.cc tokenizer/golden_test.cc
  tokenizer/pre_tokenizer_test.cc tokenizer/sentencepiece_test.cc tokenizer/tokenizer_json_test.cc tokenizer/tokenizer_test.cc
  tokenizer/unicode_test.cc)
set(TOKENIZER_FUZZERS tokenizer/sentencepiece_fuzz.cc tokenizer/tokenizer_json_fuzz.cc)
