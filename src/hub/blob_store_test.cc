// SPDX-License-Identifier: Apache-2.0
#include "hub/blob_store.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <optional>

#include "base/error.h"
#include "base/file.h"
#include "weights/model_path.h"

namespace quern {
namespace {

namespace fs = std::filesystem;

class BlobStoreTest : public testing::Test {
 protected:
  BlobStoreTest()
      : cache_((fs::temp_directory_path() /
                format("quern_store_{}", reinterpret_cast<uintptr_t>(this)))
                   .string()),
        store_(cache_, "org/name") {
    store_.prepare();
  }
  ~BlobStoreTest() override { fs::remove_all(cache_); }

  void write(const RepoFile& file, std::string_view text) const {
    BlobWriter writer(store_, file);
    writer.append(std::as_bytes(std::span(text)));
    writer.finish();
  }

  std::string cache_;
  BlobStore store_;
  const std::string commit_ = std::string(40, 'c');
};

TEST_F(BlobStoreTest, LinksAreThoseOfTheCacheAndLeadToTheContent) {
  const RepoFile config{"config.json", 2, std::string(40, 'a')};
  const RepoFile deep{"a/b/deep.bin", 3, std::string(64, 'b')};
  write(config, "{}");
  write(deep, "abc");
  store_.link(commit_, config);
  store_.link(commit_, deep);
  store_.link(commit_, deep);  // twice is as good as once
  store_.set_ref("main", commit_);
  store_.set_ref("refs/pr/7", commit_);
  const std::string snapshot = cache_ + "/models--org--name/snapshots/" + commit_;
  EXPECT_EQ(fs::read_symlink(snapshot + "/config.json"), "../../blobs/" + config.hash);
  EXPECT_EQ(fs::read_symlink(snapshot + "/a/b/deep.bin"), "../../../../blobs/" + deep.hash);
  EXPECT_EQ(read_file(snapshot + "/a/b/deep.bin"), "abc");
  EXPECT_EQ(read_file(cache_ + "/models--org--name/refs/refs/pr/7"), commit_);
  EXPECT_EQ(resolve_model("org/name",
                          {.hf_hub_cache = cache_,
                           .hf_home = {},
                           .xdg_cache_home = {},
                           .home = {},
                           .embedded_folders = {}})
                .path,
            snapshot);
}

TEST_F(BlobStoreTest, AFileWithoutItsEndHasNoName) {
  const RepoFile file{"m.safetensors", 6, std::string(64, 'a')};
  {
    BlobWriter writer(store_, file);
    writer.append(std::as_bytes(std::span(std::string_view("abc"))));
  }
  EXPECT_FALSE(store_.has(file));
  EXPECT_EQ(store_.resumable_bytes(file), 3);
  {
    BlobWriter writer(store_, file);
    EXPECT_EQ(writer.written_bytes(), 3);
    writer.append(std::as_bytes(std::span(std::string_view("def"))));
    writer.finish();
  }
  EXPECT_TRUE(store_.has(file));
  EXPECT_EQ(read_file(store_.blob(file)), "abcdef");
  EXPECT_FALSE(file_exists(store_.incomplete(file)));
}

TEST_F(BlobStoreTest, MoreThanTheFileHasIsThrownAway) {
  const RepoFile file{"m", 2, std::string(64, 'a')};
  {
    BlobWriter writer(store_, file);
    writer.append(std::as_bytes(std::span(std::string_view("abc"))));
  }
  EXPECT_EQ(store_.resumable_bytes(file), 0);
  EXPECT_EQ(BlobWriter(store_, file).written_bytes(), 0);
}

TEST_F(BlobStoreTest, OneAtATime) {
  std::optional<FileLock> first(store_.lock());
  EXPECT_THROW(store_.lock(), Error);
  first.reset();
  EXPECT_NO_THROW(store_.lock());
}

TEST_F(BlobStoreTest, TheDiskIsAskedBeforehand) {
  EXPECT_NO_THROW(store_.require_space(1));
  try {
    store_.require_space(int64_t{1} << 60);
    FAIL() << "an exabyte fits";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::exhausted);
  }
}

}  // namespace
}  // namespace quern
