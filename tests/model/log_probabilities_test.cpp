// Log-probabilities against the float64 reference of tools/oracles/reference_model.py, and hidden states against the
// golden files of the published classes.
#include <fstream>

#include <gtest/gtest.h>

#include <torch/torch.h>

#include "core/files.h"
#include "model/baichuan_for_causal_lm.h"
#include "tests/model/test_models.h"

namespace baichuan {
namespace {

constexpr double kReferenceTolerance = 1e-4;  // relative, of one log-probability
constexpr double kGoldenTolerance = 1e-5;

const Json& oracle() {
  static const Json json = read_json_file(fs::path(BAICHUAN_SOURCE_DIR) / "tests/data/model/log_probabilities.json");
  return json;
}

BaichuanConfig config_of(const Json& json) {
  auto config = small_config(json["position"] == "rope" ? PositionEmbedding::kRope : PositionEmbedding::kAlibi);
  EXPECT_EQ(json["hidden_size"], config.hidden_size);
  EXPECT_EQ(json["vocab_size"], config.vocab_size);
  config.norm_head = json["norm_head"];
  return config;
}

// Largest relative difference between a run's committed log-probabilities and the model's.
double worst_difference(BaichuanForCausalLM& model, const Json& run, int64_t seed) {
  const at::NoGradGuard no_grad;
  const auto ids = hashed_ids(model.config(), seed + 1000, run["length"]);
  const auto logits = model.logits(model.hidden_states(ids));
  const auto found = at::log_softmax(logits.to(at::kDouble), -1)[0];
  double worst = 0;
  for (std::size_t set = 0; set < run["tokens"].size(); ++set)
    for (std::size_t i = 0; i < run["positions"].size(); ++i) {
      const double want = run["log_probabilities"][set][i];
      const double got = found[run["positions"][i].get<int64_t>()][run["tokens"][set][i].get<int64_t>()].item<double>();
      worst = std::max(worst, std::abs(got - want) / std::abs(want));
    }
  return worst;
}

TEST(LogProbabilities, MatchTheFloat64ReferenceAtEveryLength) {
  for (const Json& c : oracle()["cases"]) {
    const int64_t seed = c["seed"];
    const auto model = hashed_model(config_of(c["config"]), seed);
    for (const Json& run : c["runs"])
      EXPECT_LT(worst_difference(*model, run, seed), kReferenceTolerance)
          << c["name"] << ", " << run["length"] << " tokens";
  }
}

TEST(LogProbabilities, InFloat64AreTheReferences) {
  const Json& c = oracle()["cases"][0];
  const auto model = hashed_model(config_of(c["config"]), c["seed"], at::kDouble);
  // What is left is the rounding of ALiBi's slopes to float32.
  EXPECT_LT(worst_difference(*model, c["runs"][3], c["seed"]), 2e-6);
}

TEST(LogProbabilities, OfBfloat16WeightsStayNearTheReference) {
  for (const std::size_t number : {0, 1}) {
    const Json& c = oracle()["cases"][number];
    const auto model = hashed_model(config_of(c["config"]), c["seed"], at::kBFloat16);
    EXPECT_LT(worst_difference(*model, c["runs"][3], c["seed"]), 0.05) << c["name"];
  }
}

TEST(LogProbabilities, OfficialModeComputesWhatThePublishedClassesComputeInBfloat16) {
  const Json& c = oracle()["official_bfloat16"];
  const auto model = hashed_model(config_of(c["config"]), c["seed"], at::kBFloat16);
  const double exact = worst_difference(*model, c["run"], c["seed"]);
  model->set_alibi_mode(AlibiMode::kOfficial);
  const double official = worst_difference(*model, c["run"], c["seed"]);
  EXPECT_LT(official, 0.01) << "the order of sums is all that may differ";
  EXPECT_GT(exact, 2 * official) << "absolute biases in bfloat16 lose what float32 keeps";
}

// ---- golden files: a tiny model of the published classes, layout in the shared reference, 3.4

class GoldenFile {
 public:
  explicit GoldenFile(const fs::path& path) : file_(path, std::ios::binary) {}
  void read_into(at::Tensor parameter) { parameter.copy_(floats(parameter.sizes().vec())); }
  at::Tensor floats(const std::vector<int64_t>& shape) {
    auto values = at::empty(shape, at::kFloat);
    file_.read(static_cast<char*>(values.mutable_data_ptr()), static_cast<std::streamsize>(values.nbytes()));
    return values;
  }
  at::Tensor ids(int64_t count) {
    auto values = at::empty({1, count}, at::kInt);
    file_.read(static_cast<char*>(values.mutable_data_ptr()), static_cast<std::streamsize>(values.nbytes()));
    return values.to(at::kLong);
  }
  bool good() const { return file_.good(); }

 private:
  std::ifstream file_;
};

void expect_golden(const std::string& name, PositionEmbedding position, AlibiMode mode) {
  const fs::path path = fs::path(BAICHUAN_SHARED_DATA) / "golden" / name;
  if (!fs::exists(path)) GTEST_SKIP() << "needs " << path;
  auto config = small_config(position);
  config.vocab_size = 5;
  config.hidden_size = 32;
  config.intermediate_size = 96;
  config.num_layers = 1;
  config.num_heads = 8;
  BaichuanForCausalLM model(config, at::kFloat);
  model.set_alibi_mode(mode);
  GoldenFile file(path);
  const auto parameters = model.named_parameters();
  for (const char* parameter :
       {"model.embed_tokens", "model.layers.0.input_layernorm", "model.layers.0.self_attn.W_pack",
        "model.layers.0.self_attn.o_proj", "model.layers.0.post_attention_layernorm", "model.layers.0.mlp.gate_proj",
        "model.layers.0.mlp.down_proj", "model.layers.0.mlp.up_proj", "model.norm"})
    file.read_into(parameters[std::string(parameter) + ".weight"].detach());

  const at::NoGradGuard no_grad;
  KvCache cache(config, 1, 8, at::kFloat);
  for (const int64_t tokens : {3, 1, 1}) {
    const auto ids = file.ids(tokens);
    const auto want = file.floats({1, tokens, 32});
    ASSERT_TRUE(file.good());
    EXPECT_LT(largest_difference(model.hidden_states(ids, &cache), want), kGoldenTolerance) << cache.length();
  }
}

TEST(GoldenFiles, TheThirteenBillionClassIsReproduced) {
  expect_golden("baichuan13b_model.data", PositionEmbedding::kAlibi, AlibiMode::kExact);
}
TEST(GoldenFiles, TheThirteenBillionClassIsReproducedInOfficialMode) {
  expect_golden("baichuan13b_model.data", PositionEmbedding::kAlibi, AlibiMode::kOfficial);
}
TEST(GoldenFiles, TheSevenBillionClassIsReproduced) {
  expect_golden("baichuan7b_model.data", PositionEmbedding::kRope, AlibiMode::kExact);
}
TEST(GoldenFiles, TheSevenBillionClassIsReproducedInOfficialMode) {
  expect_golden("baichuan7b_model.data", PositionEmbedding::kRope, AlibiMode::kOfficial);
}

}  // namespace
}  // namespace baichuan
