// SPDX-License-Identifier: Apache-2.0
// LocalExecutor: one rank as a thread of this process. It owns nothing of the model but its KV
// cache and encoded media.
#pragma once

#include <functional>
#include <memory>

#include "engine/executor.h"
#include "nn/model.h"

namespace quern {

struct LocalWorker {
  std::shared_ptr<const Model> model;
  Ctx ctx;  // its pool and arena must outlive the executor; used by the worker thread alone
  std::shared_ptr<KvCache> kv;
};

// `probe`, if given, sees every forward pass (tests).
std::unique_ptr<Executor> make_local_executor(uint64_t epoch,
                                              LocalWorker worker,
                                              Probe* probe = nullptr);

}  // namespace quern
