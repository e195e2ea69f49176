// SPDX-License-Identifier: Apache-2.0
#include "hub/cached_models.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "base/file.h"
#include "hub/blob_store.h"

namespace quern {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;

const std::string kOld(40, '1'), kNew = "2" + std::string(39, '1');
const std::string kConfig(40, 'a'), kWeights(64, 'b'), kOtherWeights(64, 'c');

class CachedModels : public testing::Test {
 protected:
  CachedModels()
      : cache_((fs::temp_directory_path() /
                format("quern_cached_{}", reinterpret_cast<uintptr_t>(this)))
                   .string()),
        store_(cache_, "org/name") {
    store_.prepare();
    add(kOld,
        {"config.json", 0, kConfig},
        R"({"architectures": ["LlamaForCausalLM"], "dtype": "bfloat16"})");
    add(kOld, {"model.safetensors", 0, kWeights}, "0123456789");
    add(kNew, {"config.json", 0, kConfig}, "");
    add(kNew, {"model.safetensors", 0, kOtherWeights}, "01234");
    store_.set_ref("main", kNew);
    store_.set_ref("v1", kOld);
  }
  ~CachedModels() override { fs::remove_all(cache_); }

  void add(const std::string& commit, const RepoFile& file, const std::string& text) const {
    if (!text.empty()) std::ofstream(store_.blob(file), std::ios::binary) << text;
    store_.link(commit, file);
  }
  CachedModel model() const { return cached_model_of(cache_, "org/name"); }
  bool has_blob(const std::string& hash) const {
    return file_exists(store_.folder() + "/blobs/" + hash);
  }

  std::string cache_;
  BlobStore store_;
};

TEST_F(CachedModels, AreDescribed) {
  std::ofstream(store_.folder() + "/blobs/" + std::string(64, 'd') + ".incomplete") << "1234";
  const CachedModel m = model();
  ASSERT_EQ(m.revisions.size(), 2u);
  EXPECT_EQ(m.unfinished_bytes, 4);
  const CachedRevision& old = revision_of(m, "v1");
  EXPECT_EQ(old.commit, kOld);
  EXPECT_EQ(old.architecture, "LlamaForCausalLM");
  EXPECT_EQ(old.format, "safetensors bfloat16");
  EXPECT_EQ(m.size_bytes, old.size_bytes + 5 + 4);
  EXPECT_EQ(revision_of(m, kNew.substr(0, 6)).commit, kNew);
  EXPECT_THROW(revision_of(m, "v2"), Error);
  EXPECT_EQ(cached_models(cache_).size(), 1u);
}

TEST_F(CachedModels, SharedContentStaysUntilTheLastRevisionGoes) {
  const CachedModel before = model();
  const Removal removal = plan_removal(before, {kOld});
  EXPECT_EQ(removal.freed_bytes, 10);
  EXPECT_GT(removal.kept_bytes, 0);
  remove_revisions(cache_, before, removal);
  EXPECT_TRUE(has_blob(kConfig));
  EXPECT_FALSE(has_blob(kWeights));
  EXPECT_TRUE(has_blob(kOtherWeights));
  const CachedModel after = model();
  ASSERT_EQ(after.revisions.size(), 1u);
  EXPECT_THAT(after.revisions[0].refs, ElementsAre("main"));
  remove_revisions(cache_, after, plan_removal(after, {kNew}));
  EXPECT_FALSE(is_directory(store_.folder()));
  EXPECT_TRUE(cached_models(cache_).empty());
}

TEST_F(CachedModels, AreNotRemovedUnderAPull) {
  const CachedModel m = model();
  const FileLock pull = store_.lock();
  EXPECT_THROW(remove_revisions(cache_, m, plan_removal(m, {kOld})), Error);
  EXPECT_TRUE(has_blob(kWeights));
}

TEST_F(CachedModels, DamageIsShownAndEndsNothing) {
  std::ofstream(store_.folder() + "/blobs/" + kConfig) << "{";
  fs::remove(store_.folder() + "/blobs/" + kWeights);
  std::ofstream(store_.folder() + "/refs/bad") << "../../..";
  const CachedModel m = model();
  EXPECT_EQ(revision_of(m, "v1").format, "no weights, unreadable");
  EXPECT_EQ(revision_of(m, "v1").files[1].size_bytes, -1);
}

TEST_F(CachedModels, NearMissesAreNamed) {
  try {
    cached_model_of(cache_, "org/nam");
    FAIL();
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), ::testing::HasSubstr("did you mean org/name?"));
  }
}

}  // namespace
}  // namespace quern
