// Where the elements of trained parameters lie. A unit (the embedding, a layer, the head) is one flat array: its
// parameters one after another, then padding. Of N ranks each owns one N-th of every unit, so that every reduce-scatter
// is of equal slices and ownership is balanced while the backward pass walks through the units.
// Source: Rajbhandari et al. 2020 (ZeRO), section 5; the layout by units as in PyTorch's FSDP2.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace baichuan {

// Slices begin at multiples of this many elements of the unit, for any number of ranks: norms are summed over blocks
// of this size, and give the same bits whoever owns a block.
inline constexpr std::int64_t kShardBlock = 4096;

// Units on their way to other ranks at once: one is filled by the backward pass while the other travels.
inline constexpr std::int64_t kWireBuffers = 2;

struct UnitLayout {
  std::vector<std::int64_t> begin;  // of each parameter, in elements of the unit
  std::vector<std::int64_t> count;
  std::int64_t elements = 0;  // without the padding
  std::int64_t padded = 0;    // a multiple of ranks * kShardBlock
  std::int64_t ranks = 1;

  std::int64_t shard_elements() const { return padded / ranks; }
};

// `counts`: elements of each parameter, in their order.
UnitLayout lay_out_unit(std::span<const std::int64_t> counts, std::int64_t ranks);

// The part of one parameter that lies in one rank's shard.
struct SlicePlace {
  std::size_t parameter = 0;
  std::int64_t first = 0;     // element of the parameter
  std::int64_t in_shard = 0;  // element of the shard
  std::int64_t count = 0;
};

// In the order of the shard; parameters that have nothing there are left out.
std::vector<SlicePlace> slices_of(const UnitLayout& layout, std::int64_t rank);

}  // namespace baichuan
