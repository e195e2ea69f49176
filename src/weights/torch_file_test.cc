// SPDX-License-Identifier: Apache-2.0
#include "weights/torch_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "base/error_of.h"
#include "base/file.h"
#include "weights/zip_bytes.h"

namespace quern {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string floats(int count) {
  std::string out;
  for (int i = 0; i < count; ++i) {
    const auto value = static_cast<float>(i);
    out.append(reinterpret_cast<const char*>(&value), sizeof(value));
  }
  return out;
}

// The operations of a pickle, as torch.save writes them.
std::string text(const std::string& t) {
  return "X" + ZipBytes::number(t.size(), 4) + t;
}
std::string name(const std::string& module, const std::string& word) {
  return "c" + module + "\n" + word + "\n";
}
std::string integer(int64_t value) {
  return "J" + ZipBytes::number(static_cast<uint64_t>(value), 4);
}
std::string tuple(const std::vector<int64_t>& values) {
  std::string out = "(";
  for (const int64_t value : values) out += integer(value);
  return out + "t";
}

struct View {
  std::vector<int64_t> sizes, strides;
  int64_t offset = 0, elements = 12;  // of the storage
  std::string key = "0", storage = "FloatStorage";
};
std::string tensor(const View& v) {
  return name("torch._utils", "_rebuild_tensor_v2") + "((" + text("storage") +
         name("torch", v.storage) + text(v.key) + text("cpu") + integer(v.elements) + "tQ" +
         integer(v.offset) + tuple(v.sizes) + tuple(v.strides) + "\x89" +
         name("collections", "OrderedDict") + ")RtR";
}

class TorchFile : public testing::Test {
 protected:
  ~TorchFile() override { std::filesystem::remove(path_); }

  std::unique_ptr<Checkpoint> open_bytes(const std::string& bytes) const {
    std::ofstream(path_, std::ios::binary) << bytes;
    return open_checkpoint(path_);
  }
  static std::string archive(const std::string& pickle) {
    ZipBytes b;
    b.store("m/data.pkl", "\x80\x02" + pickle + ".").store("m/byteorder", "little");
    return b.store("m/data/0", floats(12)).store("m/data/1", std::string(8, '\1')).file();
  }
  std::unique_ptr<Checkpoint> open(const std::string& pickle) const {
    return open_bytes(archive(pickle));
  }
  std::string error(const std::string& pickle) const {
    return error_of([&] { open(pickle); });
  }
  static std::vector<float> values(const Checkpoint& checkpoint, const std::string& name) {
    const Tensor t = read_f32(checkpoint, name);
    return {t.data<float>(), t.data<float>() + t.numel()};
  }

  std::string path_ = testing::TempDir() + "quern_torch_file.pt";
};

TEST_F(TorchFile, ViewsOfOneStorage) {
  const auto c =
      open("}(" + text("whole") + tensor({{3, 4}, {4, 1}}) + text("turned") +
           tensor({{4, 2}, {1, 4}, 4}) + text("one") + tensor({{}, {}, 7}) + text("none") +
           tensor({{0, 5}, {5, 1}, 12}) + text("every") + tensor({{2, 1, 2}, {6, 99, 3}, 1}) + "u");
  EXPECT_THAT(c->names(), ElementsAre("every", "none", "one", "turned", "whole"));
  EXPECT_THAT(values(*c, "whole"), ElementsAre(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11));
  EXPECT_THAT(values(*c, "turned"), ElementsAre(4, 8, 5, 9, 6, 10, 7, 11));
  EXPECT_THAT(values(*c, "every"), ElementsAre(1, 4, 7, 10));
  EXPECT_THAT(values(*c, "one"), ElementsAre(7));
  EXPECT_EQ(c->info("one").shape.rank(), 0);
  EXPECT_EQ(c->info("none").shape, (Shape{0, 5}));
  EXPECT_EQ(c->bytes("none").size(), 0u);
  EXPECT_EQ(c->total_bytes(), 4 * (12 + 8 + 4 + 1));
  EXPECT_EQ(c->bytes("turned").data(), c->bytes("turned").data());  // copied once
}

TEST_F(TorchFile, NamesOfWhatLiesDeeper) {
  const std::string one = tensor({{2}, {1}});
  EXPECT_THAT(open("}(" + text("a") + "}" + text("b") + one + "s" + text("epoch") + "K\5" +
                   text("list") + "](" + one + one + "e" + text("none") + "Nu")
                  ->names(),
              ElementsAre("a.b", "list.0", "list.1"));
  // What stands beside a "model" is no part of it.
  EXPECT_THAT(open("}(" + text("model") + "}" + text("w") + one + "s" + text("optimizer") + "}" +
                   text("w2") + one + "su")
                  ->names(),
              ElementsAre("w"));
  EXPECT_THAT(open("}(" + text("model") + one + text("w") + one + "u")->names(),
              ElementsAre("model", "w"));
  // An OrderedDict with attributes; a parameter.
  EXPECT_THAT(open(name("collections", "OrderedDict") + ")R(" + text("w") +
                   name("torch._utils", "_rebuild_parameter") + "(" + one + "\x88" +
                   name("collections", "OrderedDict") + ")RtRu}" + text("_metadata") + "}sb")
                  ->names(),
              ElementsAre("w"));
}

TEST_F(TorchFile, MemoAndLaterProtocols) {
  const std::string short_text = "\x8c\1w";
  EXPECT_THAT(open("}q\5" + short_text + "\x94" + tensor({{2}, {1}}) + "r" +
                   ZipBytes::number(70000, 4) + "s")
                  ->names(),
              ElementsAre("w"));
  EXPECT_THAT(
      open("}(" + text("w") + "q\1" + tensor({{2}, {1}}) + "q\2" + text("v") + "h\2u")->names(),
      ElementsAre("v", "w"));
  EXPECT_THAT(error("}(" + text("w") + "h\7u"), HasSubstr("data_loss"));
}

TEST_F(TorchFile, NothingIsRunAndUnknownNamesAreRefused) {
  EXPECT_THAT(error(name("os", "system") + "(" + text("true") + "tR"),
              AllOf(StartsWith("unsupported"), HasSubstr("\"os.system\""), HasSubstr("was run")));
  EXPECT_THAT(error(text("builtins") + text("eval") + "\x93(" + text("1") + "tR"),
              HasSubstr("\"builtins.eval\""));
  EXPECT_THAT(error(name("torch", "FloatStorage\x1b[2J") + ")R"), HasSubstr("unsupported"));
  EXPECT_THAT(error("i"), HasSubstr("unsupported: "));  // INST
  EXPECT_THAT(error("c" + std::string(5000, 'x')), HasSubstr("data_loss"));
}

TEST_F(TorchFile, TensorsThatReachBeyondTheirStorage) {
  const auto of = [&](const View& view) { return error("}" + text("w") + tensor(view) + "s"); };
  EXPECT_EQ(of({{3, 4}, {4, 1}}), "nothing was thrown");
  EXPECT_THAT(of({{3, 4}, {4, 1}, 1}),
              HasSubstr("tensor w: [3, 4] by strides [4, 1] from element 1"));
  EXPECT_THAT(of({{3}, {6}}), HasSubstr("reaches beyond a storage of 12 elements"));
  EXPECT_THAT(of({{2}, {1}, -1}), HasSubstr("data_loss"));
  EXPECT_THAT(of({{2}, {-1}, 3}), HasSubstr("data_loss"));
  EXPECT_THAT(of({{2, 2}, {1}}), HasSubstr("2 sizes and 1 strides"));
  EXPECT_THAT(of({{1 << 30, 1 << 30}, {0, 0}}), HasSubstr("data_loss"));
  EXPECT_THAT(of({{1 << 20}, {0}}), HasSubstr("more elements than its storage holds"));
  EXPECT_THAT(of({{2, 2, 2, 2, 2, 2, 2}, {1, 1, 1, 1, 1, 1, 1}}), HasSubstr("unsupported"));
  EXPECT_THAT(of({{3}, {1}, 0, 13}),
              HasSubstr("13 f32 elements take 52 bytes, the archive holds 48"));
  EXPECT_THAT(of({{3}, {1}, 0, 1 << 30}), HasSubstr("data_loss"));
  EXPECT_THAT(of({{3}, {1}, 0, 12, "../m/data/0"}), HasSubstr("is missing in the archive"));
  EXPECT_THAT(of({{3}, {1}, 0, 12, "0", "ComplexFloatStorage"}), HasSubstr("ComplexFloatStorage"));
}

TEST_F(TorchFile, ValuesThatContainThemselvesEnd) {
  EXPECT_THAT(error("}q\1" + text("w") + "h\1s"), HasSubstr("more than 16 deep"));
  EXPECT_THAT(error("]q\1h\1a"), HasSubstr("expected a dict of tensors"));
  // Each of 16 dicts holds the one before eight times.
  std::string deep = "}q\1";
  for (char level = 1; level <= 14; ++level) {
    deep += "}(";
    for (char key = 0; key < 8; ++key)
      deep += text(std::string(1, static_cast<char>('a' + key))) + "h" + level;
    deep += std::string("uq") + static_cast<char>(level + 1);
  }
  EXPECT_THAT(error(deep), HasSubstr("data_loss"));
  std::string marks(3'000'000, '(');
  EXPECT_THAT(error(marks), HasSubstr("data_loss"));
  EXPECT_THAT(error(std::string(3'000'000, '}')), HasSubstr("more than 2097152 values"));
  std::string nested;
  for (int i = 0; i < 1000; ++i) nested += "}" + text("k");
  EXPECT_THAT(error(nested + "N" + std::string(1000, 's')), HasSubstr("more than 16 deep"));
}

TEST_F(TorchFile, EveryTruncationIsRefused) {
  const std::string bytes = archive("}" + text("w") + tensor({{3, 4}, {4, 1}}) + "s");
  for (size_t size = 0; size < bytes.size(); size += 7)
    EXPECT_THAT(error_of([&] { open_bytes(bytes.substr(0, size)); }), HasSubstr(path_)) << size;
  const std::string pickle = "}" + text("w") + tensor({{3, 4}, {4, 1}});
  for (size_t size = 2; size < pickle.size(); ++size)  // one operation makes an empty dict
    EXPECT_THAT(error(pickle.substr(0, size)), HasSubstr(path_)) << size;
}

TEST_F(TorchFile, OtherContainersAreNamed) {
  EXPECT_THAT(error_of([&] { open_bytes("\x80\x02\x8a\x0a and an older file"); }),
              HasSubstr("unsupported: " + path_ + ": no zip archive"));
  EXPECT_THAT(error_of([&] { open_bytes(ZipBytes().store("readme", "x").file()); }),
              HasSubstr("without data.pkl"));
  ZipBytes big;
  big.store("m/data.pkl", "\x80\x02}.").store("m/byteorder", "big");
  EXPECT_THAT(error_of([&] { open_bytes(big.file()); }), HasSubstr("byte order big"));
}

// What torch itself wrote.
TEST(TorchFileGolden, EveryTensorOfTheReference) {
  const std::string folder = std::string(QUERN_SOURCE_DIR) + "/tests/golden/glm_tts_pt/";
  const auto expected = open_checkpoint(folder + "expected.safetensors");
  size_t compared = 0;
  for (const std::string run : {"flow", "hift"}) {
    const auto got = open_torch_file(folder + run + ".pt");
    for (const std::string& name : got->names()) {
      const TensorInfo& info = expected->info(run + "." + name);
      EXPECT_EQ(got->info(name).stored, info.stored) << name;
      EXPECT_EQ(got->info(name).shape, info.shape) << name;
      const auto a = got->bytes(name), b = expected->bytes(info.name);
      ASSERT_EQ(a.size(), b.size()) << name;
      EXPECT_EQ(std::memcmp(a.data(), b.data(), a.size()), 0) << name;
      ++compared;
    }
  }
  EXPECT_EQ(compared, expected->names().size());
}

}  // namespace
}  // namespace quern
