// SPDX-License-Identifier: Apache-2.0
#include "agent/view_labels.h"

#include <array>
#include <cstdio>
#include <optional>
#include <vector>

namespace quern::agent {
namespace {

struct Box {
  int left = 0, top = 0, right = 0, bottom = 0;
  bool has(Place p) const { return p.x >= left && p.x < right && p.y >= top && p.y < bottom; }
  bool has(const Box& b) const {
    return b.left >= left && b.right <= right && b.top >= top && b.bottom <= bottom;
  }
  int64_t area() const { return int64_t{right - left} * (bottom - top); }
};

struct View {
  Box box;
  std::string text;
  bool is_clickable = false;
};

struct Entity {
  std::string_view written, meant;
};

std::string unescaped(std::string_view text) {
  constexpr std::array<Entity, 6> kEntities = {{{"&lt;", "<"},
                                                {"&gt;", ">"},
                                                {"&quot;", "\""},
                                                {"&apos;", "'"},
                                                {"&#10;", " "},
                                                {"&amp;", "&"}}};
  std::string out;
  while (!text.empty()) {
    std::string_view meant = text.substr(0, 1), written = meant;
    for (const Entity& entity : kEntities)
      if (text.starts_with(entity.written)) meant = entity.meant, written = entity.written;
    out += meant;
    text.remove_prefix(written.size());
  }
  return out;
}

// Values stand in double quotes, and quotes inside them are entities.
std::string attribute(std::string_view node, std::string_view name) {
  const std::string key = " " + std::string(name) + "=\"";
  const size_t at = node.find(key);
  if (at == std::string_view::npos) return {};
  const std::string_view value = node.substr(at + key.size());
  return unescaped(value.substr(0, value.find('"')));
}

std::optional<Box> box_of(const std::string& bounds) {
  Box box;
  const int read =
      std::sscanf(bounds.c_str(), "[%d,%d][%d,%d]", &box.left, &box.top, &box.right, &box.bottom);
  return read == 4 ? std::optional(box) : std::nullopt;
}

std::vector<View> views_in(std::string_view dump) {
  std::vector<View> out;
  for (size_t at = 0; (at = dump.find("<node ", at)) != std::string_view::npos; ++at) {
    const std::string_view node = dump.substr(at, dump.find('>', at) - at);
    const std::optional<Box> box = box_of(attribute(node, "bounds"));
    if (!box) continue;
    std::string text = attribute(node, "text");
    const std::string described = attribute(node, "content-desc");
    if (!text.empty() && !described.empty()) text += ' ';
    out.push_back({.box = *box,
                   .text = text += described,
                   .is_clickable = attribute(node, "clickable") == "true"});
  }
  return out;
}

}  // namespace

std::string label_at(std::string_view dump, Place pixel) {
  const std::vector<View> views = views_in(dump);
  const View* best = nullptr;
  for (const View& view : views)
    if (view.is_clickable && view.box.has(pixel) &&
        (best == nullptr || view.box.area() <= best->box.area()))
      best = &view;
  std::string out;
  if (best == nullptr) return out;
  for (const View& view : views)
    if (best->box.has(view.box) && !view.text.empty()) out += (out.empty() ? "" : " ") + view.text;
  return out;
}

std::string ask_label(Adb& adb, Place pixel) {
  return label_at(adb.bytes({"uiautomator", "dump", "/dev/tty"}), pixel);
}

}  // namespace quern::agent
