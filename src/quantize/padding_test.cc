// SPDX-License-Identifier: Apache-2.0
#include "quantize/padding.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "quantize/repair.h"

namespace quern {
namespace {

std::vector<std::byte> gathered(FunctionRef<void(ByteSink)> write) {
  std::vector<std::byte> out;
  write(
      [&](std::span<const std::byte> bytes) { out.insert(out.end(), bytes.begin(), bytes.end()); });
  return out;
}

std::vector<int> numbers(const std::vector<std::byte>& bytes) {
  std::vector<int> out;
  for (const std::byte b : bytes) out.push_back(static_cast<int>(b));
  return out;
}

TEST(Padding, EachPartEndsInZerosAndComesBack) {
  const TensorInfo tensor{"t", Stored::i8, {2, 3}, {}};
  const std::vector<std::byte> bytes{
      std::byte{1}, std::byte{2}, std::byte{3}, std::byte{4}, std::byte{5}, std::byte{6}};
  const AxisPadding padding{
      .axis = 1, .entries = 1, .channels = 8, .halves = 1, .fill = {9}, .fill_axis = 1};
  const Runs runs = interleaved_runs(24, 32, 8, 2);
  const auto padded = gathered([&](ByteSink out) { pad_axis(tensor, bytes, padding, runs, out); });
  EXPECT_EQ(numbers(padded), (std::vector<int>{1, 2, 3, 9, 4, 5, 6, 9}));
  EXPECT_EQ(padded_shape(tensor, padding, runs), (Shape{2, 4}));
  EXPECT_EQ(gathered([&](ByteSink out) { unpad_axis(tensor, padded, padding, runs, out); }), bytes);
}

TEST(Padding, PartialEntryAtTheEdgeStaysAndHalvesGrowAlike) {
  const TensorInfo tensor{"t", Stored::i8, {4}, {}};
  const std::vector<std::byte> bytes{std::byte{1}, std::byte{2}, std::byte{3}, std::byte{4}};
  const AxisPadding padding{
      .axis = 0, .entries = 1, .channels = 4, .halves = 2, .fill = {7}, .fill_axis = 0};
  const Runs runs = tail_runs(6, 12);  // two entries, the second a partial one, become three
  const auto padded = gathered([&](ByteSink out) { pad_axis(tensor, bytes, padding, runs, out); });
  EXPECT_EQ(numbers(padded), (std::vector<int>{1, 2, 7, 3, 4, 7}));
  EXPECT_EQ(gathered([&](ByteSink out) { unpad_axis(tensor, padded, padding, runs, out); }), bytes);
}

TEST(Padding, SizeIsThePublishersForTwoFourAndEightRanks) {
  RepairRequest request;
  request.degrees = {2, 4, 8};
  EXPECT_EQ(padded_size(request, 29568, 128), 29696);
  request.degrees = {3};
  EXPECT_EQ(padded_size(request, 29568, 128), 29568);
  request.degrees = {};
  EXPECT_THROW(padded_size(request, 29568, 128), Error);
}

}  // namespace
}  // namespace quern
