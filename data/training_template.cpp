#include "data/training_template.h"

#include "core/error.h"

namespace baichuan {

namespace {

constexpr std::string_view kHole = "{}";

int32_t require_piece(const Tokenizer& tokenizer, std::string_view piece, std::string_view template_name) {
  const auto id = tokenizer.find_piece(piece);
  if (!id)
    throw DataError("template {} needs the piece {}; {} has none; choose --template default or vanilla", template_name,
                    piece, tokenizer.path().string());
  return *id;
}

}  // namespace

TemplateCompat parse_template_compat(std::string_view name) {
  if (name == "2023-07") return TemplateCompat::kJuly2023;
  if (name == "2023-08") return TemplateCompat::kAugust2023;
  throw UsageError("--template_compat must be 2023-07 or 2023-08; found '{}'", name);
}

TrainingTemplate::Element TrainingTemplate::text(std::string_view pattern) {
  const auto hole = pattern.find(kHole);
  if (hole == std::string_view::npos) return {.before = std::string(pattern)};
  return {.before = std::string(pattern.substr(0, hole)),
          .after = std::string(pattern.substr(hole + kHole.size())),
          .hole = true};
}

TrainingTemplate::TrainingTemplate(std::string_view name, TemplateCompat compat, const Tokenizer& tokenizer)
    : compat_(compat), eos_id_(tokenizer.eos_id()) {
  const bool july = compat == TemplateCompat::kJuly2023;
  if (name == "default") {
    default_system_ =
        "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, "
        "detailed, and polite answers to the user's questions.";
    prompt_ = {text("Human: {}\nAssistant: ")};
    separator_ = {text("\n")};
  } else if (name == "baichuan") {
    prompt_ = {{.control = require_piece(tokenizer, "<reserved_102>", name)},
               text("{}"),
               {.control = require_piece(tokenizer, "<reserved_103>", name)}};
    if (july) separator_ = {{.control = eos_id_}};
    efficient_eos_ = !july;
  } else if (name == "vanilla") {
    prompt_ = {text("{}")};
    takes_system_ = july;
    use_history_ = false;
  } else {
    throw UsageError("--template must be one of default, baichuan, vanilla; found '{}'", name);
  }
}

// Each element tokenised by itself.
void TrainingTemplate::append_each(PlainEncoder& encoder,
                                   std::span<const Element> elements,
                                   std::string_view filling,
                                   std::vector<int32_t>& ids) const {
  std::string whole;
  for (const Element& element : elements) {
    if (element.control >= 0) {
      ids.push_back(element.control);
      continue;
    }
    whole = element.before;
    if (element.hole) whole.append(filling).append(element.after);
    encoder.append(whole, ids);
  }
}

// A string with control pieces in it. SentencePiece joins nothing across a role piece, so the text after one goes on
// without a dummy space; the end piece splits the string, and what follows begins a new one.
struct TrainingTemplate::OneString {
  PlainEncoder& encoder;
  std::vector<int32_t>& ids;
  int32_t eos_id;
  std::string pending{};
  bool at_start = true;

  void add(const Element& element, std::string_view filling) {
    if (element.control < 0) {
      pending += element.before;
      if (element.hole) pending.append(filling).append(element.after);
      return;
    }
    const bool ends_string = element.control == eos_id;
    flush(/*even_empty=*/at_start && !ends_string);
    ids.push_back(element.control);
    at_start = ends_string;
  }

  void flush(bool even_empty = false) {
    if (!pending.empty() || even_empty) encoder.append_part(pending, at_start, ids);
    pending.clear();
  }
};

void TrainingTemplate::append_one_string(PlainEncoder& encoder,
                                         std::string_view system,
                                         std::string_view query,
                                         bool first,
                                         std::vector<int32_t>& ids) const {
  OneString string{encoder, ids, eos_id_};
  if (first) string.pending = system;
  if (!first || !system.empty())
    for (const Element& element : separator_) string.add(element, {});
  for (const Element& element : prompt_) string.add(element, query);
  string.flush();
}

std::vector<TurnIds> TrainingTemplate::encode(PlainEncoder& encoder,
                                              std::string_view system,
                                              std::span<const Turn> turns) const {
  if (system.empty()) system = default_system_;
  if (!takes_system_) system = {};
  if (!use_history_ && !turns.empty()) turns = turns.last(1);
  std::vector<TurnIds> encoded;
  encoded.reserve(turns.size());
  for (std::size_t i = 0; i < turns.size(); ++i) {
    TurnIds& turn = encoded.emplace_back();
    if (compat_ == TemplateCompat::kJuly2023) {
      append_one_string(encoder, system, turns[i].query, i == 0, turn.source);
    } else {
      if (i == 0) encoder.append_repeated(system, turn.source);
      if (i > 0 || !system.empty()) append_each(encoder, separator_, {}, turn.source);
      append_each(encoder, prompt_, turns[i].query, turn.source);
    }
    encoder.append(turns[i].response, turn.target);
  }
  return encoded;
}

}  // namespace baichuan
