// SPDX-License-Identifier: Apache-2.0
// ThreadRanks: a model whose ranks are threads of this process, seen as one model. For checks and
// tests; serving gives each rank a process, which runs the same code.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "nn/builder.h"
#include "nn/model.h"
#include "nn/owned_ctx.h"

namespace quern {

struct Degrees {
  int tensor = 1;                        // ranks that share each layer
  int stages = 1;                        // groups of ranks that hold layers one after the other
  std::vector<double> proportions = {};  // of the tensor ranks; empty: equal parts

  int world() const { return tensor * stages; }
};

class ThreadRanks final : public Model {
 public:
  using Factory = std::function<std::unique_ptr<Model>(const Builder&)>;
  // Each rank gets a context by `each` and is built by `building`, whose stage it sets itself.
  // Throws what building any of the ranks throws.
  ThreadRanks(const std::shared_ptr<const Checkpoint>& checkpoint,
              const OwnedCtx::Options& each,
              const Degrees& degrees,
              const Factory& make,
              const BuilderOptions& building = {});
  ~ThreadRanks() override;

  const ModelInfo& info() const override;
  KvSpec kv_spec() const override;        // of the first rank
  int64_t weight_bytes() const override;  // of all ranks
  Tensor encode(Ctx& ctx, const MediaInput& media, Probe* probe) const override;
  // The ranks keep caches of their own, of the size and type of `kv`, which stays empty: one
  // sequence runner at a time.
  Tensor forward(Ctx& ctx, const Batch& batch, KvCache& kv, Probe* probe) const override;

 private:
  struct Rank;
  template <typename Body>
  void run(Body body) const;

  Degrees degrees_;
  std::vector<std::unique_ptr<Rank>> ranks_;  // stage by stage
};

}  // namespace quern
