// SPDX-License-Identifier: Apache-2.0
// Repair: a checkpoint whose gated MLP is padded with channels of exactly zero, proven, and taken
// back bit for bit.
#pragma once

#include <string>
#include <vector>

#include "quantize/certificate.h"

namespace quern {

struct RepairRequest {
  std::string model, out;        // folders
  int64_t multiple = 0;          // of which intermediate_size becomes a multiple; or
  std::vector<int64_t> degrees;  // the number of ranks that whole granules must go to
  bool is_interleaved = false;
  bool checks_logits = true;
  std::string tool = "quern";  // name and version, for the certificate
};

// The smallest size of at least `intermediate` that is a multiple of what is asked for and of the
// granule. Throws invalid_argument where nothing or both is asked for.
int64_t padded_size(const RepairRequest& request, int64_t intermediate, int64_t granule);

// Writes OUT and proves it. OUT appears whole or not at all; an interrupted run is gone on with.
// Throws invalid_argument where there is nothing to do, exhausted for a full disk, unsupported
// naming tensor and reason for what cannot be padded.
Certificate repair(const RepairRequest& request);

// Proves a repaired folder against its source anew. Throws data_loss naming what differs.
Certificate verify_repair(const std::string& repaired,
                          const std::string& model,
                          bool checks_logits);

// Writes to `out` the checkpoint that `repaired` was made from, bit for bit by the certificate's
// hashes.
Certificate undo_repair(const std::string& repaired, const std::string& out);

}  // namespace quern
