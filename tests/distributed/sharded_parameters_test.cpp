// Laws: whatever the stage and the number of ranks, the sums of gradients are those of one rank that adds one
// micro-batch after another; the updated values reach everybody.
#include "distributed/sharded_parameters.h"

#include <gtest/gtest.h>

#include <torch/torch.h>

#include "tests/distributed/rank_threads.h"

namespace baichuan {
namespace {

constexpr std::int64_t kMicroBatches = 5;  // no multiple of 2, 3 or 4: some ranks have nothing in the last round

std::vector<ParameterUnit> make_units(at::ScalarType type) {
  auto generator = at::detail::createCPUGenerator(5);
  std::vector<ParameterUnit> units(3);
  const auto add = [&](std::size_t unit, const std::string& name, std::vector<std::int64_t> shape) {
    const auto value = at::randn(shape, generator, at::kFloat).mul_(0.1).to(type).requires_grad_(true);
    units[unit].name = "unit " + std::to_string(unit);
    units[unit].parameters.emplace_back(name, value);
  };
  add(0, "embed", {90, 60});
  add(1, "weight", {60, 60});
  add(1, "norm", {60});
  add(1, "unused", {7});
  add(2, "head", {120, 60});
  return units;
}

at::Tensor loss_of(const std::vector<ParameterUnit>& units, std::int64_t micro_batch) {
  auto generator = at::detail::createCPUGenerator(static_cast<std::uint64_t>(micro_batch));
  const auto ids = at::randint(0, 90, {11}, generator, at::kLong);
  auto h = at::embedding(units[0].parameters[0].second, ids);
  h = at::linear(h, units[1].parameters[0].second) * units[1].parameters[1].second;
  return at::linear(h.tanh(), units[2].parameters[0].second).square().sum();
}

// Sums over the micro-batches, one after another, in float32.
std::map<std::string, at::Tensor> reference_gradients(at::ScalarType type) {
  const auto units = make_units(type);
  std::map<std::string, at::Tensor> sums;
  for (const auto& unit : units)
    for (const auto& [name, parameter] : unit.parameters) sums[name] = at::zeros(parameter.sizes(), at::kFloat);
  for (std::int64_t m = 0; m < kMicroBatches; ++m) {
    for (const auto& unit : units)
      for (const auto& [name, parameter] : unit.parameters) parameter.mutable_grad().reset();
    loss_of(units, m).backward();
    for (const auto& unit : units)
      for (const auto& [name, parameter] : unit.parameters)
        if (parameter.grad().defined()) sums[name].add_(parameter.grad());
  }
  return sums;
}

struct Case {
  std::int64_t ranks;
  std::int64_t stage;
};

class ShardedGradients : public testing::TestWithParam<Case> {};

void run_step(ShardedParameters& sharded, ProcessGroup& group) {
  sharded.zero_gradients();
  for (std::int64_t first = 0; first < kMicroBatches; first += group.size()) {
    const std::int64_t contributors = std::min(group.size(), kMicroBatches - first);
    sharded.begin_micro_batch({contributors, first + group.size() >= kMicroBatches});
    std::vector<ParameterUnit> units;
    for (std::size_t u = 0; u < sharded.unit_count(); ++u) units.push_back(sharded.unit(u));
    if (group.rank() < contributors) loss_of(units, first + group.rank()).backward();
    sharded.end_micro_batch();
  }
  sharded.finish_gradients();
}

TEST_P(ShardedGradients, AreThoseOfOneRankBitForBit) {
  const auto [ranks, stage] = GetParam();
  for (const auto type : {at::kFloat, at::kBFloat16}) {
    const auto expected = reference_gradients(type);
    run_ranks(ranks, [&, stage = stage](ProcessGroup& group) {
      ShardedParameters sharded(make_units(type), group, {.stage = stage, .every_micro_batch = true});
      run_step(sharded, group);
      for (const auto& slice : sharded.slices())
        EXPECT_TRUE(torch::equal(slice.gradient,
                                 expected.at(slice.name).flatten().narrow(0, slice.first, slice.gradient.numel())))
            << slice.name << " on rank " << group.rank();
    });
  }
}

TEST_P(ShardedGradients, ReducedOnceAStepTheyAgreeUpToRounding) {
  const auto [ranks, stage] = GetParam();
  const auto expected = reference_gradients(at::kFloat);
  run_ranks(ranks, [&, stage = stage](ProcessGroup& group) {
    ShardedParameters sharded(make_units(at::kFloat), group, {.stage = stage, .every_micro_batch = false});
    for (int again = 0; again < 2; ++again) {
      run_step(sharded, group);
      for (const auto& slice : sharded.slices()) {
        const auto part = expected.at(slice.name).flatten().narrow(0, slice.first, slice.gradient.numel());
        EXPECT_TRUE(torch::allclose(slice.gradient, part, 1e-5, 1e-6)) << slice.name;
      }
    }
  });
}

TEST_P(ShardedGradients, TravelInTheTypeAskedFor) {
  const auto [ranks, stage] = GetParam();
  const auto exact = reference_gradients(at::kFloat);
  run_ranks(ranks, [&, stage = stage](ProcessGroup& group) {
    ShardedParameters sharded(make_units(at::kFloat), group,
                              {.stage = stage, .every_micro_batch = true, .wire_type = at::kBFloat16});
    run_step(sharded, group);
    std::int64_t rounded = 0;
    for (const auto& slice : sharded.slices()) {
      const auto part = exact.at(slice.name).flatten().narrow(0, slice.first, slice.gradient.numel());
      EXPECT_TRUE(torch::allclose(slice.gradient, part, 2e-2, 2e-2)) << slice.name;
      rounded += (slice.gradient != part).sum().item<std::int64_t>();
    }
    if (group.is_solo()) {
      EXPECT_EQ(rounded, 0) << "nothing travels";
    } else if (group.rank() == 0) {
      EXPECT_GT(rounded, 0);
    }
  });
}

TEST_P(ShardedGradients, HaveTheSameNormForAnyNumberOfRanks) {
  const auto [ranks, stage] = GetParam();
  double alone = 0;
  const auto norm_into = [stage = stage](double& result) {
    return [&result, stage](ProcessGroup& group) {
      ShardedParameters sharded(make_units(at::kFloat), group, {.stage = stage, .every_micro_batch = true});
      run_step(sharded, group);
      const double sum = sharded.sum_in_order(group.gather_numbers(sharded.squared_sums_by_block()));
      if (group.rank() == 0) result = sum;
    };
  };
  run_ranks(1, norm_into(alone));
  double together = 0;
  run_ranks(ranks, norm_into(together));
  EXPECT_EQ(alone, together);
  double expected = 0;
  for (const auto& [name, gradient] : reference_gradients(at::kFloat))
    expected += gradient.to(at::kDouble).square().sum().item<double>();
  EXPECT_NEAR(together / expected, 1, 1e-12);
}

TEST_P(ShardedGradients, UpdatedValuesReachEverybody) {
  const auto [ranks, stage] = GetParam();
  run_ranks(ranks, [&, stage = stage](ProcessGroup& group) {
    ShardedParameters sharded(make_units(at::kBFloat16), group, {.stage = stage, .every_micro_batch = true});
    const auto before = make_units(at::kBFloat16);
    for (const auto& slice : sharded.slices()) {
      slice.master.add_(1);
      slice.value.copy_(slice.master);
    }
    sharded.publish();
    sharded.wait_for_all();
    for (std::size_t u = 0; u < before.size(); ++u) {
      const auto masters = sharded.gather_masters(u);
      for (std::size_t i = 0; i < before[u].parameters.size(); ++i) {
        const auto expected = before[u].parameters[i].second.detach().to(at::kFloat) + 1;
        EXPECT_TRUE(torch::equal(sharded.unit(u).parameters[i].second.detach(), expected.to(at::kBFloat16)));
        EXPECT_TRUE(torch::equal(masters[i], expected));
      }
    }
  });
}

std::vector<Case> all_cases() {
  std::vector<Case> cases;
  for (const std::int64_t ranks : {1, 2, 3, 4})
    for (const std::int64_t stage : {0, 1, 2}) cases.push_back({ranks, stage});
  return cases;
}

std::string name_of(const testing::TestParamInfo<Case>& instance) {
  return "Ranks" + std::to_string(instance.param.ranks) + "Stage" + std::to_string(instance.param.stage);
}

INSTANTIATE_TEST_SUITE_P(All, ShardedGradients, testing::ValuesIn(all_cases()), name_of);

}  // namespace
}  // namespace baichuan
