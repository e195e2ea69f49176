// SPDX-License-Identifier: Apache-2.0
#include "nn/model.h"

#include "base/error.h"

namespace quern {

Tensor Model::encode(Ctx&, const MediaInput&, Probe*) const {
  fail(ErrorCode::unsupported, "{}: this model does not take such media", info().architecture);
}

}  // namespace quern
