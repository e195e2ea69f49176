// SPDX-License-Identifier: Apache-2.0
#include "cluster.h"

#include <sys/stat.h>

#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "comm/handshake.h"

namespace quern {
namespace {

constexpr size_t kLeastSecret = 16, kMostSecret = 4'096;

}  // namespace

RankPlace place_of(const ParallelOptions& options, int rank) {
  return {.rank = rank,
          .tensor_size = options.tensor_parallel_size,
          .stages = options.pipeline_parallel_size,
          .split = options.tensor_parallel_split};
}

std::vector<int> ranks_of_node(const ParallelOptions& options, int node) {
  const Range range = Shard(node, options.nnodes).range(options.world());
  std::vector<int> out;
  for (int64_t rank = range.begin; rank < range.end; ++rank) out.push_back(static_cast<int>(rank));
  return out;
}

int node_of(const ParallelOptions& options, int rank) {
  int node = 0;
  while (Shard(node, options.nnodes).range(options.world()).end <= rank) ++node;
  return node;
}

bool meets_over_tcp(const ParallelOptions& options, const std::vector<int>& ranks) {
  const bool is_near = std::all_of(ranks.begin(), ranks.end(), [&](int rank) {
    return node_of(options, rank) == node_of(options, ranks.front());
  });
  if (options.rank_transport == "shm" && !is_near)
    fail(ErrorCode::invalid_argument,
         "--rank-transport shm: ranks {} to {} are on several machines",
         ranks.front(),
         ranks.back());
  return options.rank_transport == "tcp" || !is_near;
}

std::string read_secret(const ParallelOptions& options) {
  const std::string& path = options.cluster_secret_file;
  if (path.empty()) {
    if (options.nnodes == 1) return make_secret();
    fail(ErrorCode::invalid_argument,
         "--nnodes {}: all machines need the same --cluster-secret-file; make one by: "
         "(umask 077; head -c 32 /dev/urandom | base64 > secret)",
         options.nnodes);
  }
  struct stat status {};
  if (stat(path.c_str(), &status) == 0 && (status.st_mode & 077) != 0)
    fail(ErrorCode::invalid_argument,
         "--cluster-secret-file {}: others may read it (mode {:03o}); chmod 600 it",
         path,
         status.st_mode & 0777);
  std::string secret = read_file(path, kMostSecret);
  while (!secret.empty() && (secret.back() == '\n' || secret.back() == '\r')) secret.pop_back();
  if (secret.size() < kLeastSecret)
    fail(ErrorCode::invalid_argument,
         "--cluster-secret-file {}: expected at least {} bytes, got {}",
         path,
         kLeastSecret,
         secret.size());
  return secret;
}

std::string listen_host_of(const ParallelOptions& options) {
  if (!options.node_addr.empty()) return options.node_addr;
  if (!options.head_addr.empty()) return HostPort::parse(options.head_addr, "--head-addr").host;
  return "127.0.0.1";
}

}  // namespace quern
