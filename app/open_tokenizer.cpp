#include "app/open_tokenizer.h"

#include "core/error.h"
#include "core/files.h"
#include "model/model_location.h"

namespace baichuan {

Tokenizer open_tokenizer(const ModelOptions& model, const char* command) {
  const std::string& name = model.model_name_or_path;
  if (name.empty())
    throw UsageError("{} needs --model_name_or_path; found none; give a model directory, a hub id or a tokenizer.model",
                     command);
  std::error_code ignored;
  if (fs::is_regular_file(name, ignored)) return Tokenizer(name);
  return Tokenizer(resolve_model_directory(name, model.cache_dir, model.model_revision));
}

}  // namespace baichuan
