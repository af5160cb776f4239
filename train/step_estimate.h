// How long a training step takes, estimated from operations, bytes and a device's speed.
#pragma once

#include <cstdint>

#include "train/accelerators.h"
#include "train/run_shape.h"

namespace baichuan {

// The rows of an average micro-batch.
struct RowStatistics {
  double mean_tokens = 0;         // of a row
  double mean_padded_tokens = 0;  // of a row of a micro-batch, padding included
  double labelled_share = 1;      // of the padded tokens
};

// Floating-point operations of one padded token of a row of `length` tokens: 2 for each weight of a product, thrice
// with the backward pass (twice where weights are frozen), once more where a layer is recomputed; causal attention
// 2 length D a layer. The output matrix only sees labelled tokens.
double forward_operations_of_layer(const BaichuanConfig& model, double length);
double operations_per_token(const RunShape& run, const RowStatistics& rows);

struct StepEstimate {
  double compute_seconds = 0;
  double communication_seconds = 0;  // all of it, hidden behind computation or not
  double exposed_seconds = 0;        // what of it is not hidden
  double optimizer_seconds = 0;
  double step_seconds() const { return compute_seconds + exposed_seconds + optimizer_seconds; }
};

StepEstimate estimate_step(const RunShape& run, const RowStatistics& rows, const Accelerator& device);

}  // namespace baichuan
