// Root mean square normalisation, as Baichuan's checkpoints define it:
//   y[n, d] = weight[d] * round(x[n, d] / sqrt(mean over d of x[n]^2 + eps))
// The mean and the quotient are computed in float32; the quotient is rounded to the weight's dtype before the
// product, and the product once more.
#pragma once

#include <ATen/core/Tensor.h>

namespace baichuan {

// x [..., D], weight [D] -> [..., D] in the weight's dtype. Differentiable in both; keeps x and one float32 a row.
// The sum over rows of the weight's gradient is in float32 and does not depend on the number of threads.
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps);

// The same in plain ATen operations, for any dtype and device.
at::Tensor rms_norm_reference(const at::Tensor& x, const at::Tensor& weight, double eps);

}  // namespace baichuan
