#include <algorithm>
#include <array>

#include "app/command.h"
#include "app/train_options.h"
#if __has_include("app/export_options.h")
#include "app/export_options.h"
#endif
#if __has_include("app/chat_options.h")
#include "app/chat_options.h"
#endif
#if __has_include("app/score_options.h")
#include "app/score_options.h"
#endif
#if __has_include("app/tokenize_options.h")
#include "app/tokenize_options.h"
#endif
#if __has_include("app/preview_options.h")
#include "app/preview_options.h"
#endif
#if __has_include("app/init_options.h")
#include "app/init_options.h"
#endif
#if __has_include("app/doctor_options.h")
#include "app/doctor_options.h"
#endif

namespace baichuan {

namespace {

template <class Options>
std::unique_ptr<CommandOptions> make() {
  return std::make_unique<Options>();
}

constexpr bool kEngine = true;
constexpr bool kProgram = false;

constexpr auto kCommands = std::to_array<Command>({
  {"train",
   "full or LoRA supervised fine-tuning",
   "train [RECIPE.json] --stage sft --do_train [options]",
   kEngine,
   true,
   make<TrainCommandOptions>},
#if __has_include("app/export_options.h")
      {"export",
       "merge an adapter into its base, write a Hugging Face checkpoint",
       "export --model_name_or_path DIR --output_dir DIR [options]",
       kEngine,
       false,
       make<ExportCommandOptions>},
#endif
#if __has_include("app/chat_options.h")
      {"chat", "talk to a model in the terminal", "chat --model_name_or_path DIR [options]", kEngine,
       false,  make<ChatCommandOptions>},
#endif
#if __has_include("app/score_options.h")
      {"score",
       "log-probabilities and perplexity of given text",
       "score --model_name_or_path DIR --input IN.jsonl --output OUT.jsonl",
       kEngine,
       false,
       make<ScoreCommandOptions>},
#endif
#if __has_include("app/tokenize_options.h")
      {"tokenize", "text to ids and back",      "tokenize --model_name_or_path DIR --text TEXT", kProgram,
       false,      make<TokenizeCommandOptions>},
#endif
#if __has_include("app/preview_options.h")
      {"preview",
       "what a data set becomes: ids, pieces, labels, lengths",
       "preview --model_name_or_path DIR --dataset NAME [options]",
       kProgram,
       false,
       make<PreviewCommandOptions>},
#endif
#if __has_include("app/init_options.h")
      {"init",
       "write a randomly initialised checkpoint",
       "init --preset tiny --tokenizer FILE --output_dir DIR",
       kEngine,
       false,
       make<InitCommandOptions>},
#endif
#if __has_include("app/doctor_options.h")
      {"doctor",
       "versions, devices, memory, and what is wrong",
       "doctor [--json]",
       kEngine,
       false,
       make<DoctorCommandOptions>},
#endif
});

}  // namespace

std::span<const Command> commands() {
  return kCommands;
}

const Command* find_command(std::string_view name) {
  const auto found = std::find_if(kCommands.begin(), kCommands.end(), [&](const Command& c) { return c.name == name; });
  return found == kCommands.end() ? nullptr : &*found;
}

}  // namespace baichuan
