#include <algorithm>
#include <array>

#include "app/bench_options.h"
#include "app/chat_options.h"
#include "app/command.h"
#include "app/doctor_options.h"
#include "app/export_options.h"
#include "app/init_options.h"
#include "app/plan_options.h"
#include "app/preview_options.h"
#include "app/score_options.h"
#include "app/tokenize_options.h"
#include "app/train_options.h"

namespace baichuan {

namespace {

template <class Options>
std::unique_ptr<CommandOptions> make() {
  return std::make_unique<Options>();
}

// clang-format off
constexpr auto kCommands = std::to_array<Command>({
    {.name = "train", .summary = "full or LoRA supervised fine-tuning",
     .usage = "train [RECIPE.json] --stage sft --do_train [options]", .in_engine = true, .takes_recipe = true,
     .make_options = make<TrainCommandOptions>},
    {.name = "plan", .summary = "memory, disk, communication and time of a training run, before anything is loaded",
     .usage = "plan [RECIPE.json] --model_name_or_path NAME [options of train] [--num_gpus N] [--gpu KIND]",
     .in_engine = false, .takes_recipe = true, .make_options = make<PlanCommandOptions>},
    {.name = "export", .summary = "merge an adapter into its base, write a Hugging Face checkpoint",
     .usage = "export --model_name_or_path DIR --output_dir DIR [options]", .in_engine = true, .takes_recipe = false,
     .make_options = make<ExportCommandOptions>},
    {.name = "chat", .summary = "talk to a model in the terminal",
     .usage = "chat --model_name_or_path DIR [options]", .in_engine = true, .takes_recipe = false,
     .make_options = make<ChatCommandOptions>},
    {.name = "score", .summary = "log-probabilities and perplexity of given text",
     .usage = "score --model_name_or_path DIR --input IN.jsonl --output OUT.jsonl", .in_engine = true,
     .takes_recipe = false, .make_options = make<ScoreCommandOptions>},
    {.name = "tokenize", .summary = "text to ids and back",
     .usage = "tokenize --model_name_or_path DIR --text TEXT", .in_engine = false, .takes_recipe = false,
     .make_options = make<TokenizeCommandOptions>},
    {.name = "preview", .summary = "what a data set becomes: ids, pieces, labels, lengths",
     .usage = "preview --model_name_or_path DIR --dataset NAME [options]", .in_engine = false, .takes_recipe = false,
     .make_options = make<PreviewCommandOptions>},
    {.name = "init", .summary = "write a randomly initialised checkpoint",
     .usage = "init --preset tiny --tokenizer FILE --output_dir DIR", .in_engine = true, .takes_recipe = false,
     .make_options = make<InitCommandOptions>},
    {.name = "doctor", .summary = "versions, devices, memory, and what is wrong",
     .usage = "doctor [--json]", .in_engine = true, .takes_recipe = false, .make_options = make<DoctorCommandOptions>},
    {.name = "bench train", .summary = "speed and memory of training steps on this machine",
     .usage = "bench train --model_name_or_path DIR [options]", .in_engine = true, .takes_recipe = false,
     .make_options = make<BenchTrainCommandOptions>},
    {.name = "bench decode", .summary = "speed of prefill and decoding on this machine",
     .usage = "bench decode --model_name_or_path DIR [options]", .in_engine = true, .takes_recipe = false,
     .make_options = make<BenchDecodeCommandOptions>},
});
// clang-format on

constexpr auto kPlanned = std::to_array<std::string_view>({
    "serve",
    "eval",
    "quantize",
});

}  // namespace

std::span<const Command> commands() {
  return kCommands;
}

const Command* find_command(std::string_view name) {
  const auto found = std::find_if(kCommands.begin(), kCommands.end(), [&](const Command& c) { return c.name == name; });
  return found == kCommands.end() ? nullptr : &*found;
}

bool is_planned_command(std::string_view name) {
  return std::find(kPlanned.begin(), kPlanned.end(), name) != kPlanned.end();
}

}  // namespace baichuan
