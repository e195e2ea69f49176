// SPDX-License-Identifier: Apache-2.0
#include "text/jinja/interpreter.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "text/jinja/budget.h"
#include "text/jinja/objects.h"
#include "text/jinja/repr.h"
#include "text/tokenizer/utf8.h"

namespace quern::jinja {
namespace {

std::string valid_text(const std::string& text) {
  if (utf8_valid_prefix(text) == text.size()) return text;
  std::string out;
  append_lossy_utf8(text, true, out);
  return out;
}

Value array_from(const Json& json) {
  std::vector<Value> items;
  items.reserve(json.size());
  for (const Json& item : json) items.push_back(from_json(item));
  return Value::list(std::move(items));
}

Value dict_from(const Json& json) {
  Dict dict;
  for (const auto& [key, value] : json.items()) dict.set(valid_text(key), from_json(value));
  return Value::dict(std::move(dict));
}

}  // namespace

Value from_json(const Json& json) {
  Budget::charge(1);
  const Nesting level;
  switch (json.type()) {
    case Json::value_t::object:
      return dict_from(json);
    case Json::value_t::array:
      return array_from(json);
    case Json::value_t::string:
      return Value::string(valid_text(json.get_ref<const std::string&>()));
    case Json::value_t::boolean:
      return Value::boolean(json.get<bool>());
    case Json::value_t::number_integer:
      return Value::integer(json.get<int64_t>());
    case Json::value_t::number_unsigned:
      return Value::integer(json.get<uint64_t>());
    case Json::value_t::number_float:
      return Value::real(json.get<double>());
    default:
      return Value::none();
  }
}

Interpreter::Interpreter(const Program& program,
                         const Json& variables,
                         int64_t now_unix_s,
                         size_t max_output_bytes)
    : program_(program),
      variables_(variables),
      now_unix_s_(now_unix_s),
      max_output_bytes_(max_output_bytes),
      given_(program.names.size()) {}

Interpreter::~Interpreter() {
  for (const auto& object : adopted_) object->release();
}

std::string Interpreter::render() {
  execute(program_.body);
  return std::move(output_);
}

const Value* Interpreter::given(NameId name) {
  std::optional<Value>& slot = given_[name];
  if (!slot) {
    const std::string& text = program_.names[name];
    const auto found = variables_.find(text);
    slot = found != variables_.end() ? from_json(*found) : builtin_function(text);
  }
  return &*slot;
}

Value Interpreter::lookup(NameId name) {
  for (const Scope* scope = scope_.get(); scope; scope = scope->outer.get()) {
    for (const auto& [id, value] : scope->names) {
      if (id == name) return value;
    }
  }
  return *given(name);
}

void Interpreter::assign(NameId name, Value value) {
  for (auto& [id, old] : scope_->names) {
    if (id == name) {
      old = std::move(value);
      return;
    }
  }
  scope_->names.emplace_back(name, std::move(value));
}

void Interpreter::assign(const Target& target, Value value) {
  if (target.kind == Target::Kind::name) return assign(target.name, std::move(value));
  if (target.kind == Target::Kind::attribute) {
    const Value owner = lookup(target.name);
    auto* space = owner.object_as<Namespace>();
    if (!space)
      fail(ErrorCode::invalid_argument, "cannot assign attribute on non-namespace object");
    return space->set(target.attribute, std::move(value));
  }
  const auto parts = iterate(value);
  if (parts->items.size() != target.parts.size()) {
    fail(ErrorCode::invalid_argument,
         "cannot unpack {} values into {} names",
         parts->items.size(),
         target.parts.size());
  }
  for (size_t i = 0; i < parts->items.size(); ++i) assign(target.parts[i], parts->items[i]);
}

Interpreter::Frame::Frame(Interpreter& in, std::shared_ptr<Scope> outer)
    : in_(in), saved_(in.scope_) {
  in.scope_ = std::make_shared<Scope>(Scope{std::move(outer), {}});
}

Interpreter::Frame::~Frame() {
  in_.scope_ = std::move(saved_);
}

void Interpreter::write(const Value& v) {
  if (v.is_string()) return write(v.as_string());
  append_str(v, output_);
  write(std::string_view());
}

void Interpreter::write(std::string_view text) {
  if (output_.size() + text.size() > max_output_bytes_) {
    fail(ErrorCode::exhausted, "the template writes more than {} bytes", max_output_bytes_);
  }
  Budget::charge(static_cast<int64_t>(text.size() / 64));
  output_ += text;
}

Flow Interpreter::execute(const Body& body) {
  for (const auto& statement : body) {
    if (const Flow flow = statement->execute(*this); flow != Flow::normal) return flow;
  }
  return Flow::normal;
}

Value Interpreter::capture(FunctionRef<void()> action) {
  std::string outer = std::exchange(output_, {});
  action();
  return Value::string(std::exchange(output_, std::move(outer)));
}

Value Interpreter::capture(const Body& body, Flow& flow) {
  return capture([&] { flow = execute(body); });
}

Value Interpreter::adopt(std::shared_ptr<Object> object) {
  adopted_.push_back(object);
  return Value::object(std::move(object));
}

}  // namespace quern::jinja
