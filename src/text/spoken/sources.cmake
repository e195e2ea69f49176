# SPDX-License-Identifier: Apache-2.0
set(SPOKEN_SOURCES
  spoken/chinese_dates.cc spoken/chinese_measures.cc spoken/chinese_normalizer.cc spoken/chinese_numbers.cc spoken/chinese_words.cc
  spoken/emoji.cc
  spoken/english_dates.cc spoken/english_measures.cc spoken/english_net_addresses.cc spoken/english_normalizer.cc
  spoken/english_numbers.cc spoken/english_ranges.cc spoken/english_telephones.cc spoken/english_times.cc spoken/english_words.cc
  spoken/english_years.cc
  spoken/pieces.cc spoken/punctuation.cc spoken/readings.cc spoken/scientific_notation.cc spoken/simplified_characters.cc
  spoken/spoken_text.cc spoken/syllables.cc spoken/symbols.cc spoken/word_table.cc)
set(SPOKEN_TESTS spoken/spoken_text_test.cc)
set(SPOKEN_FUZZERS spoken/spoken_text_fuzz.cc)
