#include "distributed/sharded_parameters.h"

#include <algorithm>

#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>
#include <torch/torch.h>

namespace baichuan {

struct ShardedParameters::Unit {
  ParameterUnit parameters;
  UnitLayout layout;
  at::Tensor values;     // [padded] compute type; the parameters are views of it
  at::Tensor masters;    // [shard] float32, or [padded] in stage 0; part of `values` where that is float32
  at::Tensor gradients;  // [shard] float32, or [padded] in stage 0: sums over ranks
  // [padded] float32: this rank's sum over micro-batches, to which autograd adds; only where it is reduced once a step.
  // Of one rank alone it is `gradients`, for there is nothing to reduce.
  at::Tensor local;
  at::Tensor shard_gradients;  // [shard], a view of `gradients`

  std::vector<bool> has_gradient;
  std::size_t missing = 0;
  WireBuffer* wire = nullptr;
  std::unique_ptr<PendingCollective> gathering;
};

// [largest padded unit], the type that gradients travel in; kept, as large blocks that come and go are slow and tear
// the heap.
struct ShardedParameters::WireBuffer {
  at::Tensor memory;
  at::Tensor arriving;
  std::unique_ptr<PendingCollective> travelling;
};

class ShardedParameters::ReadyHook : public torch::autograd::PostAccumulateGradHook {
 public:
  ReadyHook(ShardedParameters& owner, std::size_t unit, std::size_t parameter)
      : owner_(owner), unit_(unit), parameter_(parameter) {}
  void operator()(const torch::autograd::Variable&) override { owner_.on_gradient(unit_, parameter_); }

 private:
  ShardedParameters& owner_;
  std::size_t unit_;
  std::size_t parameter_;
};

ShardedParameters::ShardedParameters(std::vector<ParameterUnit> units,
                                     ProcessGroup& group,
                                     const ShardingOptions& options)
    : group_(group), options_(options) {
  const torch::NoGradGuard no_grad;
  for (auto& unit : units) add_unit(std::move(unit));
  for (std::int64_t i = 0; i < kWireBuffers && !group_.is_solo(); ++i) add_wire_buffer();
}

void ShardedParameters::add_unit(ParameterUnit given) {
  auto unit = std::make_unique<Unit>();
  std::vector<std::int64_t> counts;
  for (const auto& [name, parameter] : given.parameters) counts.push_back(parameter.numel());
  unit->layout = lay_out_unit(counts, group_.size());
  unit->values = at::zeros({unit->layout.padded}, given.parameters.front().second.options().requires_grad(false));
  for (std::size_t i = 0; i < given.parameters.size(); ++i) {
    at::Tensor& parameter = given.parameters[i].second;
    TORCH_INTERNAL_ASSERT(parameter.scalar_type() == unit->values.scalar_type(), "a unit has one dtype");
    const auto place = unit->values.narrow(0, unit->layout.begin[i], unit->layout.count[i]).view(parameter.sizes());
    place.copy_(parameter);
    parameter.set_data(place);
    torch::autograd::impl::set_post_acc_grad_hooks(parameter, std::make_unique<ReadyHook>(*this, units_.size(), i));
  }
  unit->parameters = std::move(given);
  add_slices(*unit);
  units_.push_back(std::move(unit));
}

ShardedParameters::~ShardedParameters() {
  for (const auto& unit : units_)
    for (const auto& [name, parameter] : unit->parameters.parameters)
      torch::autograd::impl::post_acc_grad_hooks(parameter).reset();
}

const ParameterUnit& ShardedParameters::unit(std::size_t i) const {
  return units_[i]->parameters;
}

void ShardedParameters::add_slices(Unit& unit) {
  const UnitLayout& layout = unit.layout;
  const bool replicated = options_.stage == 0;
  const std::int64_t shard = layout.shard_elements();
  const std::int64_t begin = replicated ? 0 : group_.rank() * shard;
  const std::int64_t length = replicated ? layout.padded : shard;
  const at::Tensor own = unit.values.narrow(0, begin, length);
  unit.masters = own.scalar_type() == at::kFloat ? own : own.to(at::kFloat);
  unit.gradients = at::zeros({length}, own.options().dtype(at::kFloat));
  unit.shard_gradients = replicated ? unit.gradients.narrow(0, group_.rank() * shard, shard) : unit.gradients;
  if (group_.is_solo())
    unit.local = unit.gradients;
  else if (!options_.every_micro_batch && options_.stage < 2)
    unit.local = at::zeros({layout.padded}, own.options().dtype(at::kFloat));

  const auto saved = slices_of(layout, group_.rank());
  std::vector<SlicePlace> places = saved;
  if (replicated) {
    places.clear();
    for (std::size_t i = 0; i < layout.begin.size(); ++i) places.push_back({i, 0, layout.begin[i], layout.count[i]});
  }
  for (const auto& place : places) {
    const auto& [name, parameter] = unit.parameters.parameters[place.parameter];
    const auto part = [&place](const at::Tensor& all) { return all.narrow(0, place.in_shard, place.count); };
    ParameterSlice slice{
        name, parameter.sizes().vec(), place.first, part(own), part(unit.masters), part(unit.gradients), 0, 0};
    for (const auto& share : saved)
      if (share.parameter == place.parameter) slice.saved_first = share.first, slice.saved_count = share.count;
    slices_.push_back(std::move(slice));
  }
}

void ShardedParameters::zero_gradients() {
  for (const auto& unit : units_) {
    unit->gradients.zero_();
    if (unit->local.defined() && !unit->local.is_same(unit->gradients)) unit->local.zero_();
    for (std::size_t i = 0; i < unit->parameters.parameters.size(); ++i) {
      const at::Tensor& parameter = unit->parameters.parameters[i].second;
      parameter.mutable_grad().reset();
      // Where gradients are reduced once a step, autograd adds micro-batches up in float32.
      if (unit->local.defined())
        parameter.mutable_grad() =
            unit->local.narrow(0, unit->layout.begin[i], unit->layout.count[i]).view(parameter.sizes());
    }
  }
}

void ShardedParameters::begin_micro_batch(const MicroBatch& micro_batch) {
  micro_batch_ = micro_batch;
  in_micro_batch_ = true;
  to_launch_ = units_.size();
  for (const auto& unit : units_) {
    unit->has_gradient.assign(unit->parameters.parameters.size(), false);
    unit->missing = unit->parameters.parameters.size();
  }
}

// The gradient of one parameter is complete for this micro-batch.
void ShardedParameters::on_gradient(std::size_t index, std::size_t parameter) {
  Unit& unit = *units_[index];
  if (!in_micro_batch_ || !reduces_now()) return;
  if (!unit.local.defined()) {
    const at::Tensor& leaf = unit.parameters.parameters[parameter].second;
    const at::Tensor& wire = wire_buffer_for(unit).memory;
    wire.narrow(0, unit.layout.begin[parameter], unit.layout.count[parameter]).view(leaf.sizes()).copy_(leaf.grad());
    leaf.mutable_grad().reset();
  }
  unit.has_gradient[parameter] = true;
  if (--unit.missing == 0) launch_ready();
}

ShardedParameters::WireBuffer& ShardedParameters::add_wire_buffer() {
  WireBuffer& wire = wires_.emplace_back();
  const at::Tensor& values = units_.front()->values;
  wire.memory =
      at::empty({largest_unit_elements()}, values.options().dtype(options_.wire_type.value_or(values.scalar_type())));
  wire.arriving = at::empty_like(wire.memory);
  return wire;
}

ShardedParameters::WireBuffer& ShardedParameters::wire_buffer_for(Unit& unit) {
  if (unit.wire != nullptr) return *unit.wire;
  const auto held = [this](const WireBuffer& wire) {
    return std::any_of(units_.begin(), units_.end(), [&](const auto& other) { return other->wire == &wire; });
  };
  WireBuffer* wire = nullptr;
  for (std::size_t i = 0; i < wires_.size() && wire == nullptr; ++i)
    if (WireBuffer& next = wires_[(next_wire_ + i) % wires_.size()]; !held(next)) wire = &next;
  // More are made only where the backward pass jumps between units.
  if (wire == nullptr) wire = &add_wire_buffer();
  ++next_wire_;
  if (wire->travelling) wire->travelling->wait();
  wire->travelling.reset();
  unit.wire = wire;
  return *wire;
}

// Units go in the order of the backward pass, the same on every rank whatever the order of the hooks.
void ShardedParameters::launch_ready() {
  while (to_launch_ > 0 && units_[to_launch_ - 1]->missing == 0) launch(*units_[--to_launch_]);
}

void ShardedParameters::launch(Unit& unit) {
  const at::NoGradGuard no_grad;
  WireBuffer& wire = wire_buffer_for(unit);
  const at::Tensor parts = wire.memory.narrow(0, 0, unit.layout.padded);
  if (unit.local.defined()) {
    parts.copy_(unit.local);
  } else {
    for (std::size_t i = 0; i < unit.has_gradient.size(); ++i)
      if (!unit.has_gradient[i]) parts.narrow(0, unit.layout.begin[i], unit.layout.count[i]).zero_();
    parts.narrow(0, unit.layout.elements, unit.layout.padded - unit.layout.elements).zero_();
  }
  const std::int64_t contributors = unit.local.defined() ? group_.size() : micro_batch_.contributors;
  const at::Tensor arriving = wire.arriving.narrow(0, 0, unit.layout.padded);
  wire.travelling = group_.reduce_scatter_add(parts, arriving, unit.shard_gradients, contributors);
  unit.wire = nullptr;
}

void ShardedParameters::end_micro_batch() {
  if (reduces_now()) {
    for (const auto& unit : units_) unit->missing = 0;
    launch_ready();
  }
  in_micro_batch_ = false;
}

void ShardedParameters::finish_gradients() {
  for (auto& wire : wires_) {
    if (wire.travelling) wire.travelling->wait();
    wire.travelling.reset();
  }
  if (options_.stage != 0) return;
  for (const auto& unit : units_) group_.all_gather(unit->gradients)->wait();
}

void ShardedParameters::publish() {
  if (options_.stage == 0) return;  // every rank has made the same update
  wait_for_all();                   // a rank without a forward pass since then has not waited yet
  for (const auto& unit : units_) unit->gathering = group_.all_gather(unit->values);
}

void ShardedParameters::wait_for(std::size_t unit) {
  auto& gathering = units_[unit]->gathering;
  if (gathering) gathering->wait();
  gathering.reset();
}

void ShardedParameters::wait_for_all() {
  for (std::size_t i = 0; i < units_.size(); ++i) wait_for(i);
}

at::Tensor ShardedParameters::squared_sums_by_block() const {
  std::vector<at::Tensor> sums;
  for (const auto& unit : units_) {
    const at::Tensor blocks = unit->shard_gradients.view({-1, kShardBlock});
    sums.push_back(at::linalg_vector_norm(blocks, 2, {1}, false, at::kDouble).square_().cpu());
  }
  return at::cat(sums);
}

double ShardedParameters::sum_in_order(const at::Tensor& blocks_of_ranks) const {
  const auto blocks = blocks_of_ranks.accessor<double, 2>();
  double sum = 0;
  std::int64_t first = 0;
  for (const auto& unit : units_) {
    const std::int64_t count = unit->layout.shard_elements() / kShardBlock;
    for (std::int64_t r = 0; r < blocks.size(0); ++r)
      for (std::int64_t b = first; b < first + count; ++b) sum += blocks[r][b];
    first += count;
  }
  return sum;
}

std::int64_t ShardedParameters::largest_unit_elements() const {
  std::int64_t largest = 0;
  for (const auto& unit : units_) largest = std::max(largest, unit->layout.padded);
  return largest;
}

std::int64_t ShardedParameters::elements() const {
  std::int64_t elements = 0;
  for (const auto& unit : units_) elements += unit->layout.elements;
  return elements;
}

std::vector<at::Tensor> ShardedParameters::gather_masters(std::size_t index) {
  const at::NoGradGuard no_grad;
  Unit& unit = *units_[index];
  wait_for(index);
  at::Tensor all = unit.masters;
  if (options_.stage != 0 && unit.values.scalar_type() == at::kFloat) {
    all = unit.values;
  } else if (options_.stage != 0) {
    all = at::empty({unit.layout.padded}, unit.masters.options());
    all.narrow(0, group_.rank() * unit.layout.shard_elements(), unit.layout.shard_elements()).copy_(unit.masters);
    group_.all_gather(all)->wait();
  }
  std::vector<at::Tensor> whole;
  for (std::size_t i = 0; i < unit.layout.begin.size(); ++i)
    whole.push_back(
        all.narrow(0, unit.layout.begin[i], unit.layout.count[i]).view(unit.parameters.parameters[i].second.sizes()));
  return whole;
}

}  // namespace baichuan
