// Trained parameters whose gradients and float32 state are divided among the ranks (ZeRO, Rajbhandari et al. 2020).
//
//   stage 0   every rank holds all gradients and all state: data parallel training
//   stage 1   state is divided; gradients are accumulated in full and reduced once a step
//   stage 2   gradients are divided too: reduced after every micro-batch, while its backward pass goes on
//
// The weights that the model computes with are whole on every rank, in the compute type; the parameters become views
// of one flat tensor a unit. A step:
//
//   parameters.zero_gradients();
//   for (each micro-batch) {
//     parameters.begin_micro_batch({.contributors = n, .last = …});
//     … backward …
//     parameters.end_micro_batch();
//   }
//   parameters.finish_gradients();   // slices()[i].gradient holds the sums over all ranks and micro-batches
//   … update slices()[i].master, copy it into slices()[i].value …
//   parameters.publish();            // everybody's values travel, in forward order, while the next forward pass begins
//
// Gradients travel in the type that the model computes in, unless told otherwise, and are added in float32, in the
// order micro-batch, rank. Of one rank nothing travels: autograd adds straight to its gradients.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

#include "distributed/process_group.h"
#include "distributed/shard_layout.h"

namespace baichuan {

// Parameters whose gradients are ready at about the same time, in forward order of the model. All of one dtype.
struct ParameterUnit {
  std::string name;
  std::vector<std::pair<std::string, at::Tensor>> parameters;  // checkpoint name, leaf
};

struct ShardingOptions {
  std::int64_t stage = 2;
  // Reduce after every micro-batch in every stage, so that all stages and all numbers of ranks add in one order.
  bool every_micro_batch = true;
  std::optional<at::ScalarType> wire_type;  // what gradients travel in; unset: the type of the parameters
};

// What this rank updates: a run of elements of one parameter (all of it in stage 0). The tensors are flat views of this
// rank's shard.
struct ParameterSlice {
  std::string name;
  std::vector<std::int64_t> shape;  // of the whole parameter
  std::int64_t first = 0;           // element of the parameter
  at::Tensor value;                 // compute type
  at::Tensor master;                // float32; the same memory as `value` where that is float32
  at::Tensor gradient;              // float32
  // Of the elements, those that this rank saves: its share where the state is replicated.
  std::int64_t saved_first = 0;
  std::int64_t saved_count = 0;
};

class ShardedParameters {
 public:
  // Takes the present values. The group and the parameters' owner must outlive the object.
  ShardedParameters(std::vector<ParameterUnit> units, ProcessGroup& group, const ShardingOptions& options);
  ~ShardedParameters();
  ShardedParameters(const ShardedParameters&) = delete;
  ShardedParameters& operator=(const ShardedParameters&) = delete;

  const std::vector<ParameterSlice>& slices() const { return slices_; }

  struct MicroBatch {
    std::int64_t contributors = 1;  // the first so many ranks have a micro-batch; the others only take part
    bool last = true;               // of the step
  };
  void zero_gradients();
  void begin_micro_batch(const MicroBatch& micro_batch);
  // After the backward pass, or without one: what has no gradient counts as zero.
  void end_micro_batch();
  void finish_gradients();

  void publish();
  // Before unit `unit` (by its place in the list) is computed with.
  void wait_for(std::size_t unit);
  void wait_for_all();

  std::int64_t largest_unit_elements() const;  // with its padding: what is reduced or gathered at a time

  // One float64 sum of squares for each block of kShardBlock elements of this rank's gradients, in the order of the
  // units; all ranks have the same number of blocks. In stage 0, the blocks of this rank's share.
  at::Tensor squared_sums_by_block() const;
  // The sum of everybody's [ranks, blocks], in the order of the units and, in each, of its elements: the same bits for
  // any number of ranks.
  double sum_in_order(const at::Tensor& blocks_of_ranks) const;

  // The whole parameters of a unit in float32, from everybody's masters; a collective.
  std::vector<at::Tensor> gather_masters(std::size_t unit);
  std::size_t unit_count() const { return units_.size(); }
  std::int64_t elements() const;  // of all parameters
  const ParameterUnit& unit(std::size_t i) const;

 private:
  struct Unit;
  class ReadyHook;
  struct WireBuffer;

  void add_unit(ParameterUnit given);
  void add_slices(Unit& unit);
  void on_gradient(std::size_t unit, std::size_t parameter);
  void launch_ready();
  void launch(Unit& unit);
  WireBuffer& add_wire_buffer();
  WireBuffer& wire_buffer_for(Unit& unit);
  bool reduces_now() const {
    return !group_.is_solo() && (options_.every_micro_batch || options_.stage == 2 || micro_batch_.last);
  }

  ProcessGroup& group_;
  ShardingOptions options_;
  std::vector<std::unique_ptr<Unit>> units_;
  std::vector<ParameterSlice> slices_;
  std::deque<WireBuffer> wires_;
  std::size_t next_wire_ = 0;
  MicroBatch micro_batch_;
  bool in_micro_batch_ = false;
  std::size_t to_launch_ = 0;  // units with a smaller index have not been launched in this micro-batch
};

}  // namespace baichuan
