// SPDX-License-Identifier: Apache-2.0
#include "quantize/quantizer/working_layer.h"

#include <algorithm>

#include "base/error.h"

namespace quern {

void WorkingLayer::set(const std::string& name, const Tensor& values) {
  Entry& entry = entries_[name];
  entry.info.name = name;
  entry.info.shape = values.shape();  // f32, as TensorInfo begins
  entry.values = values.contiguous();
  entry.load = {};
  forget(name);
}

void WorkingLayer::set_lazy(const std::string& name, const Shape& shape, Load load) {
  Entry& entry = entries_[name];
  entry.info.name = name;
  entry.info.shape = shape;
  entry.values = {};
  entry.load = std::move(load);
  forget(name);
}

void WorkingLayer::change(const std::string& name, std::function<Tensor(const Tensor&)> how) {
  const auto it = entries_.find(name);
  QUERN_CHECK(it != entries_.end(), "{}", name);
  if (it->second.values.defined()) return set(name, how(it->second.values));
  it->second.load = [load = std::move(it->second.load), how = std::move(how)] {
    return how(load());
  };
  forget(name);
}

Tensor WorkingLayer::at(const std::string& name) const {
  const auto it = entries_.find(name);
  if (it == entries_.end()) fail(ErrorCode::not_found, "{}: no such tensor in this layer", name);
  return it->second.values.defined() ? it->second.values : it->second.load();
}

const TensorInfo* WorkingLayer::find(std::string_view name) const {
  const auto it = entries_.find(name);
  return it == entries_.end() ? rest_->find(name) : &it->second.info;
}

std::vector<std::string> WorkingLayer::names() const {
  std::vector<std::string> out = rest_->names();
  for (const auto& [name, entry] : entries_) out.push_back(name);
  std::ranges::sort(out);
  out.erase(std::ranges::unique(out).begin(), out.end());
  return out;
}

std::span<const std::byte> WorkingLayer::bytes(std::string_view name) const {
  const auto it = entries_.find(name);
  if (it == entries_.end()) return rest_->bytes(name);
  const auto span_of = [](const Tensor& t) {
    return std::span<const std::byte>(t.raw(), static_cast<size_t>(t.bytes()));
  };
  if (it->second.values.defined()) return span_of(it->second.values);
  const std::lock_guard lock(mutex_);
  for (const auto& [known, values] : recent_)
    if (known == name) return span_of(values);
  if (recent_.size() == kRecent) recent_.pop_front();
  recent_.emplace_back(name, it->second.load().contiguous());
  return span_of(recent_.back().second);
}

void WorkingLayer::forget(const std::string& name) {
  const std::lock_guard lock(mutex_);
  std::erase_if(recent_, [&](const auto& held) { return held.first == name; });
}

}  // namespace quern
