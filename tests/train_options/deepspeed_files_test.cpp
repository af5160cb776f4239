// Whole files: the samples of configs/deepspeed, the documentation of the keys, and damaged files.
#include <filesystem>
#include <random>
#include <string>

#include <gtest/gtest.h>

#include "core/error.h"
#include "core/files.h"
#include "core/log.h"
#include "train/deepspeed_config.h"
#include "train/deepspeed_keys.h"

namespace baichuan {
namespace {

const std::filesystem::path kSamples = BAICHUAN_SOURCE_DIR "/configs/deepspeed";

TEST(DeepSpeedFiles, TheSampleForFloat16DoesWhatTheReadmesFileDoes) {
  OptimizationOptions flags;
  flags.fp16 = true;
  flags.max_grad_norm = 0.5;
  const auto config = load_deepspeed_config(kSamples / "zero2_fp16.json", flags, 8);
  EXPECT_EQ(config.stage, 2);
  EXPECT_EQ(config.gradient_clipping, 0.5);
  EXPECT_EQ(config.loss_scale.initial_scale, 65536);
  EXPECT_EQ(config.loss_scale.window, 1000);
  EXPECT_EQ(config.loss_scale.hysteresis, 2);
  EXPECT_EQ(config.loss_scale.min_scale, 1);
  EXPECT_FALSE(config.loss_scale.is_static);
  EXPECT_EQ(config.reduce_bucket_elements, 500'000'000);
  EXPECT_EQ(config.allgather_bucket_elements, 500'000'000);
}

TEST(DeepSpeedFiles, TheSampleForBfloat16TakesWhatItCanFromTheFlags) {
  OptimizationOptions flags;
  flags.bf16 = true;
  flags.max_grad_norm = 2;
  const auto config = load_deepspeed_config(kSamples / "zero2_bf16.json", flags, 8);
  EXPECT_EQ(config.stage, 2);
  EXPECT_EQ(config.gradient_clipping, 2);
  EXPECT_EQ(config.reduce_bucket_elements, std::nullopt);
}

TEST(DeepSpeedFiles, EverySampleLoadsUnderAnyFlags) {
  int loaded = 0;
  for (const auto& file : std::filesystem::directory_iterator(kSamples)) {
    for (const auto& [fp16, bf16] : {std::pair(false, false), std::pair(true, false), std::pair(false, true)}) {
      OptimizationOptions flags;
      flags.fp16 = fp16;
      flags.bf16 = bf16;
      flags.learning_rate = 3e-4;
      EXPECT_NO_THROW(load_deepspeed_config(file.path(), flags, 4)) << file.path();
    }
    ++loaded;
  }
  EXPECT_GE(loaded, 2);
}

std::string_view action_name(DeepSpeedAction action) {
  switch (action) {
    case DeepSpeedAction::kHonoured:
      return "honoured";
    case DeepSpeedAction::kSilent:
      return "no effect";
    case DeepSpeedAction::kNoted:
      return "no effect, says so";
    case DeepSpeedAction::kWarned:
      return "ignored with a warning";
    case DeepSpeedAction::kRefused:
      return "refused";
  }
  return "";
}

// One line of docs/DEEPSPEED.md.
std::string documented(const DeepSpeedKey& key) {
  std::string_view condition;
  if (key.action != DeepSpeedAction::kHonoured && key.action != DeepSpeedAction::kSilent) {
    condition = " if on";
    if (key.on == DeepSpeedOn::kFalse) condition = " if false";
    if (key.on == DeepSpeedOn::kAboveOne) condition = " above 1";
    if (key.on == DeepSpeedOn::kDevice) condition = " unless its device is none";
  }
  return fmt::format("| `{}` | `{}` | {}{} | {} |", key.name, key.default_value, action_name(key.action), condition,
                     key.reason);
}

TEST(DeepSpeedFiles, TheDocumentationListsEveryKeyAsTheTableHasIt) {
  const std::string page = read_file(BAICHUAN_SOURCE_DIR "/docs/DEEPSPEED.md");
  for (const auto& section : deepspeed_sections()) {
    if (section.name == "bfloat16") continue;  // documented as bf16
    const std::string title =
        section.name.empty() ? "\n## The file itself\n" : fmt::format("\n## `{}`\n", section.name);
    const auto begin = page.find(title);
    ASSERT_NE(begin, std::string::npos) << title;
    const std::string part = page.substr(begin, page.find("\n## ", begin + 1) - begin);
    for (const auto& key : section.keys)
      EXPECT_NE(part.find(fmt::format("\n{}\n", documented(key))), std::string::npos)
          << section.name << ": " << documented(key);
  }
}

TEST(DeepSpeedFiles, NoKeyStandsTwiceInItsSection) {
  for (const auto& section : deepspeed_sections())
    for (const auto& key : section.keys) {
      EXPECT_EQ(find_deepspeed_key(section, key.name), &key) << section.name << "." << key.name;
      EXPECT_FALSE(key.reason.empty()) << key.name;
    }
}

// Bytes of a file that uses most of what the reader knows are replaced, removed and doubled at random: the answer is a
// configuration or an error for people, never anything else.
TEST(DeepSpeedFiles, ADamagedFileIsAnErrorForPeopleOrLoads) {
  const std::string whole = R"({ # comment
    "train_batch_size": "auto", 'gradient_clipping': "auto", /* x */ fp16: {enabled: "auto", loss_scale: 0, hysteresis: 2},
    "bf16": {"enabled": "auto"}, "zero_optimization": {"stage": 2, "reduce_bucket_size": 5e8, "offload_param": {"device":
    "none"}}, "optimizer": {"type": "AdamW", "params": {"lr": "auto", "betas": [0.9, 0.999], "eps": 1e-8}},
    "scheduler": {"type": "WarmupDecayLR", "params": {"warmup_max_lr": "auto", "total_num_steps": "auto"}}, // end
    "data_types": {"grad_accum_dtype": "fp32"}, "tensorboard": {"enabled": false}, "note": "\u00e9\n",
  })";
  log::set_level(log::Level::kOff);
  std::mt19937 random(20231105);
  const auto below = [&random](std::size_t n) { return std::uniform_int_distribution<std::size_t>(0, n - 1)(random); };
  constexpr std::string_view kTelling = "{}[]\",:'#/*\\\n-e0139\xFF";
  int loaded = 0;
  for (int round = 0; round < 20000; ++round) {
    std::string text = whole;
    for (std::size_t change = below(4); change < 4; ++change) {
      const std::size_t at = below(text.size());
      switch (below(4)) {
        case 0:
          text[at] = static_cast<char>(below(256));
          break;
        case 1:
          text[at] = kTelling[below(kTelling.size())];
          break;
        case 2:
          text.erase(at, 1 + below(20));
          break;
        default:
          text.insert(at, text.substr(at, 1 + below(40)));
      }
      if (text.empty()) break;
    }
    try {
      parse_deepspeed_config({text, "ds.json"}, {}, 1);
      ++loaded;
    } catch (const Error& error) {
      EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << error.what();
    }
  }
  log::set_level(log::Level::kInfo);
  EXPECT_GT(loaded, 1000);
  EXPECT_LT(loaded, 19000);
}

}  // namespace
}  // namespace baichuan
