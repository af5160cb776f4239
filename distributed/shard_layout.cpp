#include "distributed/shard_layout.h"

#include <algorithm>

namespace baichuan {

UnitLayout lay_out_unit(std::span<const std::int64_t> counts, std::int64_t ranks) {
  UnitLayout layout;
  layout.ranks = ranks;
  for (const std::int64_t count : counts) {
    layout.begin.push_back(layout.elements);
    layout.count.push_back(count);
    layout.elements += count;
  }
  const std::int64_t multiple = ranks * kShardBlock;
  layout.padded = std::max<std::int64_t>(1, (layout.elements + multiple - 1) / multiple) * multiple;
  return layout;
}

std::vector<SlicePlace> slices_of(const UnitLayout& layout, std::int64_t rank) {
  const std::int64_t shard_begin = rank * layout.shard_elements();
  const std::int64_t shard_end = shard_begin + layout.shard_elements();
  std::vector<SlicePlace> slices;
  for (std::size_t i = 0; i < layout.begin.size(); ++i) {
    const std::int64_t begin = std::max(layout.begin[i], shard_begin);
    const std::int64_t end = std::min(layout.begin[i] + layout.count[i], shard_end);
    if (begin < end) slices.push_back({i, begin - layout.begin[i], begin - shard_begin, end - begin});
  }
  return slices;
}

}  // namespace baichuan
