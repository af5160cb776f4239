#include "data/data_options.h"

#include "core/error.h"
#include "core/list_text.h"

namespace baichuan {

void DataOptions::validate() const {
  if (mix_strategy != "concat")
    throw UsageError("--mix_strategy {} is not built yet; use concat, or interleave the rows in a file of your own",
                     mix_strategy);
  (void)dataset_names(*this);
}

void apply_compat_2023(DataOptions& options, const OptionTable& table) {
  const bool limits_given =
      table.given("cutoff_len") || table.given("max_source_length") || table.given("max_target_length");
  if (!limits_given) {
    options.max_source_length = 512;
    options.max_target_length = 512;
  }
  if (!table.given("template_compat")) options.template_compat = "2023-07";
}

std::vector<std::string> dataset_names(const DataOptions& options) {
  std::vector<std::string> names;
  for (const std::string_view part : split(options.dataset, ','))
    if (const auto name = trimmed(part); !name.empty()) names.emplace_back(name);
  if (names.empty())
    throw UsageError("expected --dataset with names of dataset_info.json or files; found '{}'; give at least one",
                     options.dataset);
  return names;
}

}  // namespace baichuan
