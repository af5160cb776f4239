// The recorded runs of the Python stack of 2023 in ../shared/data/golden2023: what they started from, and what a run
// that repeats one must leave.
#pragma once

#include <filesystem>

namespace baichuan {

constexpr double kLossTolerance = 2e-5;    // float32 sums in another order
constexpr double kWeightTolerance = 1e-5;  // six updates of it
// Of ten million weights a few had gradients as small as their rounding error, of which AdamW's division by the second
// moment makes a share of a whole step, another one on every kind of CPU: judged by the root of the mean square, and a
// lone one by a tenth of a step of 1e-3.
constexpr double kMeanTolerance = 1e-6;
constexpr double kLoneTolerance = 1e-4;
constexpr double kNormTolerance = 1e-3;  // torch's own float32 norm of large tensors is off by up to 3e-4

inline const std::filesystem::path kGolden = BAICHUAN_SHARED_DATA "/golden2023";

// The model directory and the adapter directory that the recorded runs started from.
void write_golden_model(const std::filesystem::path& directory);
void write_golden_adapter(const std::filesystem::path& directory);

// The files that the run left: rates as logged then (the next step's), losses, epochs, the mean at the end.
void expect_same_logs(const std::filesystem::path& output, const std::filesystem::path& recorded);
// The final weights: of an adapter all, of a full run those that were kept.
void expect_same_adapter(const std::filesystem::path& output, const std::filesystem::path& recorded);
void expect_same_weights(const std::filesystem::path& output, const std::filesystem::path& recorded);

}  // namespace baichuan
