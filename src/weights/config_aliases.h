// SPDX-License-Identifier: Apache-2.0
// config.json of families that spell the keys of Llama's config otherwise.
#pragma once

#include "weights/config.h"

namespace quern {

// The configuration under Llama's keys: for model_type "spark" the other spellings that its files
// may have ("n_embd", "multi_query_group_num", …) become hidden_size, num_key_value_heads and so
// on; other families keep theirs. Throws data_loss naming both keys where two spellings disagree.
Config with_published_keys(const Config& stored);
// Keys of `changes` (an object) in place of those of `stored`; null removes one.
Config with_changed_keys(const Config& stored, const Json& changes);
// Whether the configuration is of the spark family.
bool is_spark(const Config& config);

}  // namespace quern
