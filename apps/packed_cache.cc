// SPDX-License-Identifier: Apache-2.0
#include "packed_cache.h"

#include <sys/resource.h>
#include <unistd.h>

#include <cstdlib>
#include <utility>

#include "base/clock.h"
#include "base/log.h"
#include "build_id.h"
#include "command_line.h"
#include "version.h"

namespace quern {
namespace {

constexpr int kNice = 10;  // requests come first, but it is to end one day

std::string folder() {
  const char* cache = std::getenv("XDG_CACHE_HOME");
  if (cache != nullptr && cache[0] == '/') return format("{}/quern/packed", cache);
  const char* home = std::getenv("HOME");
  if (home != nullptr && home[0] == '/') return format("{}/.cache/quern/packed", home);
  return "";
}

Hash128 key_for(const ModelOptions& options,
                const Checkpoint& checkpoint,
                const std::string& path,
                const Ctx& ctx,
                Output output) {
  const std::string text = format("{} {} {} {} {} {} {}",
                                  kVersion,
                                  hash_of_program().hex(),
                                  name_of(ctx.isa),
                                  static_cast<int>(ctx.activation),
                                  options.int8_head,
                                  static_cast<int>(output),
                                  identity_of(checkpoint, path).hex());
  return hash_bytes(std::as_bytes(std::span(text)));
}

int64_t limit_of(const ModelOptions& options) {
  return options.packed_cache_bytes.empty()
             ? -1
             : parse_count(options.packed_cache_bytes, "--packed-cache-bytes");
}

double seconds_since(int64_t begin) {
  return static_cast<double>(MonotonicClock().now_us() - begin) * 1e-6;
}

}  // namespace

PackedCache::PackedCache(const ModelOptions& options,
                         const Checkpoint& checkpoint,
                         const std::string& path,
                         const Ctx& ctx,
                         Output output)
    : store_(folder(), limit_of(options)), key_(key_for(options, checkpoint, path, ctx, output)) {
  const int64_t begin = MonotonicClock().now_us();
  weights_.stored = store_.open(key_, *ctx.pool);
  if (weights_.stored != nullptr)
    log(LogLevel::info,
        "packed cache: mapped {:.2f} GB in {:.2f} s",
        static_cast<double>(weights_.stored->bytes()) * 1e-9,
        seconds_since(begin));
}

PackedCache::~PackedCache() {
  if (is_writing_)
    log(LogLevel::info, "packed cache: {} is still being written", store_.path_of(key_));
  if (writer_.joinable()) writer_.join();
}

void PackedCache::keep() {
  PackedWeights loaded = std::exchange(weights_, {});
  if (!loaded.is_new) return;
  is_writing_ = true;
  writer_ = std::thread([this, entries = std::move(loaded.entries)] {
    setpriority(PRIO_PROCESS, static_cast<id_t>(gettid()), kNice);  // of this thread alone
    write(entries);
    is_writing_ = false;
  });
}

void PackedCache::write(const std::vector<PackedEntry>& entries) const {
  const int64_t begin = MonotonicClock().now_us();
  try {
    ThreadPool alone(1);
    const int64_t bytes = store_.write(key_, entries, alone);
    log(LogLevel::info,
        "packed cache: wrote {:.2f} GB to {} in {:.2f} s",
        static_cast<double>(bytes) * 1e-9,
        store_.path_of(key_),
        seconds_since(begin));
  } catch (const std::exception& e) {  // of the file system too
    log(LogLevel::warn,
        "packed cache: nothing was written: {}; the next start packs the weights again",
        e.what());
  }
}

}  // namespace quern
