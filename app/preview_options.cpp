#include "app/preview_options.h"

namespace baichuan {

void PreviewCommandOptions::add_to(OptionTable& table) {
  table.add("Model", model);
  table.add("Data", data);
  table.add("Preview", preview);
  table.add("Run", run);
}

void PreviewCommandOptions::validate(const OptionTable& table) {
  if (preview.compat == "2023") apply_compat_2023(data, table);
  data.validate();
}

}  // namespace baichuan
