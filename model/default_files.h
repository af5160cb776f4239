// The small files beside the weights, for models that have none yet. No LibTorch here.
#pragma once

#include "core/json.h"
#include "model/baichuan_config.h"

namespace baichuan {

// Of a Base model: sampling as published, no ids of chat roles.
OrderedJson default_generation_config(const BaichuanConfig& config);
// Neither bos nor eos is added to a text: the class behind it would add bos by default.
OrderedJson default_tokenizer_config(const BaichuanConfig& config);
OrderedJson default_special_tokens_map();

}  // namespace baichuan
