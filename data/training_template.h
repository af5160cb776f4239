// The prompt formats of supervised fine-tuning: what stands before each answer, as ids.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/tokenizer.h"

namespace baichuan {

// The Python stack changed twice in the summer of 2023, and ids differ at the seams of the pieces:
enum class TemplateCompat {
  kJuly2023,    // "2023-07": all that stands before an answer is one string; baichuan separates turns by </s>
  kAugust2023,  // "2023-08": every element of a template is tokenised by itself; control pieces are placed as ids
};

// Throws UsageError for anything but "2023-07" and "2023-08".
TemplateCompat parse_template_compat(std::string_view name);

struct Turn {
  std::string_view query;
  std::string_view response;
};

struct TurnIds {
  std::vector<int32_t> source;  // everything before the answer
  std::vector<int32_t> target;  // the answer, without the end id
};

class TrainingTemplate {
 public:
  // Names: default, baichuan, vanilla. Throws UsageError for others, and DataError when the vocabulary lacks the
  // template's control pieces. The tokenizer is not kept.
  TrainingTemplate(std::string_view name, TemplateCompat compat, const Tokenizer& tokenizer);

  // An empty `system` stands for the template's own. Templates without history keep the last turn alone.
  std::vector<TurnIds> encode(PlainEncoder& encoder, std::string_view system, std::span<const Turn> turns) const;

  // The end id is not written after each answer but is the label where the next turn's first control id stands;
  // a single one ends the row.
  bool efficient_eos() const { return efficient_eos_; }

 private:
  struct Element {
    std::string before;  // text; with a hole it stands before the query or the system text
    std::string after;
    bool hole = false;
    int32_t control = -1;  // an id instead of text
  };

  static Element text(std::string_view pattern);
  void append_each(PlainEncoder& encoder,
                   std::span<const Element> elements,
                   std::string_view filling,
                   std::vector<int32_t>& ids) const;
  struct OneString;
  void append_one_string(PlainEncoder& encoder,
                         std::string_view system,
                         std::string_view query,
                         bool first,
                         std::vector<int32_t>& ids) const;

  TemplateCompat compat_;
  std::string default_system_;
  std::vector<Element> prompt_;
  std::vector<Element> separator_;
  bool takes_system_ = true;
  bool use_history_ = true;
  bool efficient_eos_ = false;
  int32_t eos_id_ = 2;
};

}  // namespace baichuan
