// SPDX-License-Identifier: Apache-2.0
#include "weights/pickle.h"

#include <algorithm>
#include <map>
#include <optional>
#include <string>

#include "base/error.h"
#include "base/shown_text.h"
#include "weights/byte_reader.h"

namespace quern {
namespace {

constexpr size_t kMaxValues = size_t{1} << 21;
constexpr size_t kMaxPickleBytes = size_t{64} << 20;  // with it the items of all values
constexpr size_t kMaxName = 200;

// The names are those of pickletools.
enum Opcode : uint8_t {
  kMark = '(',
  kStop = '.',
  kFloat = 'G',
  kInt = 'J',
  kInt1 = 'K',
  kInt2 = 'M',
  kNone = 'N',
  kPersistentId = 'Q',
  kReduce = 'R',
  kUnicode = 'X',
  kAppend = 'a',
  kBuild = 'b',
  kGlobal = 'c',
  kDict = 'd',
  kAppends = 'e',
  kGet = 'h',
  kLongGet = 'j',
  kList = 'l',
  kPut = 'q',
  kLongPut = 'r',
  kSetItem = 's',
  kTuple = 't',
  kSetItems = 'u',
  kEmptyTuple = ')',
  kEmptyList = ']',
  kEmptyDict = '}',
  kShortString = 'U',
  kString = 'T',
  kProtocol = 0x80,
  kTuple1 = 0x85,
  kTuple2 = 0x86,
  kTuple3 = 0x87,
  kTrue = 0x88,
  kFalse = 0x89,
  kLong1 = 0x8a,
  kShortUnicode = 0x8c,
  kUnicode8 = 0x8d,
  kStackGlobal = 0x93,
  kMemoize = 0x94,
  kFrame = 0x95,
};

class PickleMachine {
 public:
  PickleMachine(std::span<const std::byte> pickle, std::span<const PickleName> known)
      : reader_(pickle), known_(known) {}

  PickleTree run() {
    for (;;) {
      const auto op = reader_.number<uint8_t>("operation");
      if (op == kStop) break;
      if (!push_number(op) && !push_text(op) && !push_group(op) && !fill(op) && !name(op) &&
          !remember(op))
        refuse(op);
    }
    if (stack_.size() != 1 || !marks_.empty())
      fail(ErrorCode::data_loss, "it ends with {} values, expected one", stack_.size());
    tree_.root = stack_[0];
    return std::move(tree_);
  }

 private:
  [[noreturn]] void refuse(uint8_t op) const {
    fail(ErrorCode::unsupported,
         "operation 0x{:02x} at byte {}: a dict of tensors has no use for it",
         op,
         reader_.at() - 1);
  }

  PickleValue& value(uint32_t index) { return tree_.values[index]; }

  void push_index(uint32_t index) {
    if (stack_.size() >= kMaxValues)
      fail(ErrorCode::data_loss, "more than {} values on its stack", kMaxValues);
    stack_.push_back(index);
  }
  void push(PickleValue made) {
    if (tree_.values.size() >= kMaxValues)
      fail(ErrorCode::data_loss, "more than {} values", kMaxValues);
    tree_.values.push_back(std::move(made));
    push_index(static_cast<uint32_t>(tree_.values.size() - 1));
  }
  void push(PickleKind kind, int64_t integer = 0) { push({kind, integer, {}, {}}); }

  uint32_t pop(PickleKind kind, std::string_view what) {
    const uint32_t out = pop(what);
    if (value(out).kind != kind)
      fail(ErrorCode::data_loss,
           "{} before byte {}: expected a {}, got a {}",
           what,
           reader_.at(),
           name_of(kind),
           name_of(value(out).kind));
    return out;
  }
  uint32_t pop(std::string_view what) {
    if (stack_.size() <= (marks_.empty() ? 0 : marks_.back()))
      fail(ErrorCode::data_loss, "{} before byte {}: there is no value", what, reader_.at());
    const uint32_t out = stack_.back();
    stack_.pop_back();
    return out;
  }
  std::vector<uint32_t> pop_count(size_t count) {
    std::vector<uint32_t> out(count);
    for (size_t i = count; i-- > 0;) out[i] = pop("tuple");
    return out;
  }
  std::vector<uint32_t> pop_to_mark() {
    if (marks_.empty())
      fail(ErrorCode::data_loss, "before byte {}: there is no mark", reader_.at());
    const auto begin = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
    std::vector<uint32_t> out(begin, stack_.end());
    stack_.erase(begin, stack_.end());
    marks_.pop_back();
    return out;
  }

  bool push_number(uint8_t op) {
    switch (op) {
      case kNone:
        return push(PickleKind::none), true;
      case kTrue:
      case kFalse:
        return push(PickleKind::boolean, op == kTrue), true;
      case kInt:
        return push(PickleKind::integer, reader_.number<int32_t>("integer")), true;
      case kInt1:
        return push(PickleKind::integer, reader_.number<uint8_t>("integer")), true;
      case kInt2:
        return push(PickleKind::integer, reader_.number<uint16_t>("integer")), true;
      case kLong1:
        return push(PickleKind::integer, long_integer()), true;
      case kFloat:
        (void)reader_.take(8, "number");
        return push(PickleKind::real), true;
      default:
        return false;
    }
  }

  // Two's complement in as many bytes as it needs.
  int64_t long_integer() {
    const auto count = reader_.number<uint8_t>("integer");
    if (count > 8) fail(ErrorCode::unsupported, "an integer of {} bytes", count);
    const auto bytes = reader_.take(count, "integer");
    uint64_t out = 0;
    for (size_t i = 0; i < bytes.size(); ++i) out |= static_cast<uint64_t>(bytes[i]) << (8 * i);
    const bool is_negative = count > 0 && (out >> (8 * count - 1) & 1) != 0;
    if (is_negative && count < 8) out |= ~uint64_t{0} << (8 * count);
    return static_cast<int64_t>(out);
  }

  bool push_text(uint8_t op) {
    std::optional<uint64_t> length;
    if (op == kShortUnicode || op == kShortString)
      length = reader_.number<uint8_t>("text");
    else if (op == kUnicode || op == kString)
      length = reader_.number<uint32_t>("text");
    else if (op == kUnicode8)
      length = reader_.number<uint64_t>("text");
    if (!length) return false;
    const auto bytes = reader_.take(*length, "text");
    push({PickleKind::text, 0, {reinterpret_cast<const char*>(bytes.data()), bytes.size()}, {}});
    return true;
  }

  bool push_group(uint8_t op) {
    switch (op) {
      case kMark:
        if (marks_.size() >= kMaxValues) fail(ErrorCode::data_loss, "too many marks");
        return marks_.push_back(stack_.size()), true;
      case kEmptyTuple:
        return push(PickleKind::tuple), true;
      case kEmptyList:
        return push(PickleKind::list), true;
      case kEmptyDict:
        return push(PickleKind::dict), true;
      case kTuple1:
      case kTuple2:
      case kTuple3:
        return push({PickleKind::tuple, 0, {}, pop_count(op - kTuple1 + 1u)}), true;
      case kTuple:
        return push({PickleKind::tuple, 0, {}, pop_to_mark()}), true;
      case kList:
        return push({PickleKind::list, 0, {}, pop_to_mark()}), true;
      case kDict:
        return push({PickleKind::dict, 0, {}, pairs(pop_to_mark())}), true;
      default:
        return false;
    }
  }

  std::vector<uint32_t> pairs(std::vector<uint32_t> items) const {
    if (items.size() % 2 != 0)
      fail(ErrorCode::data_loss, "before byte {}: a key without a value", reader_.at());
    return items;
  }

  // Into the list or dict on top of the stack.
  void append(PickleKind kind, const std::vector<uint32_t>& items) {
    const uint32_t group = pop(kind, name_of(kind));
    stack_.push_back(group);
    auto& all = value(group).items;
    all.insert(all.end(), items.begin(), items.end());
  }

  bool fill(uint8_t op) {
    switch (op) {
      case kAppend:
        return append(PickleKind::list, pop_count(1)), true;
      case kAppends:
        return append(PickleKind::list, pop_to_mark()), true;
      case kSetItem:
        return append(PickleKind::dict, pop_count(2)), true;
      case kSetItems:
        return append(PickleKind::dict, pairs(pop_to_mark())), true;
      case kBuild:  // attributes of an OrderedDict: versions of modules, no tensors
        (void)pop("attributes");
        return append(PickleKind::dict, {}), true;
      default:
        return false;
    }
  }

  bool name(uint8_t op) {
    switch (op) {
      case kGlobal: {
        const std::string_view module = line();
        return push_name(module, line()), true;
      }
      case kStackGlobal: {
        const uint32_t word = pop(PickleKind::text, "name");
        return push_name(value(pop(PickleKind::text, "module")).text, value(word).text), true;
      }
      case kReduce:
        return call(), true;
      case kPersistentId: {
        const uint32_t id = pop("persistent id");
        return push({PickleKind::persistent, 0, {}, {id}}), true;
      }
      default:
        return false;
    }
  }

  std::string_view line() {
    const size_t left = std::min(reader_.left(), kMaxName + 1);
    ByteReader ahead = reader_;
    const auto bytes = ahead.take(left, "name");
    const auto end = std::ranges::find(bytes, std::byte{'\n'});
    if (end == bytes.end())
      fail(ErrorCode::data_loss, "name at byte {}: it has no end", reader_.at());
    const auto length = static_cast<size_t>(end - bytes.begin());
    (void)reader_.take(length + 1, "name");
    return {reinterpret_cast<const char*>(bytes.data()), length};
  }

  void push_name(std::string_view module, std::string_view word) {
    const std::string whole = format("{}.{}", module.substr(0, kMaxName), word.substr(0, kMaxName));
    const auto known = std::ranges::find(known_, whole, &PickleName::name);
    if (known == known_.end())
      fail(ErrorCode::unsupported,
           "it names {}, which a dict of tensors has no use for; nothing of it was run. Save the "
           "state dict alone",
           shown_text(whole));
    push({PickleKind::name, 0, known->name, {}});
  }

  void call() {
    const uint32_t arguments = pop(PickleKind::tuple, "call"),
                   called = pop(PickleKind::name, "call");
    const auto known = std::ranges::find(known_, value(called).text, &PickleName::name);
    if (!known->makes_dict) return push({PickleKind::call, 0, {}, {called, arguments}});
    if (!value(arguments).items.empty())
      fail(ErrorCode::unsupported, "{} with arguments", value(called).text);
    push(PickleKind::dict);
  }

  bool remember(uint8_t op) {
    switch (op) {
      case kProtocol: {
        const auto protocol = reader_.number<uint8_t>("protocol");
        if (protocol < 2 || protocol > 5) fail(ErrorCode::unsupported, "protocol {}", protocol);
        return true;
      }
      case kFrame:
        return (void)reader_.take(8, "frame"), true;
      case kPut:
        return put(reader_.number<uint8_t>("memo")), true;
      case kLongPut:
        return put(reader_.number<uint32_t>("memo")), true;
      case kMemoize:
        return put(static_cast<uint32_t>(memo_.size())), true;
      case kGet:
        return get(reader_.number<uint8_t>("memo")), true;
      case kLongGet:
        return get(reader_.number<uint32_t>("memo")), true;
      default:
        return false;
    }
  }

  void put(uint32_t at) {
    const uint32_t kept = pop("memo");
    stack_.push_back(kept);
    if (memo_.size() >= kMaxValues) fail(ErrorCode::data_loss, "more than {} values", kMaxValues);
    memo_[at] = kept;
  }
  void get(uint32_t at) {
    const auto found = memo_.find(at);
    if (found == memo_.end())
      fail(ErrorCode::data_loss, "before byte {}: value {} was never made", reader_.at(), at);
    push_index(found->second);
  }

  ByteReader reader_;
  std::span<const PickleName> known_;
  PickleTree tree_;
  std::vector<uint32_t> stack_;
  std::vector<size_t> marks_;          // sizes of the stack
  std::map<uint32_t, uint32_t> memo_;  // hashing would let a file choose its collisions
};

}  // namespace

std::string_view name_of(PickleKind kind) {
  static constexpr std::string_view kNames[] = {"none",
                                                "boolean",
                                                "integer",
                                                "number",
                                                "text",
                                                "tuple",
                                                "list",
                                                "dict",
                                                "name",
                                                "call",
                                                "persistent id"};
  return kNames[static_cast<size_t>(kind)];
}

PickleTree read_pickle(std::span<const std::byte> pickle, std::span<const PickleName> known) {
  if (pickle.size() > kMaxPickleBytes)
    fail(ErrorCode::data_loss, "{} bytes, the limit is {}", pickle.size(), kMaxPickleBytes);
  return PickleMachine(pickle, known).run();
}

}  // namespace quern
