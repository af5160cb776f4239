// From the turns of a row to ids and labels: cutting, end ids, what is learnt.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "data/data_options.h"
#include "data/training_template.h"

namespace baichuan {

// Labels of a run of ids: the ids themselves, or one id for all of them.
struct LabelSpan {
  static constexpr int32_t kSameAsIds = -1;

  uint32_t begin = 0;
  uint32_t end = 0;
  int32_t label = kSameAsIds;
};

struct SftRow {
  std::vector<int32_t> ids;
  std::vector<LabelSpan> labels;  // ascending, disjoint; all else is not learnt
  bool truncated = false;

  int64_t label_count() const;
};

struct SftRules {
  TemplateCompat compat = TemplateCompat::kAugust2023;
  int64_t cutoff_len = 1024;
  bool turn_limits = false;  // the two below hold, and not cutoff_len
  int64_t max_source_length = 512;
  int64_t max_target_length = 512;
  bool train_on_prompt = false;

  static SftRules from(const DataOptions& options);
};

// Rules of length:
//   cutoff_len          a turn longer than that has prompt and answer cut in proportion to their lengths, then the
//   whole
//                       row is cut there. An answer that was cut has no end id: nothing teaches the model to stop in
//                       the middle of a sentence.
//   turn limits 2023-07 prompts cut at max_source_length, answers at max_target_length - 1, and the end id always
//                       follows; a turn with which the row would grow over the sum of the limits ends the row before
//                       it.
//   turn limits 2023-08 the answer's limit counts the end id, so a cut answer loses it, except with efficient_eos,
//                       where one end id closes every row.
SftRow make_sft_row(std::span<const TurnIds> turns, bool efficient_eos, int32_t eos_id, const SftRules& rules);

}  // namespace baichuan
