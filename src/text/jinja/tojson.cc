// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "base/error.h"
#include "text/jinja/budget.h"
#include "text/jinja/operators.h"
#include "text/jinja/repr.h"
#include "text/tokenizer/utf8.h"

namespace quern::jinja {
namespace {

class JsonWriter {
 public:
  explicit JsonWriter(const JsonStyle& style) : style_(style) {}

  void write(const Value& v);
  std::string take() { return std::move(out_); }

 private:
  void write_text(std::string_view text);
  void write_escaped(char32_t c);
  void write_items(const std::vector<Value>& items);
  void write_dict(const Dict& dict);
  void write_break();
  static std::string key_text(const Value& key);

  const JsonStyle& style_;
  std::string out_;
  int level_ = 0;
};

std::string json_real(double value) {
  const std::string text = format_real(value);
  return text == "nan" ? "NaN" : text == "inf" ? "Infinity" : text == "-inf" ? "-Infinity" : text;
}

void JsonWriter::write_escaped(char32_t c) {
  const auto unit = [&](char32_t u) { out_ += format("\\u{:04x}", static_cast<uint32_t>(u)); };
  if (c < 0x10000) return unit(c);
  unit(0xD800 + ((c - 0x10000) >> 10));
  unit(0xDC00 + ((c - 0x10000) & 0x3FF));
}

void JsonWriter::write_text(std::string_view text) {
  constexpr std::string_view kSpecial = "\"\\\n\r\t\b\f", kLetters = "\"\\nrtbf";
  Budget::charge_bytes(text.size());
  out_ += '"';
  for (size_t at = 0, length = 0; at < text.size(); at += length) {
    const char32_t c = utf8_at(text, at, length);
    const size_t special =
        length == 1 ? kSpecial.find(static_cast<char>(c)) : std::string_view::npos;
    if (special != std::string_view::npos) {
      out_ += '\\';
      out_ += kLetters[special];
    } else if (c < 0x20 || (style_.is_ascii && c > 0x7E)) {
      write_escaped(c);
    } else {
      out_ += text.substr(at, length);
    }
  }
  out_ += '"';
}

void JsonWriter::write_break() {
  if (!style_.indent) return;
  Budget::charge_bytes(style_.indent->size() * static_cast<size_t>(level_));
  out_ += '\n';
  for (int i = 0; i < level_; ++i) out_ += *style_.indent;
}

void JsonWriter::write_items(const std::vector<Value>& items) {
  if (items.empty()) {
    out_ += "[]";
    return;
  }
  out_ += '[';
  ++level_;
  for (size_t i = 0; i < items.size(); ++i) {
    if (i > 0) out_ += style_.item_separator;
    write_break();
    write(items[i]);
  }
  --level_;
  write_break();
  out_ += ']';
}

std::string JsonWriter::key_text(const Value& key) {
  switch (key.kind()) {
    case Value::Kind::string:
      return key.as_string();
    case Value::Kind::none:
      return "null";
    case Value::Kind::boolean:
      return key.as_boolean() ? "true" : "false";
    case Value::Kind::integer:
      return format_integer(key.as_integer());
    case Value::Kind::real:
      return json_real(key.as_real());
    default:
      fail(ErrorCode::invalid_argument,
           "tojson: keys must be str, int, float, bool or None, not {}",
           key.type_name());
  }
}

void JsonWriter::write_dict(const Dict& dict) {
  if (dict.size() == 0) {
    out_ += "{}";
    return;
  }
  std::vector<const Dict::Entry*> order;
  for (const Dict::Entry& entry : dict.entries()) order.push_back(&entry);
  if (style_.is_sorted) {
    std::stable_sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
      return is_less(a->first, b->first);
    });
  }
  out_ += '{';
  ++level_;
  for (size_t i = 0; i < order.size(); ++i) {
    if (i > 0) out_ += style_.item_separator;
    write_break();
    write_text(key_text(order[i]->first));
    out_ += style_.key_separator;
    write(order[i]->second);
  }
  --level_;
  write_break();
  out_ += '}';
}

void JsonWriter::write(const Value& v) {
  Budget::charge(1);
  const Nesting level;
  switch (v.kind()) {
    case Value::Kind::none:
      out_ += "null";
      break;
    case Value::Kind::boolean:
      out_ += v.as_boolean() ? "true" : "false";
      break;
    case Value::Kind::integer:
      out_ += format_integer(v.as_integer());
      break;
    case Value::Kind::real:
      out_ += json_real(v.as_real());
      break;
    case Value::Kind::string:
      write_text(v.as_string());
      break;
    case Value::Kind::list:
    case Value::Kind::tuple:
      write_items(v.items());
      break;
    case Value::Kind::dict:
      write_dict(v.as_dict());
      break;
    default:
      fail(ErrorCode::invalid_argument,
           "tojson: an object of type {} is not JSON serializable",
           v.type_name());
  }
}

}  // namespace

std::string to_json(const Value& v, const JsonStyle& style) {
  JsonWriter writer(style);
  writer.write(v);
  return writer.take();
}

}  // namespace quern::jinja
