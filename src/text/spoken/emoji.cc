// SPDX-License-Identifier: Apache-2.0
// Emoji are found by table: single characters, pairs of letters for flags, keycaps. What joins or
// colours them goes with them.
#include "text/spoken/emoji.h"

#include <algorithm>
#include <array>

#include "text/spoken/readings.h"

namespace quern::spoken {
namespace {

struct Range {
  char32_t first, last;
};

// The emoji that are one character (Unicode 16, emoji-data and emoji-sequences).
constexpr std::array<Range, 146> kEmoji = {{
    {0xA9, 0xA9},       {0xAE, 0xAE},       {0x203C, 0x203C},   {0x2049, 0x2049},
    {0x2122, 0x2122},   {0x2139, 0x2139},   {0x2194, 0x2199},   {0x21A9, 0x21AA},
    {0x231A, 0x231B},   {0x2328, 0x2328},   {0x23CF, 0x23CF},   {0x23E9, 0x23F3},
    {0x23F8, 0x23FA},   {0x24C2, 0x24C2},   {0x25AA, 0x25AB},   {0x25B6, 0x25B6},
    {0x25C0, 0x25C0},   {0x25FB, 0x25FE},   {0x2600, 0x2604},   {0x260E, 0x260E},
    {0x2611, 0x2611},   {0x2614, 0x2615},   {0x2618, 0x2618},   {0x261D, 0x261D},
    {0x2620, 0x2620},   {0x2622, 0x2623},   {0x2626, 0x2626},   {0x262A, 0x262A},
    {0x262E, 0x262F},   {0x2638, 0x263A},   {0x2640, 0x2640},   {0x2642, 0x2642},
    {0x2648, 0x2653},   {0x265F, 0x2660},   {0x2663, 0x2663},   {0x2665, 0x2666},
    {0x2668, 0x2668},   {0x267B, 0x267B},   {0x267E, 0x267F},   {0x2692, 0x2697},
    {0x2699, 0x2699},   {0x269B, 0x269C},   {0x26A0, 0x26A1},   {0x26A7, 0x26A7},
    {0x26AA, 0x26AB},   {0x26B0, 0x26B1},   {0x26BD, 0x26BE},   {0x26C4, 0x26C5},
    {0x26C8, 0x26C8},   {0x26CE, 0x26CF},   {0x26D1, 0x26D1},   {0x26D3, 0x26D4},
    {0x26E9, 0x26EA},   {0x26F0, 0x26F5},   {0x26F7, 0x26FA},   {0x26FD, 0x26FD},
    {0x2702, 0x2702},   {0x2705, 0x2705},   {0x2708, 0x270D},   {0x270F, 0x270F},
    {0x2712, 0x2712},   {0x2714, 0x2714},   {0x2716, 0x2716},   {0x271D, 0x271D},
    {0x2721, 0x2721},   {0x2728, 0x2728},   {0x2733, 0x2734},   {0x2744, 0x2744},
    {0x2747, 0x2747},   {0x274C, 0x274C},   {0x274E, 0x274E},   {0x2753, 0x2755},
    {0x2757, 0x2757},   {0x2763, 0x2764},   {0x2795, 0x2797},   {0x27A1, 0x27A1},
    {0x27B0, 0x27B0},   {0x27BF, 0x27BF},   {0x2934, 0x2935},   {0x2B05, 0x2B07},
    {0x2B1B, 0x2B1C},   {0x2B50, 0x2B50},   {0x2B55, 0x2B55},   {0x3030, 0x3030},
    {0x303D, 0x303D},   {0x3297, 0x3297},   {0x3299, 0x3299},   {0x1F004, 0x1F004},
    {0x1F0CF, 0x1F0CF}, {0x1F170, 0x1F171}, {0x1F17E, 0x1F17F}, {0x1F18E, 0x1F18E},
    {0x1F191, 0x1F19A}, {0x1F201, 0x1F202}, {0x1F21A, 0x1F21A}, {0x1F22F, 0x1F22F},
    {0x1F232, 0x1F23A}, {0x1F250, 0x1F251}, {0x1F300, 0x1F321}, {0x1F324, 0x1F393},
    {0x1F396, 0x1F397}, {0x1F399, 0x1F39B}, {0x1F39E, 0x1F3F0}, {0x1F3F3, 0x1F3F5},
    {0x1F3F7, 0x1F4FD}, {0x1F4FF, 0x1F53D}, {0x1F549, 0x1F54E}, {0x1F550, 0x1F567},
    {0x1F56F, 0x1F570}, {0x1F573, 0x1F57A}, {0x1F587, 0x1F587}, {0x1F58A, 0x1F58D},
    {0x1F590, 0x1F590}, {0x1F595, 0x1F596}, {0x1F5A4, 0x1F5A5}, {0x1F5A8, 0x1F5A8},
    {0x1F5B1, 0x1F5B2}, {0x1F5BC, 0x1F5BC}, {0x1F5C2, 0x1F5C4}, {0x1F5D1, 0x1F5D3},
    {0x1F5DC, 0x1F5DE}, {0x1F5E1, 0x1F5E1}, {0x1F5E3, 0x1F5E3}, {0x1F5E8, 0x1F5E8},
    {0x1F5EF, 0x1F5EF}, {0x1F5F3, 0x1F5F3}, {0x1F5FA, 0x1F64F}, {0x1F680, 0x1F6C5},
    {0x1F6CB, 0x1F6D2}, {0x1F6D5, 0x1F6D7}, {0x1F6DC, 0x1F6E5}, {0x1F6E9, 0x1F6E9},
    {0x1F6EB, 0x1F6EC}, {0x1F6F0, 0x1F6F0}, {0x1F6F3, 0x1F6FC}, {0x1F7E0, 0x1F7EB},
    {0x1F7F0, 0x1F7F0}, {0x1F90C, 0x1F93A}, {0x1F93C, 0x1F945}, {0x1F947, 0x1F9FF},
    {0x1FA70, 0x1FA7C}, {0x1FA80, 0x1FA89}, {0x1FA8F, 0x1FAC6}, {0x1FACE, 0x1FADC},
    {0x1FADF, 0x1FAE9}, {0x1FAF0, 0x1FAF8},
}};

// For A to Z, the second letters of flags.
constexpr std::array<std::string_view, 26> kFlags = {
    "CDEFGILMOQRSTUWXZ",
    "ABDEFGHIJLMNOQRSTVWYZ",
    "ACDFGHIKLMNOPQRUVWXYZ",
    "EGJKMOZ",
    "ACEGHRSTU",
    "IJKMOR",
    "ABDEFGHILMNPQRSTUWY",
    "KMNRTU",
    "CDELMNOQRST",
    "EMOP",
    "EGHIMNPRWYZ",
    "ABCIKRSTUVY",
    "ACDEFGHKLMNOPQRSTUVWXYZ",
    "ACEFGILOPRUZ",
    "M",
    "AEFGHKLMNRSTWY",
    "A",
    "EOSUW",
    "ABCDEGHIJKLMNORSTVXYZ",
    "ACDFGHJKLMNORTVWZ",
    "AGMNSYZ",
    "ACEGINU",
    "FS",
    "K",
    "ET",
    "AMW",
};

constexpr char32_t kJoiner = 0x200D, kTextStyle = 0xFE0E, kEmojiStyle = 0xFE0F, kKeycap = 0x20E3,
                   kBlackFlag = 0x1F3F4, kFirstLetter = 0x1F1E6, kLastLetter = 0x1F1FF,
                   kFirstTag = 0xE0020, kLastTag = 0xE007F;

bool is_emoji(char32_t c) {
  const auto* range =
      std::upper_bound(kEmoji.begin(), kEmoji.end(), c, [](char32_t value, const Range& r) {
        return value < r.first;
      });
  return range != kEmoji.begin() && c <= (range - 1)->last;
}

bool is_flag_letter(std::u32string_view text, size_t at) {
  return at < text.size() && text[at] >= kFirstLetter && text[at] <= kLastLetter;
}

bool is_flag(std::u32string_view text, size_t at) {
  if (!is_flag_letter(text, at) || !is_flag_letter(text, at + 1)) return false;
  const char second = static_cast<char>('A' + (text[at + 1] - kFirstLetter));
  return kFlags[text[at] - kFirstLetter].find(second) != std::string_view::npos;
}

// How many characters of text[at…] are a keycap: a digit, # or *, maybe a style, the cap.
size_t keycap_length(std::u32string_view text, size_t at) {
  const char32_t c = text[at];
  if (!is_ascii_digit(c) && c != U'#' && c != U'*') return 0;
  const size_t cap = is_at(text, at + 1, kEmojiStyle) ? at + 2 : at + 1;
  return is_at(text, cap, kKeycap) ? cap + 1 - at : 0;
}

size_t emoji_length(std::u32string_view text, size_t at) {
  if (is_flag(text, at)) return 2;
  if (const size_t length = keycap_length(text, at); length > 0) return length;
  if (!is_emoji(text[at])) return 0;
  size_t end = at + 1;
  if (text[at] == kBlackFlag)
    while (end < text.size() && text[end] >= kFirstTag && text[end] <= kLastTag) ++end;
  return end - at;
}

}  // namespace

std::u32string remove_emoji(std::u32string_view text) {
  std::u32string out;
  bool is_behind_emoji = false;
  for (size_t at = 0; at < text.size();) {
    if (text[at] == kTextStyle || text[at] == kEmojiStyle ||
        (is_behind_emoji && text[at] == kJoiner)) {
      ++at;
    } else if (const size_t length = emoji_length(text, at); length > 0) {
      at += length;
      is_behind_emoji = true;
    } else {
      out += text[at++];
      is_behind_emoji = false;
    }
  }
  return out;
}

}  // namespace quern::spoken
