#include "lora/lora_options.h"

#include <algorithm>
#include <array>

#include "core/error.h"
#include "core/list_text.h"

namespace baichuan {
namespace {

constexpr std::array<std::string_view, 5> kProjections = {"W_pack", "o_proj", "gate_proj", "up_proj", "down_proj"};
constexpr std::array<std::string_view, 6> kPackedNames = {"q_proj", "k_proj", "v_proj", "query", "key", "value"};

template <class Names>
bool contains(const Names& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

}  // namespace

std::vector<std::string> parse_lora_target(std::string_view target) {
  if (trimmed(target) == "all") return {kProjections.begin(), kProjections.end()};
  std::vector<std::string> names;
  for (const std::string_view part : split(target, ',')) {
    const std::string_view name = trimmed(part);
    if (!contains(kProjections, name))
      throw UsageError(
          "--lora_target expects names from W_pack, o_proj, gate_proj, up_proj, down_proj, or all; found "
          "'{}'; {}",
          name,
          contains(kPackedNames, name) ? "Baichuan packs q, k and v in W_pack: name that"
                                       : "separate several names by commas");
    if (!contains(names, name)) names.emplace_back(name);
  }
  return names;
}

}  // namespace baichuan
