// SPDX-License-Identifier: Apache-2.0
#include "server/route_context.h"

#include <ctime>
#include <random>

#include "base/log.h"

namespace quern {

SeedSource::SeedSource(std::optional<uint64_t> seed) {
  std::random_device random;
  state_ = seed ? *seed : (uint64_t{random()} << 32) | random();
}

// splitmix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
uint64_t SeedSource::next() {
  uint64_t z = state_ += 0x9e3779b97f4a7c15ull;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
}

JobContext job_context(RouteContext& context, const HttpRequest& request) {
  return JobContext{.service = context.service,
                    .id = request.id,
                    .created = std::time(nullptr),
                    .seed = context.seeds.next(),
                    .responses = &context.responses,
                    .owner = request.owner};
}

void log_ignored(const std::string& id, const std::vector<std::string>& fields) {
  if (!fields.empty())
    log(LogLevel::info,
        "unknown fields ignored id={} fields={}",
        id,
        printable(format("{}", fmt::join(fields, ",")), 200));
}

}  // namespace quern
