// The divided path over NCCL with one rank, on a GPU: the run of the plain path, and a run that stops and goes on.
#include <csignal>

#include <gtest/gtest.h>

#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/HashStore.hpp>
#include <torch/torch.h>

#include "distributed/c10d_group.h"
#include "distributed/nccl_backend.h"
#include "kernels/device.h"
#include "tests/train/tiny_run.h"
#include "train/checkpoint_store.h"

namespace baichuan {
namespace {

constexpr std::chrono::seconds kTimeout(60);
// Of a weight's largest element: sums over tokens are made in any order on a GPU, and AdamW's first steps turn a
// difference of sign in a tiny gradient into one of the whole rate.
constexpr double kTolerance = 2e-2;

struct Case {
  std::int64_t stage;
  bool full;
};

class Nccl : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    const std::string problem = cuda_problem(probe_cuda());
    if (!problem.empty()) GTEST_SKIP() << "needs a CUDA device: " << problem;
    load_cuda();
    write_tiny_model(directory_.path() / "model");
    write_tiny_rows(directory_.path() / "rows.json", 31);
    const auto store = c10::make_intrusive<c10d::HashStore>();
    const auto backend = make_nccl_backend(store, 0, 1, at::Device(at::kCUDA, 0), kTimeout);
    group_ = make_c10d_group(backend, store, {.timeout = kTimeout});
  }

  TinyRun run_into(const std::string& name, bool divided) {
    TinyRun run = tiny_run(directory_.path(), name);
    run.device = at::Device(at::kCUDA, 0);
    run.full = GetParam().full;
    run.compute = run.full ? at::kBFloat16 : at::kFloat;
    run.data.val_size = 4;
    run.sharded = divided;
    run.stage = GetParam().stage;
    if (divided) run.group = group_.get();
    auto& t = run.trainer;
    t.deterministic_reduce = divided;
    t.optimization.learning_rate = 1e-3;
    t.optimization.per_device_train_batch_size = 2;
    t.optimization.gradient_accumulation_steps = 2;
    t.optimization.num_train_epochs = 1;
    t.logging.save_steps = 2;
    t.logging.logging_steps = 1;
    return run;
  }

  static void expect_close(const TinyResult& a, const TinyResult& b) {
    ASSERT_EQ(a.weights.size(), b.weights.size());
    for (const auto& [name, weight] : a.weights) {
      const at::Tensor other = b.weights.at(name).to(at::kFloat);
      const double scale = std::max(weight.to(at::kFloat).abs().max().item<double>(), 1e-3);
      EXPECT_LE((weight.to(at::kFloat) - other).abs().max().item<double>(), kTolerance * scale) << name;
    }
  }

  TemporaryDirectory directory_;
  std::unique_ptr<ProcessGroup> group_;
};

TEST_P(Nccl, OneRankTrainsAsThePlainPath) {
  const TinyResult plain = train(run_into("plain", false));
  const TinyResult divided = train(run_into("divided", true));
  ASSERT_EQ(plain.micro_losses.size(), divided.micro_losses.size());
  EXPECT_NEAR(plain.micro_losses.front(), divided.micro_losses.front(), 1e-5);
  for (std::size_t i = 0; i < plain.micro_losses.size(); ++i)
    EXPECT_NEAR(plain.micro_losses[i], divided.micro_losses[i], 2e-2) << "micro-batch " << i;
  expect_close(plain, divided);
}

TEST_P(Nccl, AStoppedRunGoesOnFromItsCheckpoint) {
  const TinyResult whole = train(run_into("whole", true));
  TinyRun first = run_into("stopped", true);
  first.interrupt = [](std::int64_t asked) { return asked >= 6 ? SIGTERM : 0; };
  ASSERT_EQ(train(first).signal, SIGTERM);
  ASSERT_FALSE(list_checkpoints(first.trainer.logging.output_dir).empty());
  TinyRun second = run_into("stopped", true);
  second.trainer.logging.resume_from_checkpoint = "latest";
  expect_close(whole, train(second));
}

INSTANTIATE_TEST_SUITE_P(
    Stages, Nccl, testing::Values(Case{0, false}, Case{0, true}, Case{1, true}, Case{2, true}), [](const auto& tested) {
      return std::string(tested.param.full ? "Full" : "Lora") + "Stage" + std::to_string(tested.param.stage);
    });

}  // namespace
}  // namespace baichuan
