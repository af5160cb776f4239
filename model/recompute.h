#pragma once

#include <functional>

#include <ATen/core/Tensor.h>

namespace baichuan {

// run(x), of which the backward pass keeps x alone: everything inside is computed a second time then. Gradients of
// parameters used by `run` are the same bits as without. `run` must depend on nothing that changes in between (draws
// are counter-based). Only for backward(), not for autograd::grad(). Source: Chen et al. 2016.
at::Tensor recomputed(std::function<at::Tensor(const at::Tensor&)> run, const at::Tensor& x);

}  // namespace baichuan
