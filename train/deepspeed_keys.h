// Every key of a DeepSpeed file and what happens to it here, in one table (deepspeed_keys.cpp, shown to users as
// docs/DEEPSPEED.md).
#pragma once

#include <span>
#include <string_view>

#include "core/json.h"

namespace baichuan {

enum class DeepSpeedAction {
  kHonoured,  // read, checked, obeyed
  kSilent,    // taken and without effect: the same result, or a setting of code that is not ours
  kNoted,     // the same, and where it is on, a line says what takes its place
  kWarned,    // where it is on, a warning says what the run does instead
  kRefused,   // where it is on, the run stops before it starts
};

enum class DeepSpeedType { kAny, kBoolean, kInteger, kNumber, kText, kObject };

// Which values of a noted, warned or refused key are "on". null, "auto" and absence never are.
enum class DeepSpeedOn {
  kTrue,      // true, or an object that has "enabled": true at any depth
  kFalse,     // false
  kPresent,   // true, a number above 0, a text, or what holds one of these
  kAboveOne,  // a number above 1, or an object that holds one
  kDevice,    // an object whose "device" is not "none"
};

struct DeepSpeedKey {
  std::string_view name;
  DeepSpeedType type = DeepSpeedType::kAny;
  DeepSpeedAction action = DeepSpeedAction::kHonoured;
  DeepSpeedOn on = DeepSpeedOn::kPresent;
  std::string_view default_value;  // DeepSpeed's
  std::string_view reason;         // half a sentence; follows "ignored:", "refused:" and the like
};

struct DeepSpeedSection {
  std::string_view name;  // "" is the file itself, "zero_optimization.offload_param" is nested
  bool is_closed;         // DeepSpeed stops at a key that it does not know
  std::span<const DeepSpeedKey> keys;
};

std::span<const DeepSpeedSection> deepspeed_sections();
const DeepSpeedSection& deepspeed_section(std::string_view name);

// Null for a key that DeepSpeed does not know.
const DeepSpeedKey* find_deepspeed_key(const DeepSpeedSection& section, std::string_view name);

bool is_on(const DeepSpeedKey& key, const OrderedJson& value);

}  // namespace baichuan
