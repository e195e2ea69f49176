// SPDX-License-Identifier: Apache-2.0
// The Hugging Face variables of this process, as the hub's own client reads them.
#pragma once

#include <string>

#include "hub/hub_api.h"
#include "weights/model_path.h"

namespace quern {

// HF_HUB_CACHE, HF_HOME, XDG_CACHE_HOME, HOME; without the folders of embedded models.
ModelLookup lookup_of_environment();

// The cache's folder. Throws invalid_argument where nothing says where it is.
std::string hub_cache_or_fail();

// HF_ENDPOINT; HF_TOKEN, else the file HF_TOKEN_PATH or <HF_HOME>/token; HF_HUB_DOWNLOAD_TIMEOUT.
// Throws invalid_argument for a value that cannot be meant.
HubOptions hub_options_of_environment();

// HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE says that nothing may be asked of the network.
bool is_hub_offline();

}  // namespace quern
