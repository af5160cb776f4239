#pragma once

#include "app/model_options.h"
#include "data/tokenizer.h"

namespace baichuan {

// The tokenizer of --model_name_or_path: a model directory, a hub id that is in a local cache, or a tokenizer.model.
// `command` names the command in messages. Throws UsageError when no model is given.
Tokenizer open_tokenizer(const ModelOptions& model, const char* command);

}  // namespace baichuan
