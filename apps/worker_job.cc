// SPDX-License-Identifier: Apache-2.0
#include "worker_job.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/hash.h"

namespace quern {

std::string WorkerJob::to_text() const {
  const Json json = {{"epoch", epoch},
                     {"rank", place.rank},
                     {"tensor_size", place.tensor_size},
                     {"stages", place.stages},
                     {"split", place.split},
                     {"model", model},
                     {"model_mark", model_mark},
                     {"isa", std::string(name_of(isa))},
                     {"activation", static_cast<int>(activation)},
                     {"kv_dtype", static_cast<int>(kv_dtype)},
                     {"int8_head", int8_head},
                     {"threads", threads},
                     {"cpus", cpus},
                     {"num_blocks", num_blocks},
                     {"block_size", block_size},
                     {"arena_bytes", arena_bytes},
                     {"timeout_ms", timeout_ms},
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
    job.isa = parse_isa(json.at("isa").get<std::string>());
    job.activation = static_cast<Activation>(json.at("activation").get<int>());
    job.kv_dtype = static_cast<DType>(json.at("kv_dtype").get<int>());
    job.int8_head = json.at("int8_head");
    job.threads = json.at("threads");
    job.cpus = json.at("cpus").get<std::vector<int>>();
    job.num_blocks = json.at("num_blocks");
    job.block_size = json.at("block_size");
    job.arena_bytes = json.at("arena_bytes");
    job.timeout_ms = json.at("timeout_ms");
    job.log_level = json.at("log_level");
    return job;
  } catch (const Json::exception& e) {
    fail(ErrorCode::data_loss, "worker job: {}", e.what());
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
  add(checkpoint.config().json().dump(-1, ' ', false, Json::error_handler_t::replace));
  return hash.low;
}

}  // namespace quern
