// SPDX-License-Identifier: Apache-2.0
#include "agent/sensitive.h"

#include <algorithm>
#include <array>

#include "base/format.h"

namespace quern::agent {
namespace {

// Whole words; a phrase stands for itself.
constexpr auto kEnglishDeeds = std::to_array<std::string_view>(
    {"pay",       "payment",   "paying",      "buy",      "purchase", "order", "checkout",
     "subscribe", "transfer",  "donate",      "send",     "sending",  "post",  "publish",
     "reply",     "submit",    "delete",      "deleting", "remove",   "erase", "wipe",
     "clear",     "uninstall", "unsubscribe", "reset",    "format"});
// Chinese has no blanks between words.
constexpr auto kChineseDeeds = std::to_array<std::string_view>({"支付",
                                                                "付款",
                                                                "购买",
                                                                "下单",
                                                                "结算",
                                                                "转账",
                                                                "充值",
                                                                "订阅",
                                                                "发送",
                                                                "发布",
                                                                "提交",
                                                                "回复",
                                                                "删除",
                                                                "清空",
                                                                "卸载",
                                                                "重置",
                                                                "格式化"});

bool is_letter_or_digit(char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (c & 0x80) != 0;
}

std::string lowered(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  });
  return out;
}

bool has_word(std::string_view text, std::string_view word) {
  for (size_t at = 0; (at = text.find(word, at)) != std::string_view::npos; ++at) {
    const size_t end = at + word.size();
    const bool begins = at == 0 || !is_letter_or_digit(text[at - 1]);
    if (begins && (end == text.size() || !is_letter_or_digit(text[end]))) return true;
  }
  return false;
}

}  // namespace

bool names_sensitive_deed(std::string_view text) {
  const std::string low = lowered(text);
  return std::any_of(kEnglishDeeds.begin(),
                     kEnglishDeeds.end(),
                     [&](std::string_view word) { return has_word(low, word); }) ||
         std::any_of(kChineseDeeds.begin(), kChineseDeeds.end(), [&](std::string_view word) {
           return low.find(word) != std::string::npos;
         });
}

bool is_touch(ActionKind kind) {
  return kind == ActionKind::tap || kind == ActionKind::double_tap ||
         kind == ActionKind::long_press;
}

std::string question_about(const Action& action,
                           const std::string& thought,
                           const std::string& label) {
  if (!is_touch(action.kind)) return {};
  // Cut: a long text must not push the question out of sight.
  const std::string where = label.empty() ? "" : format(" \"{:.200}\"", label);
  if (action.asks)
    return format(
        "{}{}{}{:.300}", name_of(action.kind), where, action.text.empty() ? "" : ": ", action.text);
  if (names_sensitive_deed(label.empty() ? thought : label))
    return label.empty() ? format("{}: {:.300}", name_of(action.kind), thought)
                         : format("{}{}", name_of(action.kind), where);
  return {};
}

}  // namespace quern::agent
