#include "data/data_options.h"

#include "core/error.h"

namespace baichuan {

namespace {

std::string trimmed(std::string_view text) {
  constexpr std::string_view kBlanks = " \t\r\n";
  const auto first = text.find_first_not_of(kBlanks);
  if (first == std::string_view::npos) return {};
  return std::string(text.substr(first, text.find_last_not_of(kBlanks) - first + 1));
}

}  // namespace

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
  std::string_view rest = options.dataset;
  while (!rest.empty()) {
    const auto comma = rest.find(',');
    if (auto name = trimmed(rest.substr(0, comma)); !name.empty()) names.push_back(std::move(name));
    rest = comma == std::string_view::npos ? std::string_view{} : rest.substr(comma + 1);
  }
  if (names.empty())
    throw UsageError("expected --dataset with names of dataset_info.json or files; found '{}'; give at least one",
                     options.dataset);
  return names;
}

}  // namespace baichuan
