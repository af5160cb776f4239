// Any number of ranks gives the training run of one.
#include <mutex>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <torch/torch.h>

#include "core/error.h"
#include "core/files.h"
#include "distributed/process_group.h"
#include "io/checkpoint_reader.h"
#include "tests/distributed/rank_threads.h"
#include "tests/train/tiny_run.h"
#include "train/checkpoint_store.h"

namespace baichuan {
namespace {

// Ranks add the same numbers in another order.
constexpr double kRelativeTolerance = 1e-5;

class Ranks : public testing::Test {
 protected:
  void SetUp() override {
    write_tiny_model(directory_.path() / "model");
    write_tiny_rows(directory_.path() / "rows.json", 31);
  }

  // A step is of `micro_batches` micro-batches over all ranks.
  TinyRun run_into(const std::string& name, std::int64_t ranks, std::int64_t micro_batches) {
    TinyRun run = tiny_run(directory_.path(), name);
    run.data.val_size = 4;
    run.lora.lora_dropout = 0.1;
    run.sharded = true;
    auto& t = run.trainer;
    t.deterministic_reduce = true;
    t.max_grad_norm = 0.5;
    t.optimization.learning_rate = 1e-2;
    t.optimization.lr_scheduler_type = "cosine";
    t.optimization.per_device_train_batch_size = 2;
    t.optimization.gradient_accumulation_steps = micro_batches / ranks;
    t.optimization.num_train_epochs = 2;
    t.logging.evaluation_strategy = "steps";
    t.logging.eval_steps = 2;
    t.logging.save_steps = 2;
    t.logging.logging_steps = 1;
    t.resolved_options = {{"gradient_accumulation_steps", micro_batches / ranks}};
    return run;
  }

  static TinyResult train_with(std::int64_t ranks, const TinyRun& run) {
    TinyResult first;
    run_ranks(ranks, [&](ProcessGroup& group) {
      TinyRun mine = run;
      mine.group = &group;
      TinyResult result = train(mine);
      if (group.rank() == 0) first = std::move(result);
    });
    return first;
  }

  static void expect_same_bits(const TinyResult& a, const TinyResult& b, const std::string& what) {
    EXPECT_EQ(a.micro_losses, b.micro_losses) << what;
    EXPECT_EQ(a.norms, b.norms) << what;
    EXPECT_EQ(a.rates, b.rates) << what;
    EXPECT_EQ(a.eval_losses, b.eval_losses) << what;
    for (const auto& [name, tensor] : a.weights) EXPECT_TRUE(torch::equal(tensor, b.weights.at(name))) << name << what;
  }

  TemporaryDirectory directory_;
};

TEST_F(Ranks, AddingInOneOrderTheyGiveTheSameBitsInEveryStage) {
  const auto alone = train_with(1, run_into("alone", 1, 4));
  for (const std::int64_t ranks : {2, 4}) {
    for (const std::int64_t stage : {0, 1, 2}) {
      TinyRun run = run_into(fmt::format("ranks{}stage{}", ranks, stage), ranks, 4);
      run.stage = stage;
      expect_same_bits(alone, train_with(ranks, run), fmt::format(" with {} ranks in stage {}", ranks, stage));
    }
  }
}

TEST_F(Ranks, OneThatExchangesWithItselfGivesTheSameBits) {
  const auto alone = train_with(1, run_into("alone", 1, 4));
  for (const std::int64_t stage : {0, 1, 2}) {
    run_alone_with_backend([&](ProcessGroup& group) {
      TinyRun run = run_into(fmt::format("stage{}", stage), 1, 4);
      run.stage = stage;
      run.group = &group;
      expect_same_bits(alone, train(run), fmt::format(" in stage {}", stage));
    });
  }
}

TEST_F(Ranks, FullTrainingInBf16GivesTheSameBits) {
  const auto full = [this](const std::string& name, std::int64_t ranks) {
    TinyRun run = run_into(name, ranks, 4);
    run.full = true;
    run.compute = at::kBFloat16;
    return run;
  };
  const auto alone = train_with(1, full("alone", 1));
  for (const std::int64_t ranks : {2, 4})
    expect_same_bits(alone, train_with(ranks, full(fmt::format("ranks{}", ranks), ranks)), fmt::format(" {}", ranks));
}

TEST_F(Ranks, TheShardedPathOfOneRankIsThePlainOne) {
  TinyRun plain = run_into("plain", 1, 4);
  plain.sharded = false;
  plain.trainer.deterministic_reduce = false;
  const auto a = train(plain);
  const auto b = train(run_into("sharded", 1, 4));
  EXPECT_EQ(a.micro_losses.front(), b.micro_losses.front());
  for (std::size_t i = 0; i < a.micro_losses.size(); ++i)
    EXPECT_NEAR(b.micro_losses[i] / a.micro_losses[i], 1, kRelativeTolerance) << "micro-batch " << i;
}

TEST_F(Ranks, OverFiftyStepsTheyStayTogetherInFloat32) {
  const auto fifty = [this](const std::string& name, std::int64_t ranks) {
    TinyRun run = run_into(name, ranks, 4);
    run.full = true;
    run.trainer.deterministic_reduce = false;
    run.trainer.optimization.learning_rate = 1e-3;
    run.trainer.optimization.max_steps = 50;
    run.trainer.logging.save_steps = 50;
    run.trainer.logging.eval_steps = 25;
    return run;
  };
  TinyRun plain = fifty("plain", 1);
  plain.sharded = false;
  const auto alone = train(plain);
  for (const std::int64_t ranks : {2, 4}) {
    for (const std::int64_t stage : {0, 1, 2}) {
      TinyRun run = fifty(fmt::format("ranks{}stage{}", ranks, stage), ranks);
      run.stage = stage;
      const auto together = train_with(ranks, run);
      ASSERT_EQ(alone.micro_losses.size(), together.micro_losses.size());
      for (std::size_t i = 0; i < alone.micro_losses.size(); ++i)
        EXPECT_NEAR(together.micro_losses[i] / alone.micro_losses[i], 1, kRelativeTolerance)
            << ranks << " ranks, stage " << stage << ", micro-batch " << i;
    }
  }
}

TEST_F(Ranks, AnyNumberOfThemLoadsWhatFourHaveSaved) {
  for (const bool full : {false, true}) {
    const auto whole_run = [&, this](const std::string& name, std::int64_t ranks) {
      TinyRun run = run_into(name, ranks, 4);
      run.full = full;
      if (full) run.compute = at::kBFloat16;
      return run;
    };
    const std::string kind = full ? "full" : "lora";
    const auto whole = train_with(4, whole_run(kind + "_whole", 4));
    TinyRun first = whole_run(kind + "_stopped", 4);
    first.interrupt = [](std::int64_t asked) { return asked >= 3 ? 15 : 0; };
    ASSERT_EQ(train_with(4, first).signal, 15);
    const auto checkpoints = list_checkpoints(first.trainer.logging.output_dir);
    ASSERT_FALSE(checkpoints.empty());
    for (const std::int64_t ranks : {1, 2, 3, 4}) {
      const std::string name = fmt::format("{}_at_{}", kind, ranks);
      TinyRun second = whole_run(name, ranks);
      // 3 does not divide 4: its last round has one micro-batch.
      second.trainer.optimization.gradient_accumulation_steps = ranks == 3 ? 1 : 4 / ranks;
      second.trainer.resolved_options = {
          {"gradient_accumulation_steps", second.trainer.optimization.gradient_accumulation_steps}};
      second.trainer.logging.resume_from_checkpoint = checkpoints.back().directory.string();
      const auto resumed = train_with(ranks, second);
      for (const auto& [weight, tensor] : whole.weights)
        EXPECT_TRUE(torch::equal(tensor, resumed.weights.at(weight))) << weight << " " << name;
      EXPECT_EQ(whole.eval_losses.back(), resumed.eval_losses.back()) << name;
    }
  }
}

TEST_F(Ranks, AllOfThemStopAtTheSameStepWhenOneIsAsked) {
  std::mutex mutex;
  std::vector<int> signals;
  run_ranks(3, [&](ProcessGroup& group) {
    TinyRun run = run_into("stopped", 3, 3);
    run.group = &group;
    if (group.rank() == 1) run.interrupt = [](std::int64_t asked) { return asked >= 2 ? 15 : 0; };
    const TinyResult result = train(run);
    const std::lock_guard lock(mutex);
    signals.push_back(result.signal);
  });
  EXPECT_EQ(signals, (std::vector<int>{15, 15, 15}));
  EXPECT_EQ(list_checkpoints(directory_.path() / "stopped").size(), 2u);
}

// Files of weights are divided among the ranks: together they are what one rank writes.
TEST_F(Ranks, WriteTheWeightsOfACheckpointTogether) {
  for (const at::ScalarType compute : {at::kFloat, at::kBFloat16}) {
    const auto run_of = [&](const std::string& name, std::int64_t ranks) {
      TinyRun run = run_into(name + c10::toString(compute), ranks, 6);
      run.full = true;
      run.compute = compute;
      run.max_shard_bytes = 60'000;
      run.trainer.optimization.max_steps = 2;
      return run;
    };
    const TinyRun alone = run_of("alone", 1);
    train_with(1, alone);
    const TinyRun together = run_of("together", 3);
    train_with(3, together);
    const auto directory_of = [](const TinyRun& run) {
      return std::filesystem::path(run.trainer.logging.output_dir) / "checkpoint-2";
    };
    EXPECT_TRUE(std::filesystem::exists(directory_of(together) / "model.safetensors.index.json"));
    const auto expected = CheckpointReader::open(directory_of(alone));
    const auto found = CheckpointReader::open(directory_of(together));
    EXPECT_GE(found.files().size(), 3u);
    EXPECT_EQ(found.files().size(), expected.files().size());
    ASSERT_EQ(found.tensors().size(), expected.tensors().size());
    for (const auto& spec : expected.tensors())
      EXPECT_TRUE(torch::equal(found.read(spec.name), expected.read(spec.name))) << spec.name;
    for (const auto& file : expected.files())
      EXPECT_EQ(read_file(file), read_file(directory_of(together) / file.filename())) << file;
  }
}

// Machines with disks of their own: as many ranks go on from what each disk holds; where the files are brought
// together, any number does.
TEST_F(Ranks, GoOnFromCheckpointsOnSeveralDisks) {
  const auto run_of = [&](const std::string& name, std::int64_t ranks) {
    TinyRun run = run_into(name, ranks, 4);
    run.full = true;
    run.compute = at::kBFloat16;
    return run;
  };
  const auto train_on_two_disks = [&](TinyRun run, bool resumed) {
    TinyResult first;
    const std::filesystem::path output = run.trainer.logging.output_dir;
    run_ranks(4, [&](ProcessGroup& group) {
      TinyRun mine = run;
      mine.group = &group;
      const auto disk = output / (group.rank() < 2 ? "a" : "b");
      mine.trainer.logging.output_dir = disk.string();
      if (resumed) {
        mine.trainer.logging.resume_from_checkpoint = list_checkpoints(disk).back().directory.string();
        mine.trainer.resumed_is_verified = true;
      }
      TinyResult result = train(mine);
      if (group.rank() == 0) first = std::move(result);
    });
    return first;
  };
  const auto whole = train_with(1, run_of("whole", 1));
  TinyRun stopped = run_of("stopped", 4);
  stopped.interrupt = [](std::int64_t asked) { return asked >= 3 ? 15 : 0; };
  ASSERT_EQ(train_on_two_disks(stopped, false).signal, 15);
  const auto resumed = train_on_two_disks(run_of("stopped", 4), true);
  for (const auto& [name, tensor] : whole.weights) EXPECT_TRUE(torch::equal(tensor, resumed.weights.at(name))) << name;

  const std::filesystem::path output = stopped.trainer.logging.output_dir;
  TinyRun one = run_of("one", 1);
  one.trainer.logging.resume_from_checkpoint = (output / "a/checkpoint-4").string();
  try {
    train_with(1, one);
    FAIL() << "nothing was thrown";
  } catch (const CheckpointError& error) {
    EXPECT_NE(std::string(error.what()).find("copy their optimizer-*.safetensors into one directory"),
              std::string::npos);
  }
  for (const auto& entry : std::filesystem::directory_iterator(output / "b/checkpoint-4"))
    if (entry.path().filename().string().starts_with("optimizer-"))
      std::filesystem::copy(entry.path(), output / "a/checkpoint-4");
  const auto alone = train_with(1, one);
  for (const auto& [name, tensor] : whole.weights) EXPECT_TRUE(torch::equal(tensor, alone.weights.at(name))) << name;
}

TEST_F(Ranks, AStepOfAnotherSizeCannotGoOn) {
  TinyRun first = run_into("out", 2, 4);
  first.interrupt = [](std::int64_t asked) { return asked >= 3 ? 15 : 0; };
  train_with(2, first);
  TinyRun second = run_into("out", 2, 6);
  second.trainer.logging.resume_from_checkpoint = "latest";
  try {
    train_with(2, second);
    FAIL() << "nothing was thrown";
  } catch (const CheckpointError& error) {
    EXPECT_NE(std::string(error.what()).find("a step had 4 micro-batches over all ranks, and would have 6"),
              std::string::npos)
        << error.what();
  }
}

}  // namespace
}  // namespace baichuan
