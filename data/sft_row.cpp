#include "data/sft_row.h"

#include <algorithm>

namespace baichuan {

namespace {

class RowBuilder {
 public:
  RowBuilder(bool efficient_eos, int32_t eos_id, const SftRules& rules)
      : efficient_eos_(efficient_eos), eos_id_(eos_id), rules_(rules) {}

  bool ends_each_answer() const { return !efficient_eos_; }

  // Appends a turn cut to these lengths.
  void add(const TurnIds& turn, std::size_t source, std::size_t answer, bool with_end) {
    const uint32_t begin = position();
    row_.ids.insert(row_.ids.end(), turn.source.begin(), turn.source.begin() + static_cast<std::ptrdiff_t>(source));
    if (rules_.train_on_prompt)
      label(begin, position());
    else if (efficient_eos_ && begin > 0 && source > 0 && last_answer_ends())
      row_.labels.push_back({begin, begin + 1, eos_id_});
    const uint32_t middle = position();
    row_.ids.insert(row_.ids.end(), turn.target.begin(), turn.target.begin() + static_cast<std::ptrdiff_t>(answer));
    if (with_end) row_.ids.push_back(eos_id_);
    label(middle, position());
    answer_cut_ = answer < turn.target.size();
    if (answer_cut_ || source < turn.source.size() || (ends_each_answer() && !with_end)) mark_truncated();
  }

  // The end id of efficient_eos, which closes the row.
  void close() {
    if (!efficient_eos_ || !last_answer_ends()) return;
    const uint32_t at = position();
    row_.ids.push_back(eos_id_);
    label(at, at + 1);
  }

  void cut_row(std::size_t length) {
    if (row_.ids.size() <= length) return;
    mark_truncated();
    row_.ids.resize(length);
    const auto end = static_cast<uint32_t>(length);
    while (!row_.labels.empty() && row_.labels.back().begin >= end) row_.labels.pop_back();
    if (!row_.labels.empty()) row_.labels.back().end = std::min(row_.labels.back().end, end);
  }

  std::size_t size() const { return row_.ids.size(); }
  void mark_truncated() { row_.truncated = true; }
  SftRow take() { return std::move(row_); }

 private:
  uint32_t position() const { return static_cast<uint32_t>(row_.ids.size()); }
  bool last_answer_ends() const { return !answer_cut_ || rules_.turn_limits; }

  void label(uint32_t begin, uint32_t end) {
    if (begin == end) return;
    auto& spans = row_.labels;
    if (!spans.empty() && spans.back().end == begin && spans.back().label == LabelSpan::kSameAsIds)
      spans.back().end = end;
    else
      spans.push_back({begin, end});
  }

  bool efficient_eos_;
  int32_t eos_id_;
  const SftRules& rules_;
  SftRow row_;
  bool answer_cut_ = false;
};

void add_in_proportion(RowBuilder& row, std::span<const TurnIds> turns, const SftRules& rules) {
  const auto cutoff = static_cast<std::size_t>(rules.cutoff_len);
  for (const TurnIds& turn : turns) {
    std::size_t source = turn.source.size();
    std::size_t target = turn.target.size() + (row.ends_each_answer() ? 1 : 0);
    if (const std::size_t total = source + target; total > cutoff) {
      source = cutoff * source / total;
      target = cutoff * target / total;
    }
    const std::size_t answer = std::min(target, turn.target.size());
    row.add(turn, source, answer, row.ends_each_answer() && target > answer);
  }
  row.close();
  row.cut_row(cutoff);
}

// As LLaMA-Efficient-Tuning v0.1.3 cuts: an end id after every answer, cut or not.
void add_july(RowBuilder& row, std::span<const TurnIds> turns, const SftRules& rules) {
  const auto source_limit = static_cast<std::size_t>(rules.max_source_length);
  const auto target_limit = static_cast<std::size_t>(rules.max_target_length);
  for (const TurnIds& turn : turns) {
    const std::size_t source = std::min(turn.source.size(), source_limit);
    const std::size_t answer = std::min(turn.target.size(), target_limit - 1);
    if (row.size() + source + answer + 1 > source_limit + target_limit) return row.mark_truncated();
    row.add(turn, source, answer, /*with_end=*/true);
  }
}

// As v0.1.8 cuts.
void add_august(RowBuilder& row, std::span<const TurnIds> turns, const SftRules& rules) {
  const auto source_limit = static_cast<std::size_t>(rules.max_source_length);
  const auto target_limit = static_cast<std::size_t>(rules.max_target_length);
  for (const TurnIds& turn : turns) {
    const std::size_t source = std::min(turn.source.size(), source_limit);
    const std::size_t answer = std::min(turn.target.size(), target_limit);
    const bool with_end = row.ends_each_answer() && answer < target_limit;
    if (row.size() + source + answer + (with_end ? 1 : 0) > source_limit + target_limit) {
      row.mark_truncated();
      break;
    }
    row.add(turn, source, answer, with_end);
  }
  row.close();
}

}  // namespace

int64_t SftRow::label_count() const {
  int64_t count = 0;
  for (const LabelSpan& span : labels) count += span.end - span.begin;
  return count;
}

SftRules SftRules::from(const DataOptions& options) {
  SftRules rules;
  rules.compat = parse_template_compat(options.template_compat);
  rules.cutoff_len = options.cutoff_len;
  rules.turn_limits = options.has_turn_limits();
  rules.max_source_length = options.source_limit();
  rules.max_target_length = options.target_limit();
  rules.train_on_prompt = options.train_on_prompt;
  return rules;
}

SftRow make_sft_row(std::span<const TurnIds> turns, bool efficient_eos, int32_t eos_id, const SftRules& rules) {
  RowBuilder row(efficient_eos, eos_id, rules);
  if (!rules.turn_limits)
    add_in_proportion(row, turns, rules);
  else if (rules.compat == TemplateCompat::kJuly2023)
    add_july(row, turns, rules);
  else
    add_august(row, turns, rules);
  return row.take();
}

}  // namespace baichuan
