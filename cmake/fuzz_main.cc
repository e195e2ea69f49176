// SPDX-License-Identifier: Apache-2.0
// A small mutating driver for builds without libFuzzer: fuzz_x RUNS SEED_FILE...
// Each run takes one seed file, applies a few random edits (flip, insert, erase, duplicate, splice a number) and calls the
// target. Deterministic: run r uses random seed r. A crash prints the run number; `fuzz_x -1 FILE` replays one file as it is.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

std::string read_file(const char* path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void mutate(std::string& s, std::mt19937_64& rng) {
  static const std::string kTokens[] = {"0", "-1", "18446744073709551615", "1e999", "\xff", "[[[[", "{{", "%}", "\\u0000"};
  const int edits = 1 + static_cast<int>(rng() % 6);
  for (int i = 0; i < edits; ++i) {
    const size_t at = s.empty() ? 0 : rng() % s.size();
    switch (rng() % 6) {
      case 0:
        if (!s.empty()) s[at] = static_cast<char>(rng());
        break;
      case 1: s.insert(at, 1, static_cast<char>(rng())); break;
      case 2: s.erase(at, 1 + rng() % 16); break;
      case 3: s.insert(at, s.substr(at, rng() % 64)); break;
      case 4: s.insert(at, kTokens[rng() % std::size(kTokens)]); break;
      default:
        if (!s.empty()) s[at] = static_cast<char>(s[at] ^ (1 << (rng() % 8)));
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) return std::fprintf(stderr, "usage: %s RUNS SEED_FILE...\n", argv[0]), 2;
  const long runs = std::strtol(argv[1], nullptr, 10);
  std::vector<std::string> seeds;
  for (int i = 2; i < argc; ++i) seeds.push_back(read_file(argv[i]));
  for (const std::string& s : seeds)
    LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(s.data()), s.size());
  for (long r = 0; r < runs; ++r) {
    std::mt19937_64 rng(static_cast<uint64_t>(r));
    std::string s = seeds[rng() % seeds.size()];
    mutate(s, rng);
    std::FILE* mark = std::fopen("fuzz_last_run", "wb");  // what was running, should the process die
    if (mark) std::fwrite(s.data(), 1, s.size(), mark), std::fclose(mark);
    LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(s.data()), s.size());
  }
  std::remove("fuzz_last_run");
  std::printf("%ld runs over %zu seeds: no crash\n", runs, seeds.size());
}
