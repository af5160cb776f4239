// A projection with a low-rank update beside it: y = base(x) + scaling * B (A dropout(x)).
// Source: Hu et al. 2021, section 4.1.
#pragma once

#include <cstdint>
#include <memory>

#include "kernels/counter_dropout.h"
#include "model/projection.h"

namespace baichuan {

// What keys the dropout of every adapted projection of a model; set before each micro-batch.
struct DropoutKey {
  std::uint64_t seed = 0;
  std::int64_t step = 0;
  at::Tensor sample_ids;  // int64 [B]: the global sample index of each row
};

// Shared by the projections of one adapter.
struct AdapterState {
  DropoutKey key;
  bool training = false;  // dropout applies
  bool enabled = true;    // false: the base alone
};

class LoraLinear : public Projection {
 public:
  // `stream` tells this projection's dropout from the others'. lora_A [rank, in] and lora_B [out, rank] are float32,
  // uninitialised, on the device of `device`.
  LoraLinear(std::shared_ptr<Projection> base,
             std::shared_ptr<const AdapterState> state,
             std::int64_t rank,
             double scaling,
             double dropout,
             std::int64_t stream,
             at::Device device);

  // x [B, T, in] -> [B, T, out] in x's dtype.
  at::Tensor forward(const at::Tensor& x) override;
  int64_t in_features() const override { return base->in_features(); }
  int64_t out_features() const override { return base->out_features(); }
  double scaling() const { return scaling_; }

  std::shared_ptr<Projection> base;
  at::Tensor lora_A;
  at::Tensor lora_B;

 private:
  std::shared_ptr<const AdapterState> state_;
  double scaling_;
  double dropout_;
  std::int64_t stream_;
};

}  // namespace baichuan
