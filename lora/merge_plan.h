// Which tensors of a base checkpoint an adapter changes, and by what; made from the headers of both.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "io/checkpoint_reader.h"

namespace baichuan {

namespace fs = std::filesystem;

// scaling * B A for one matrix, from one adapter.
struct MergeStep {
  std::string a;  // names in the adapter's file
  std::string b;
  double scaling = 0;
  std::size_t adapter = 0;  // position in MergePlan::adapters
};

class MergePlan {
 public:
  // Throws CheckpointError when an adapter does not fit the base: a matrix without its partner, a module that the base
  // lacks, a shape, a tensor that is no part of a plain LoRA adapter, a number that is not finite.
  MergePlan(const CheckpointReader& base, const std::vector<fs::path>& adapter_directories);

  bool changes(const std::string& base_tensor) const { return steps_.contains(base_tensor); }
  std::size_t size() const { return steps_.size(); }

  // Adds what all adapters say about rows [first, first + rows.size(0)) of the tensor. `rows` is float32 or float64.
  // Rows of one tensor in order, please: the matrices of the last tensor asked for are kept.
  void add_to_rows(const std::string& base_tensor, std::int64_t first, at::Tensor& rows);

 private:
  struct Loaded {
    at::Tensor a;
    at::Tensor b;
    double scaling = 0;
  };
  void add_adapter(const CheckpointReader& base, const fs::path& directory);
  void load(const std::string& base_tensor, at::ScalarType dtype);

  std::vector<CheckpointReader> adapters_;
  std::map<std::string, std::vector<MergeStep>> steps_;  // by base tensor
  std::string loaded_name_;
  std::vector<Loaded> loaded_;
};

}  // namespace baichuan
