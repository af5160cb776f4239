// Cross entropy straight from the hidden states: logits = hidden weight^T are made, used and overwritten by their own
// gradient in chunks of rows, so that [rows, vocabulary] never exists, and only for rows that have a label.
//
// Numerics: the product is in hidden's dtype (logits are rounded to it, as the model's own would be); softmax, loss
// and gradient of the logits in float32. The loss is summed in float64. The gradient of the weight is accumulated over
// chunks in float32. On CPU the result does not depend on the number of threads beyond what ATen's product does.
#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

namespace baichuan {

constexpr std::int64_t kIgnoreLabel = -100;

// Sum over rows with a label of -log softmax(weight hidden[n])[labels[n]]: a float64 scalar.
//
//   hidden   [..., D]; the caller shifts: row n predicts labels[n]
//   weight   [V, D]; of another dtype than hidden it is converted for this call, and its gradient back
//   labels   int64, shape of hidden without D; -100 marks rows without a label
//   scale    multiplies the gradients (not the returned sum), in float32 before anything is rounded to 16 bits:
//            1 / tokens times the loss scale of float16 training
//
// The gradients are computed here, not in backward (there they are only multiplied by the incoming gradient if that is
// not 1), and only those that are asked for: a frozen weight costs none. Memory: 256 MiB at most (128 in 16 bits),
// hidden's gradient, and for a weight that wants a gradient one float32 [V, D].
at::Tensor linear_cross_entropy(const at::Tensor& hidden,
                                const at::Tensor& weight,
                                const at::Tensor& labels,
                                double scale = 1.0);

// The loss of each row (float32, shape of labels; 0 without a label), without gradients: for evaluation and scoring.
at::Tensor linear_cross_entropy_rows(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& labels);

// The sum in plain ATen operations, for any dtype and device, with all logits in memory.
at::Tensor linear_cross_entropy_reference(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& labels);

}  // namespace baichuan
