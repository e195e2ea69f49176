// SPDX-License-Identifier: Apache-2.0
#include "weights/packed_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <numeric>

#include "base/error.h"

namespace quern {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

constexpr Hash128 kKey{1, 2};

// Values 0, 1, 2, … modulo 251.
Tensor counting(const Shape& shape, DType dtype) {
  Tensor t = Tensor::empty(shape, dtype);
  for (int64_t i = 0; i < t.bytes(); ++i) t.raw()[i] = static_cast<std::byte>(i % 251);
  return t;
}

bool same_bytes(const Tensor& a, const Tensor& b) {
  return a.dtype() == b.dtype() && a.shape() == b.shape() &&
         std::equal(a.raw(), a.raw() + a.bytes(), b.raw());
}

class PackedStoreTest : public testing::Test {
 protected:
  PackedStoreTest() {
    fs::remove_all(folder_);
    QuantMatrix plain;
    plain.codes = Tensor::empty({3, 5}, DType::bf16);
    plain.code_bits = 16;
    QuantMatrix codes;
    codes.codes = Tensor::empty({4, 64}, DType::u8, Device::meta());
    codes.coding = Coding::table;
    codes.code_bits = 4;
    codes.table.resize(16);
    std::iota(codes.table.begin(), codes.table.end(), -3.5f);
    codes.block_cols = 32;
    codes.scales = Tensor::empty({4, 2}, DType::f16);
    codes.column_order.resize(64);
    std::iota(codes.column_order.rbegin(), codes.column_order.rend(), 0);
    entries_.push_back({.name = "a", .pieces = {}, .squared_change = 0.5, .squared_weight = 7});
    entries_[0].pieces.push_back({{on_meta(plain)}, {counting({3, 5}, DType::bf16)}});
    entries_.push_back({.name = "b", .pieces = {}});
    const Tensor large = counting({3, 3 << 20}, DType::u8);  // several chunks
    entries_[1].pieces.push_back(
        {{on_meta(codes), on_meta(codes)}, {large, counting({1}, DType::u8)}});
    entries_[1].pieces.push_back({{on_meta(codes)}, {counting({0, 7}, DType::f32)}});
  }
  ~PackedStoreTest() override { fs::remove_all(folder_); }

  void flip(int64_t at) const {
    std::fstream file(store_.path_of(kKey), std::ios::in | std::ios::out | std::ios::binary);
    if (at < 0) at += static_cast<int64_t>(fs::file_size(store_.path_of(kKey)));
    file.seekg(at);
    const auto byte = static_cast<char>(file.get() ^ 16);
    file.seekp(at);
    file.put(byte);
  }
  std::string warning_of_open() {
    testing::internal::CaptureStderr();
    EXPECT_EQ(store_.open(kKey, pool_), nullptr);
    return testing::internal::GetCapturedStderr();
  }
  int files() const {
    return static_cast<int>(
        std::distance(fs::directory_iterator(folder_), fs::directory_iterator()));
  }

  std::string folder_ =
      (fs::temp_directory_path() / format("quern_packed_{}", getpid()) / "below").string();
  PackedStore store_{folder_, 1 << 30};
  ThreadPool pool_{3};
  std::vector<PackedEntry> entries_;
};

TEST_F(PackedStoreTest, GivesBackWhatWasWritten) {
  EXPECT_EQ(store_.open(kKey, pool_), nullptr);
  const int64_t bytes = store_.write(kKey, entries_, pool_);
  EXPECT_EQ(bytes, static_cast<int64_t>(fs::file_size(store_.path_of(kKey))));
  EXPECT_EQ(files(), 1);
  std::unique_ptr<PackedFile> file = store_.open(kKey, pool_);
  ASSERT_NE(file, nullptr);
  EXPECT_EQ(file->bytes(), bytes);
  EXPECT_FALSE(file->find("c"));
  const PackedEntry a = file->find("a").value(), b = file->find("b").value();
  file.reset();  // tensors keep the mapping
  EXPECT_EQ(a.squared_change, 0.5);
  EXPECT_EQ(a.squared_weight, 7);
  EXPECT_TRUE(same_bytes(a.pieces.at(0).tensors.at(0), entries_[0].pieces[0].tensors[0]));
  EXPECT_EQ(a.pieces[0].parts.at(0).codes.dtype(), DType::bf16);
  ASSERT_EQ(b.pieces.size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    const PackedPiece &was = entries_[1].pieces[i], &is = b.pieces[i];
    ASSERT_EQ(is.tensors.size(), was.tensors.size());
    for (size_t t = 0; t < is.tensors.size(); ++t) {
      EXPECT_TRUE(same_bytes(is.tensors[t], was.tensors[t]));
      EXPECT_EQ(reinterpret_cast<uintptr_t>(is.tensors[t].raw()) % 64, 0u);
    }
    ASSERT_EQ(is.parts.size(), was.parts.size());
    for (size_t p = 0; p < is.parts.size(); ++p) {
      EXPECT_EQ(is.parts[p].column_order, was.parts[p].column_order);
      EXPECT_EQ(is.parts[p].table, was.parts[p].table);
      EXPECT_EQ(is.parts[p].scales.shape(), was.parts[p].scales.shape());
      EXPECT_FALSE(is.parts[p].zeros.defined());
    }
  }
}

TEST_F(PackedStoreTest, RemovesWhatWasDamaged) {
  for (const int64_t at : {0, 8, 16, 30, 50, 60, 64, 5'000'000, -1, -200}) {
    store_.write(kKey, entries_, pool_);
    flip(at);
    EXPECT_THAT(warning_of_open(), HasSubstr("not what was written")) << at;
    EXPECT_FALSE(fs::exists(store_.path_of(kKey)));
  }
  for (const uintmax_t size : {0, 10, 64, 5'000'000}) {
    store_.write(kKey, entries_, pool_);
    fs::resize_file(store_.path_of(kKey), size);
    EXPECT_THAT(warning_of_open(), HasSubstr("removed"));
    EXPECT_EQ(files(), 0);
  }
}

TEST_F(PackedStoreTest, IsMadeForOneKey) {
  store_.write(kKey, entries_, pool_);
  EXPECT_EQ(store_.open({1, 3}, pool_), nullptr);
  fs::rename(store_.path_of(kKey), store_.path_of({1, 3}));
  EXPECT_EQ(store_.open({1, 3}, pool_), nullptr);
  EXPECT_EQ(files(), 0);
}

TEST_F(PackedStoreTest, ForgetsTheLeastRecentlyUsed) {
  const int64_t bytes = store_.write(kKey, entries_, pool_);
  const PackedStore small(folder_, 2 * bytes + bytes / 2);
  small.write({2, 2}, entries_, pool_);
  const auto past = fs::file_time_type::clock::now() - std::chrono::hours(2);
  fs::last_write_time(small.path_of(kKey), past);
  fs::last_write_time(small.path_of({2, 2}), past + std::chrono::hours(1));
  EXPECT_NE(small.open(kKey, pool_), nullptr);  // now the most recent
  small.write({3, 3}, entries_, pool_);
  EXPECT_TRUE(fs::exists(small.path_of(kKey)));
  EXPECT_FALSE(fs::exists(small.path_of({2, 2})));
  EXPECT_TRUE(fs::exists(small.path_of({3, 3})));
  const PackedStore tiny(folder_, bytes - 1);
  EXPECT_THROW(tiny.write({4, 4}, entries_, pool_), Error);
  EXPECT_EQ(files(), 2);  // nothing was removed in vain
}

TEST_F(PackedStoreTest, ReplacesAFileUnderItsReaders) {
  store_.write(kKey, entries_, pool_);
  const std::unique_ptr<PackedFile> before = store_.open(kKey, pool_);
  const std::vector<PackedEntry> other(entries_.begin(), entries_.begin() + 1);
  store_.write(kKey, other, pool_);
  EXPECT_FALSE(store_.open(kKey, pool_)->find("b"));
  EXPECT_TRUE(
      same_bytes(before->find("b")->pieces[0].tensors[0], entries_[1].pieces[0].tensors[0]));
}

TEST_F(PackedStoreTest, RemovesWhatOthersLeftUnfinished) {
  fs::create_directories(folder_);
  const fs::path left = store_.path_of(kKey) + ".abc123.unfinished";
  std::ofstream(left) << "half";
  store_.write(kKey, entries_, pool_);
  EXPECT_TRUE(fs::exists(left));  // its writer may be about to lock it
  fs::last_write_time(left, fs::file_time_type::clock::now() - std::chrono::hours(1));
  store_.write(kKey, entries_, pool_);
  EXPECT_EQ(files(), 1);
}

TEST_F(PackedStoreTest, SaysWhyItCannotWrite) {
  fs::create_directories(fs::path(folder_).parent_path());
  std::ofstream(folder_) << "a file where a folder should be";
  EXPECT_EQ(store_.open(kKey, pool_), nullptr);
  EXPECT_THROW(store_.write(kKey, entries_, pool_), Error);
}

TEST(PackedIdentity, ChangesWithTheFiles) {
  const fs::path folder = fs::temp_directory_path() / format("quern_identity_{}", getpid());
  fs::create_directories(folder);
  const auto write = [&](const char* name, const char* text) {
    std::ofstream(folder / name) << text;
  };
  write("config.json", "{}");
  const auto identity = [&](std::vector<TensorInfo> tensors) {
    const auto checkpoint =
        shapes_only_checkpoint(Config::parse("{}", "config.json"), std::move(tensors));
    return identity_of(*checkpoint, folder.string());
  };
  const TensorInfo tensor{
      .name = "a.weight", .stored = Stored::bf16, .shape = {2, 3}, .row_order = {}};
  const Hash128 first = identity({tensor});
  EXPECT_EQ(identity({tensor}), first);
  write("notes.txt", "nothing to do with weights");
  EXPECT_EQ(identity({tensor}), first);
  EXPECT_NE(identity({}), first);
  fs::last_write_time(folder / "config.json",
                      fs::file_time_type::clock::now() + std::chrono::hours(1));
  EXPECT_NE(identity({tensor}), first);
  const Hash128 second = identity({tensor});
  write("model.safetensors", "x");
  EXPECT_NE(identity({tensor}), second);
  fs::remove_all(folder);
}

}  // namespace
}  // namespace quern
