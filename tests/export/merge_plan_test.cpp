#include "lora/merge_plan.h"

#include <limits>

#include "export_test.h"

namespace baichuan {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class MergePlanTest : public testing::Test {
 protected:
  // The base is read only: one for all tests.
  static void SetUpTestSuite() {
    base_ = new ScratchDirectory;
    save_base(base_->path(), small_config(PositionEmbedding::kAlibi), 5, at::kFloat);
  }
  static void TearDownTestSuite() { delete base_; }

  MergePlan plan(const Json& config, const NamedTensors& tensors) {
    save_adapter(scratch_ / "adapter", config, tensors);
    return MergePlan(CheckpointReader::open(base_->path()), {scratch_ / "adapter"});
  }
  std::string refusal(const Json& config, const NamedTensors& tensors) {
    return message_of([&] { plan(config, tensors); });
  }
  static at::Tensor added(MergePlan& plan, int layer = 0) {
    auto rows = torch::zeros({480, 160});
    plan.add_to_rows(fmt::format("model.layers.{}.self_attn.W_pack.weight", layer), 0, rows);
    return rows;
  }

  static ScratchDirectory* base_;
  ScratchDirectory scratch_;
};

ScratchDirectory* MergePlanTest::base_ = nullptr;

TEST_F(MergePlanTest, AddsTheSameWhateverTheBlocks) {
  auto whole_plan = plan(adapter_json(), adapter_matrices(1));
  const auto whole = added(whole_plan);
  for (const std::int64_t step : {1, 7, 96, 479}) {
    auto pieces = torch::zeros({480, 160});
    for (std::int64_t first = 0; first < 480; first += step) {
      auto rows = pieces.narrow(0, first, std::min<std::int64_t>(step, 480 - first));
      whole_plan.add_to_rows("model.layers.0.self_attn.W_pack.weight", first, rows);
    }
    EXPECT_LT(largest_difference(pieces, whole), 1e-7) << step;
  }
}

TEST_F(MergePlanTest, ScalesAsTheConfigurationSays) {
  const auto matrices = adapter_matrices(1);
  const auto product = torch::mm(matrices[1].second, matrices[0].second);
  auto plain = plan(adapter_json(), matrices);
  EXPECT_LT(largest_difference(added(plain), product * 2), 1e-6);
  auto stabilised = plan(adapter_json({{"use_rslora", true}}), matrices);
  EXPECT_LT(largest_difference(added(stabilised), product * 4), 1e-6);
  auto patterned = plan(adapter_json({{"alpha_pattern", {{"layers.0.self_attn.W_pack", 40}}}}), matrices);
  EXPECT_LT(largest_difference(added(patterned), product * 10), 1e-5);
  EXPECT_LT(largest_difference(added(patterned, 1), torch::mm(matrices[3].second, matrices[2].second) * 2), 1e-6);
}

TEST_F(MergePlanTest, TakesARankOfItsOwnForAModule) {
  auto matrices = adapter_matrices(1);
  matrices[0].second = torch::randn({2, 160});
  matrices[1].second = torch::randn({480, 2});
  EXPECT_THAT(refusal(adapter_json(), matrices), HasSubstr("expected shape [4, 160] for rank 4"));
  auto patterned = plan(adapter_json({{"rank_pattern", {{"layers.0.self_attn.W_pack", 2}}}}), matrices);
  EXPECT_LT(largest_difference(added(patterned), torch::mm(matrices[1].second, matrices[0].second) * 4), 1e-4);
}

TEST_F(MergePlanTest, ReadsNamesWithTheAdaptersNameInThem) {
  auto matrices = adapter_matrices(1);
  auto plain = plan(adapter_json(), matrices);
  const auto expected = added(plain);
  for (auto& [name, value] : matrices) name.replace(name.find(".weight"), 7, ".default.weight");
  auto named = plan(adapter_json(), matrices);
  EXPECT_TRUE(torch::equal(added(named), expected));
}

TEST_F(MergePlanTest, RefusesWhatWouldChangeTheArithmetic) {
  for (const auto& [key, value] : std::vector<std::pair<std::string, Json>>{
           {"use_dora", true}, {"modules_to_save", {"lm_head"}}, {"bias", "all"}, {"fan_in_fan_out", true}})
    EXPECT_THAT(refusal(adapter_json({{key, value}}), adapter_matrices(1)), HasSubstr(key));
}

TEST_F(MergePlanTest, RefusesTensorsThatAreNoMatricesOfLora) {
  auto matrices = adapter_matrices(1);
  matrices.emplace_back("base_model.model.lm_head.weight", torch::ones({2, 2}));
  EXPECT_THAT(refusal(adapter_json(), matrices),
              AllOf(HasSubstr("'base_model.model.lm_head.weight'"), HasSubstr("merge this adapter with PEFT")));
}

TEST_F(MergePlanTest, RefusesAMatrixWithoutItsPartner) {
  auto matrices = adapter_matrices(1);
  matrices.pop_back();
  EXPECT_THAT(refusal(adapter_json(), matrices),
              HasSubstr("lora_A and lora_B for model.layers.1.self_attn.W_pack; found only lora_A"));
}

TEST_F(MergePlanTest, RefusesAFileThatLacksModulesOfItsConfiguration) {
  auto matrices = adapter_matrices(1);
  matrices.resize(2);
  EXPECT_THAT(refusal(adapter_json(), matrices),
              AllOf(HasSubstr("expected matrices for model.layers.1.self_attn.W_pack"),
                    HasSubstr((scratch_ / "adapter").string())));
}

TEST_F(MergePlanTest, RefusesModulesThatTheBaseLacks) {
  auto matrices = adapter_matrices(1);
  for (const char* matrix : {"lora_A", "lora_B"})
    matrices.emplace_back(fmt::format("base_model.model.model.layers.0.self_attn.q_proj.{}.weight", matrix),
                          torch::ones({4, 160}));
  EXPECT_THAT(refusal(adapter_json(), matrices), HasSubstr("found one of 'model.layers.0.self_attn.q_proj'"));
}

TEST_F(MergePlanTest, RefusesMatricesOfAnotherBase) {
  auto matrices = adapter_matrices(1);
  matrices[1].second = torch::ones({100, 4});
  EXPECT_THAT(refusal(adapter_json(), matrices),
              AllOf(HasSubstr("lora_B.weight'"), HasSubstr("expected shape [480, 4]"), HasSubstr("found [100, 4]")));
}

TEST_F(MergePlanTest, RefusesAQuantisedBase) {
  save_tensors(scratch_ / "int8", {{"model.layers.0.self_attn.W_pack.weight", torch::ones({480, 160}, torch::kChar)}},
               {});
  auto matrices = adapter_matrices(1);
  matrices.resize(2);
  save_adapter(scratch_ / "adapter", adapter_json(), matrices);
  EXPECT_THAT(message_of([&] { MergePlan(CheckpointReader::open(scratch_ / "int8"), {scratch_ / "adapter"}); }),
              AllOf(HasSubstr("int8"), HasSubstr("not quantised")));
}

TEST_F(MergePlanTest, RefusesNumbersThatAreNotFinite) {
  auto matrices = adapter_matrices(1);
  matrices[1].second[3][2] = std::numeric_limits<float>::quiet_NaN();
  auto broken = plan(adapter_json(), matrices);
  EXPECT_THAT(message_of([&] { added(broken); }),
              AllOf(HasSubstr("finite numbers in"), HasSubstr("layers.0.self_attn.W_pack.lora_B")));
}

}  // namespace
}  // namespace baichuan
