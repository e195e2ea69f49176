// SPDX-License-Identifier: Apache-2.0
#include "worker_job.h"
#include "base/json.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/hash.h"

namespace quern {
namespace {

// Secrets are any bytes; JSON is text.
std::string to_hex(const std::string& bytes) {
  std::string out;
  for (const char c : bytes) out += format("{:02x}", static_cast<unsigned char>(c));
  return out;
}

std::string from_hex(const std::string& digits) {
  std::string out;
  for (size_t i = 0; i + 1 < digits.size(); i += 2)
    out += static_cast<char>(std::stoi(digits.substr(i, 2), nullptr, 16));
  return out;
}

}  // namespace

std::vector<int> RankPlace::tensor_group() const {
  std::vector<int> out;
  for (int r = 0; r < tensor_size; ++r) out.push_back(stage() * tensor_size + r);
  return out;
}

std::vector<int> RankPlace::stage_group() const {
  std::vector<int> out;
  for (int s = 0; s < stages; ++s) out.push_back(s * tensor_size + tensor_rank());
  return out;
}

std::string WorkerJob::to_text() const {
  const Json experts = expert_memory_bytes ? Json(*expert_memory_bytes) : Json(nullptr);
  const Json json = {{"epoch", epoch},
                     {"rank", place.rank},
                     {"tensor_size", place.tensor_size},
                     {"stages", place.stages},
                     {"split", place.split},
                     {"model", model},
                     {"model_mark", model_mark},
                     {"tensor_names", tensor_names},
                     {"isa", std::string(name_of(isa))},
                     {"activation", static_cast<int>(activation)},
                     {"kv_dtype", static_cast<int>(kv_dtype)},
                     {"int8_head", int8_head},
                     {"output", static_cast<int>(output)},
                     {"threads", threads},
                     {"cpus", cpus},
                     {"num_blocks", num_blocks},
                     {"block_size", block_size},
                     {"arena_bytes", arena_bytes},
                     {"expert_memory_bytes", experts},
                     {"timeout_ms", timeout_ms},
                     {"has_tcp_ranks", has_tcp_ranks},
                     {"has_tcp_stages", has_tcp_stages},
                     {"listen_host", listen_host},
                     {"secret", to_hex(secret)},
                     {"log_level", log_level}};
  return json.dump();
}

WorkerJob WorkerJob::parse(const std::string& text) {
  try {
    const Json json = parse_json(text, "worker job");
    WorkerJob job;
    job.epoch = json.at("epoch");
    job.place = {json.at("rank"), json.at("tensor_size"), json.at("stages"), json.at("split")};
    job.model = json.at("model");
    job.model_mark = json.at("model_mark");
    job.tensor_names = json.at("tensor_names");
    job.isa = parse_isa(json.at("isa").get<std::string>());
    job.activation = static_cast<Activation>(json.at("activation").get<int>());
    job.kv_dtype = static_cast<DType>(json.at("kv_dtype").get<int>());
    job.int8_head = json.at("int8_head");
    job.output = static_cast<Output>(json.at("output").get<int>());
    job.threads = json.at("threads");
    job.cpus = json.at("cpus").get<std::vector<int>>();
    job.num_blocks = json.at("num_blocks");
    job.block_size = json.at("block_size");
    job.arena_bytes = json.at("arena_bytes");
    const Json& experts = json.at("expert_memory_bytes");
    if (!experts.is_null()) job.expert_memory_bytes = experts.get<int64_t>();
    job.timeout_ms = json.at("timeout_ms");
    job.has_tcp_ranks = json.at("has_tcp_ranks");
    job.has_tcp_stages = json.at("has_tcp_stages");
    job.listen_host = json.at("listen_host");
    job.secret = from_hex(json.at("secret"));
    job.log_level = json.at("log_level");
    return job;
  } catch (const Json::exception& e) {
    fail(ErrorCode::data_loss, "worker job: {}", e.what());
  }
}

std::string WorkerSummons::to_text() const {
  const Json json = {{"head", head},
                     {"secret", to_hex(secret)},
                     {"epoch", epoch},
                     {"rank", rank},
                     {"model", model},
                     {"listen_host", listen_host},
                     {"threads", threads},
                     {"cpus", cpus}};
  return json.dump();
}

WorkerSummons WorkerSummons::parse(const std::string& text) {
  try {
    const Json json = parse_json(text, "worker summons");
    return {.head = json.at("head"),
            .secret = from_hex(json.at("secret")),
            .epoch = json.at("epoch"),
            .rank = json.at("rank"),
            .model = json.at("model"),
            .listen_host = json.at("listen_host"),
            .threads = json.at("threads"),
            .cpus = json.at("cpus").get<std::vector<int>>()};
  } catch (const Json::exception& e) {
    fail(ErrorCode::data_loss, "worker summons: {}", e.what());
  }
}

uint64_t mark_of(const Checkpoint& checkpoint) {
  Hash128 hash;
  const auto add = [&hash](const std::string& text) {
    hash = hash_chain(hash, std::as_bytes(std::span(text)));
  };
  for (const std::string& name : checkpoint.names()) {
    const TensorInfo& tensor = *checkpoint.find(name);
    add(format("{} {} {}", name, name_of(tensor.stored), tensor.shape.text()));
  }
  add(json_text(checkpoint.config().json()));
  return hash.low;
}

}  // namespace quern
