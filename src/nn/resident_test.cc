// SPDX-License-Identifier: Apache-2.0
// A model in memory is not held twice: what was packed does not stay mapped in.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <numeric>
#include <sstream>

#include "nn/builder.h"
#include "nn/owned_ctx.h"
#include "nn/test_checkpoint.h"

namespace quern {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kRows = 2048, kCols = 1024;
constexpr int64_t kMatrixBytes = kRows * kCols * 4;

// Two matrices and a bias, w[n, k] = n + k / 1024.
class ResidentPages : public testing::Test {
 protected:
  ResidentPages() : folder_(fs::temp_directory_path() / format("quern_resident_{}", getpid())) {
    fs::create_directories(folder_);
    std::ofstream(folder_ / "config.json") << "{}";
    std::string header = "{";
    const auto add = [&](const char* name, const char* shape, int64_t begin, int64_t bytes) {
      header += format(R"({}"{}":{{"dtype":"F32","shape":[{}],"data_offsets":[{},{}]}})",
                       header.size() > 1 ? "," : "",
                       name,
                       shape,
                       begin,
                       begin + bytes);
    };
    add("a.weight", "2048,1024", 0, kMatrixBytes);
    add("b.weight", "2048,1024", kMatrixBytes, kMatrixBytes);
    add("b.bias", "2048", 2 * kMatrixBytes, kRows * 4);
    header += "}";
    header.resize((header.size() + 7) / 8 * 8, ' ');
    std::ofstream file(weights(), std::ios::binary);
    const uint64_t length = header.size();
    file.write(reinterpret_cast<const char*>(&length), 8);
    file << header;
    for (int matrix = 0; matrix < 2; ++matrix) write_matrix(file);
    const std::vector<float> bias(kRows, 0.5f);
    file.write(reinterpret_cast<const char*>(bias.data()), kRows * 4);
  }
  ~ResidentPages() override { fs::remove_all(folder_); }

  fs::path weights() const { return folder_ / "model.safetensors"; }

  // Of the mapping of the weights in this process's memory.
  int64_t resident_bytes() const {
    std::ifstream maps("/proc/self/smaps");
    int64_t sum = 0;
    bool is_inside = false;
    for (std::string line; std::getline(maps, line);) {
      if (line.find("model.safetensors") != std::string::npos) is_inside = true;
      if (!is_inside || !line.starts_with("Rss:")) continue;
      sum += std::stoll(line.substr(4)) * 1024;
      is_inside = false;
    }
    return sum;
  }

  fs::path folder_;
  OwnedCtx ctx_{{.threads = 3, .isa = Isa::scalar}};

 private:
  static void write_matrix(std::ofstream& file) {
    std::vector<float> row(kCols);
    for (int64_t n = 0; n < kRows; ++n) {
      for (size_t k = 0; k < row.size(); ++k)
        row[k] = static_cast<float>(n) + static_cast<float>(k) / 1024;
      file.write(reinterpret_cast<const char*>(row.data()), kCols * 4);
    }
  }
};

TEST_F(ResidentPages, AreGivenBackOnceAMatrixIsPacked) {
  const std::shared_ptr<const Checkpoint> checkpoint = open_checkpoint(folder_.string());
  const auto bytes = checkpoint->bytes("a.weight");
  EXPECT_EQ(std::accumulate(bytes.begin(),
                            bytes.end(),
                            0,
                            [](int all, std::byte b) { return all | std::to_integer<int>(b); }),
            0xff);
  ASSERT_GE(resident_bytes(), kMatrixBytes);  // touched, therefore here
  const Builder b(checkpoint, ctx_.ctx());
  const Linear y = b.whole({"a", "b"}, kRows, kCols);
  EXPECT_LE(resident_bytes(), 256 << 10);
}

TEST_F(ResidentPages, ComeBackWhereTheyAreBorrowed) {
  const std::shared_ptr<const Checkpoint> checkpoint = open_checkpoint(folder_.string());
  const Builder b(checkpoint, ctx_.ctx());
  const Table table = b.table("a", Cut::whole(kRows), kCols);
  const Linear head = b.whole({"a"}, kRows, kCols);  // tied to the table
  EXPECT_LE(resident_bytes(), 256 << 10);
  EXPECT_EQ(table.row(1500).data<float>()[512], 1500.5f);
  EXPECT_EQ(table.floats().data<float>()[1500 * kCols + 512], 1500.5f);
  EXPECT_LE(resident_bytes(), 512 << 10);
}

TEST_F(ResidentPages, BandsOnSeveralThreadsEqualTheWhole) {
  const std::shared_ptr<const Checkpoint> checkpoint = open_checkpoint(folder_.string());
  const Linear y = Builder(checkpoint, ctx_.ctx()).whole({"b"}, kRows, kCols, Bias::present);
  Tensor x = Tensor::zeros({1, kCols}, DType::f32);
  x.data<float>()[256] = 1;
  const Tensor out = y(ctx_.ctx(), x);
  for (int64_t n = 0; n < kRows; ++n)
    ASSERT_EQ(out.data<float>()[n], static_cast<float>(n) + 0.75f) << n;
}

// Twelve million elements: packed in pieces, because the checkpoint is nothing else.
TEST_F(ResidentPages, PiecesOfALargeMatrixEqualTheWhole) {
  constexpr int64_t kLargeRows = 12 * 1024 + 40;
  std::vector<uint16_t> values(kLargeRows * kCols, 0);
  for (int64_t n = 0; n < kLargeRows; ++n)
    values[static_cast<size_t>(n * kCols + n % kCols)] =
        float_to_bf16(static_cast<float>(1 + n % 251));
  std::vector<std::byte> bytes(values.size() * 2);
  std::memcpy(bytes.data(), values.data(), bytes.size());
  const auto checkpoint = std::make_shared<TestCheckpoint>();
  checkpoint->add("large.weight", Stored::bf16, {kLargeRows, kCols}, std::move(bytes));
  const Linear y = Builder(checkpoint, ctx_.ctx()).whole({"large"}, kLargeRows, kCols);
  EXPECT_EQ(y.weight()->rows(), kLargeRows);
  const Tensor ones = Tensor::from(std::vector<float>(kCols, 1.0f), {1, kCols});
  const Tensor out = y(ctx_.ctx(), ones);
  for (int64_t n = 0; n < kLargeRows; ++n)
    ASSERT_EQ(out.data<float>()[n], static_cast<float>(1 + n % 251)) << n;
}

}  // namespace
}  // namespace quern
