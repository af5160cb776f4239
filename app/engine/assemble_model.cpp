#include "app/assemble_model.h"

#include <torch/torch.h>

#include "kernels/device.h"
#include "model/load_weights.h"
#include "model/model_location.h"

namespace baichuan {

AssembledModel assemble_model(const ModelOptions& options) {
  AssembledModel assembled;
  assembled.directory = resolve_model_directory(options.model_name_or_path, options.cache_dir, options.model_revision);
  assembled.device = select_device(options.device);
  assembled.model = load_model(assembled.directory, {parse_dtype(options.dtype), assembled.device});
  assembled.model->set_alibi_mode(options.alibi_mode == "official" ? AlibiMode::kOfficial : AlibiMode::kExact);
  if (options.adapter_name_or_path) {
    assembled.adapter = LoraAdapter::load_all(*assembled.model, split_adapter_list(*options.adapter_name_or_path), 0);
    assembled.adapter->set_training(false);
  }
  for (auto& parameter : assembled.model->parameters()) parameter.requires_grad_(false);
  assembled.model->eval();
  assembled.config = assembled.model->config();
  assembled.dtype = assembled.model->compute_dtype();
  return assembled;
}

}  // namespace baichuan
