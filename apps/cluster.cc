// SPDX-License-Identifier: Apache-2.0
#include "cluster.h"

#include <sys/stat.h>

#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "base/file.h"
#include "comm/handshake.h"

namespace quern {
namespace {

constexpr size_t kLeastSecret = 16, kMostSecret = 4'096;

Range range_of_node(const ParallelOptions& options, int node) {
  if (options.node_ranks.empty()) return Shard(node, options.nnodes).range(options.world());
  const auto first = options.node_ranks.begin();
  const int64_t begin = std::accumulate(first, first + node, 0);
  return {begin, begin + options.node_ranks[static_cast<size_t>(node)]};
}

}  // namespace

RankPlace place_of(const ParallelOptions& options, int rank) {
  return {.rank = rank,
          .tensor_size = options.tensor_parallel_size,
          .stages = options.pipeline_parallel_size,
          .split = options.tensor_parallel_split};
}

std::vector<int> ranks_of_node(const ParallelOptions& options, int node) {
  const Range range = range_of_node(options, node);
  std::vector<int> out;
  for (int64_t rank = range.begin; rank < range.end; ++rank) out.push_back(static_cast<int>(rank));
  return out;
}

int node_of(const ParallelOptions& options, int rank) {
  int node = 0;
  while (range_of_node(options, node).end <= rank) ++node;
  return node;
}

std::vector<int> further_nodes(const ParallelOptions& options) {
  std::vector<int> out;
  for (int node = 1; node < options.nnodes; ++node)
    if (!ranks_of_node(options, node).empty()) out.push_back(node);
  return out;
}

ParallelOptions without_nodes(ParallelOptions options, const std::vector<int>& lost) {
  std::vector<int> kept;
  std::vector<double> split;
  for (int node = 0; node < options.nnodes; ++node) {
    const std::vector<int> ranks = ranks_of_node(options, node);
    const bool is_lost = std::ranges::find(lost, node) != lost.end();
    kept.push_back(is_lost ? 0 : static_cast<int>(ranks.size()));
    // Parts of layers belong to ranks only while no stage lies between them.
    if (is_lost || options.tensor_parallel_split.empty() || options.pipeline_parallel_size > 1)
      continue;
    for (const int rank : ranks)
      split.push_back(options.tensor_parallel_split[static_cast<size_t>(rank)]);
  }
  const int ranks = std::accumulate(kept.begin(), kept.end(), 0);
  if (ranks % options.pipeline_parallel_size != 0) options.pipeline_parallel_size = 1;
  options.tensor_parallel_size = ranks / options.pipeline_parallel_size;
  options.tensor_parallel_split = std::move(split);
  options.node_ranks = std::move(kept);
  return options;
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
