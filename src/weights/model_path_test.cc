// SPDX-License-Identifier: Apache-2.0
#include "weights/model_path.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "weights/near_names.h"

namespace quern {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

class ModelPath : public testing::Test {
 protected:
  ModelPath()
      : root_((fs::temp_directory_path() /
               format("quern_models_{}", reinterpret_cast<uintptr_t>(this)))
                  .string()) {
    fs::create_directories(root_);
    lookup_.hf_hub_cache = root_ + "/cache";
    lookup_.embedded_folders = {root_ + "/none", root_ + "/models"};
  }
  ~ModelPath() override { fs::remove_all(root_); }

  std::string write(const std::string& relative, const std::string& content = "") const {
    const fs::path path = fs::path(root_) / relative;
    fs::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << content;
    return path.string();
  }
  std::string path(const std::string& name) const { return resolve_model(name, lookup_).path; }
  std::string error(const std::string& name) const {
    try {
      resolve_model(name, lookup_);
    } catch (const ModelNotCached& e) {
      return format("not cached: {}", e.what());
    } catch (const Error& e) {
      return format("{}: {}", name_of(e.code()), e.what());
    }
    return "no error";
  }

  std::string root_;
  ModelLookup lookup_;
};

TEST_F(ModelPath, FoldersAndFiles) {
  write("m/config.json", "{}");
  EXPECT_EQ(path(root_ + "/m"), root_ + "/m");
  EXPECT_EQ(resolve_model(root_ + "/m", lookup_).name, root_ + "/m");
  const std::string file = write("g/a.gguf");
  EXPECT_EQ(path(file), file);
  EXPECT_EQ(path(root_ + "/g"), file);
  write("g/mmproj-a.gguf");
  EXPECT_EQ(path(root_ + "/g"), file);
  write("g/b.gguf");
  EXPECT_THAT(
      error(root_ + "/g"),
      HasSubstr("invalid_argument: " + root_ + "/g: 2 GGUF models (a.gguf, b.gguf): name one"));
  write("s/x-00001-of-00002.gguf"), write("s/x-00002-of-00002.gguf");
  EXPECT_EQ(path(root_ + "/s"), root_ + "/s/x-00001-of-00002.gguf");
  fs::create_directories(root_ + "/empty");
  EXPECT_THAT(error(root_ + "/empty"),
              HasSubstr("not_found: " + root_ + "/empty: neither a config.json nor a .gguf file"));
}

TEST_F(ModelPath, PathsThatLeadNowhereNameTheirNeighbours) {
  write("g/smollm2.gguf");
  EXPECT_THAT(error(root_ + "/g/smolm2.gguf"),
              HasSubstr("smolm2.gguf: no such file or folder; did you mean smollm2.gguf?"));
  EXPECT_THAT(error(root_ + "/nowhere/x"),
              HasSubstr("not_found: " + root_ + "/nowhere/x: no such file or folder"));
  EXPECT_THAT(error("a/b/c"), HasSubstr("not_found: a/b/c: no such file or folder"));
  EXPECT_THAT(error(""), HasSubstr("invalid_argument: MODEL"));
  EXPECT_THAT(error("x.gguf"), HasSubstr("not_found: x.gguf: no such file"));
}

TEST_F(ModelPath, EmbeddedModel) {
  EXPECT_THAT(
      error("smollm2-135m"),
      HasSubstr("not cached: smollm2-135m: the embedded model is not here: looked for " + root_ +
                "/none/smollm2-135m/model.gguf, " + root_ + "/models/smollm2-135m/model.gguf"));
  const std::string file = write("models/smollm2-135m/model.gguf");
  EXPECT_EQ(path("smollm2-135m"), file);
  EXPECT_EQ(resolve_model("smollm2-135m", lookup_).name, "smollm2-135m");
  EXPECT_THAT(error("smolm-135m"), HasSubstr("not_found: smolm-135m: expected a folder"));
  EXPECT_THAT(error("whisper-tiny.en"), HasSubstr("fetch it with: ./dev setup whisper-tiny.en"));
  write("models/whisper-tiny.en/config.json", "{}");
  EXPECT_EQ(path("whisper-tiny.en"), root_ + "/models/whisper-tiny.en");
  EXPECT_EQ(resolve_model("whisper-tiny.en", lookup_).name, "whisper-tiny.en");
  EXPECT_THAT(error("whisper-tiny"), HasSubstr("did you mean whisper-tiny.en?"));
  EXPECT_THAT(error("smolm-135m"), HasSubstr("did you mean smollm2-135m?"));
  EXPECT_THAT(error("something"), Not(HasSubstr("did you mean")));
}

TEST_F(ModelPath, HubCache) {
  const std::string repository = "cache/models--Qwen--Qwen2-VL-2B-Instruct";
  EXPECT_THAT(error("Qwen/Qwen2-VL-2B-Instruct"),
              HasSubstr("not cached: Qwen/Qwen2-VL-2B-Instruct: not in " + root_ +
                        "/cache, and nothing is downloaded by itself; fetch it "
                        "with: quern pull Qwen/Qwen2-VL-2B-Instruct"));
  write(repository + "/refs/main", "abc123\n"), write(repository + "/refs/refs/pr/1", "def456");
  EXPECT_THAT(error("Qwen/Qwen2-VL-2B-Instruct"),
              HasSubstr("not cached: Qwen/Qwen2-VL-2B-Instruct: revision main is not in"));
  write(repository + "/snapshots/abc123/config.json", "{}"),
      write(repository + "/snapshots/def456/config.json", "{}");
  const std::string snapshots = root_ + "/" + repository + "/snapshots/";
  EXPECT_EQ(path("Qwen/Qwen2-VL-2B-Instruct"), snapshots + "abc123");
  EXPECT_EQ(path("Qwen/Qwen2-VL-2B-Instruct@refs/pr/1"), snapshots + "def456");
  EXPECT_EQ(path("Qwen/Qwen2-VL-2B-Instruct@def456"), snapshots + "def456");
  EXPECT_EQ(resolve_model("Qwen/Qwen2-VL-2B-Instruct@def456", lookup_).name,
            "Qwen/Qwen2-VL-2B-Instruct");
  EXPECT_THAT(error("Qwen/Qwen2-VL-2B-Instruct@v9"),
              HasSubstr("quern pull Qwen/Qwen2-VL-2B-Instruct@v9"));
  EXPECT_THAT(error("Qwen/Qwen2-VL-2B-Instrct"),
              HasSubstr("did you mean Qwen/Qwen2-VL-2B-Instruct?"));
}

TEST_F(ModelPath, HubCacheOfGgufAndUnfinishedDownloads) {
  write("cache/models--o--g/refs/main", "c"), write("cache/models--o--g/snapshots/c/m.gguf");
  EXPECT_EQ(path("o/g"), root_ + "/cache/models--o--g/snapshots/c/m.gguf");
  write("cache/models--o--part/refs/main", "c"),
      write("cache/models--o--part/snapshots/c/README.md");
  EXPECT_THAT(error("o/part"),
              HasSubstr("not cached: o/part: neither a config.json nor a .gguf file in"));
  write("cache/models--gpt2/refs/main", "c"),
      write("cache/models--gpt2/snapshots/c/config.json", "{}");
  EXPECT_EQ(path("gpt2"), root_ + "/cache/models--gpt2/snapshots/c");
}

TEST_F(ModelPath, NamesFromOutsideStayInTheCache) {
  write("cache/models--o--m/refs/main", "../../../m"), write("m/config.json", "{}");
  EXPECT_THAT(error("o/m"), HasSubstr("data_loss"));
  EXPECT_THAT(error("o/m@../../x"),
              HasSubstr("invalid_argument: o/m@../../x: expected a branch, a tag or a commit"));
  EXPECT_THAT(error("o/m@/etc"), HasSubstr("invalid_argument"));
  EXPECT_THAT(error("../m"), HasSubstr("not_found"));
  EXPECT_THAT(error("o/.."), HasSubstr("not_found"));
}

TEST_F(ModelPath, AFolderThatSpeaksLeadsToItsLanguageModel) {
  write("cache/models--zai-org--GLM-TTS/refs/main", "abc");
  const std::string folder = "cache/models--zai-org--GLM-TTS/snapshots/abc";
  write(folder + "/llm/config.json", "{}");
  EXPECT_THAT(error("zai-org/GLM-TTS"), HasSubstr("not cached"));  // a language model alone
  write(folder + "/vq32k-phoneme-tokenizer/tokenizer.model");
  const ResolvedModel model = resolve_model("zai-org/GLM-TTS", lookup_);
  EXPECT_EQ(model.path, root_ + "/" + folder + "/llm");
  EXPECT_EQ(model.speech_folder, root_ + "/" + folder);
  EXPECT_EQ(model.tokenizer_path(), root_ + "/" + folder + "/vq32k-phoneme-tokenizer");
  EXPECT_EQ(model.name, "zai-org/GLM-TTS");
  EXPECT_EQ(path(root_ + "/" + folder), model.path);
}

TEST(HubCacheFolder, FollowsTheOrderOfTheVariables) {
  EXPECT_EQ(hub_cache_folder({}), "");
  EXPECT_EQ(hub_cache_folder({.hf_hub_cache = "",
                              .hf_home = "",
                              .xdg_cache_home = "",
                              .home = "/h",
                              .embedded_folders = {}}),
            "/h/.cache/huggingface/hub");
  ModelLookup all{.hf_hub_cache = "/a",
                  .hf_home = "/b",
                  .xdg_cache_home = "/c",
                  .home = "/h",
                  .embedded_folders = {}};
  EXPECT_EQ(hub_cache_folder(all), "/a");
  all.hf_hub_cache.clear();
  EXPECT_EQ(hub_cache_folder(all), "/b/hub");
  all.hf_home.clear();
  EXPECT_EQ(hub_cache_folder(all), "/c/huggingface/hub");
}

TEST(NearNames, NearestFirstWithinAThird) {
  EXPECT_THAT(near_names("qwen2", {"llama", "qwen3", "Qwen2", "qwen25"}),
              ElementsAre("Qwen2", "qwen25", "qwen3"));
  EXPECT_THAT(near_names("", {"abc"}), IsEmpty());
  EXPECT_THAT(near_names(std::string(1000, 'a'), {std::string(1000, 'a')}), IsEmpty());
}

}  // namespace
}  // namespace quern
