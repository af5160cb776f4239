// What a stored tensor is called and looks like; no data.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <c10/core/ScalarType.h>

namespace baichuan {

struct TensorSpec {
  std::string name;
  at::ScalarType dtype = at::ScalarType::Float;
  std::vector<std::int64_t> shape;

  std::int64_t numel() const;
  std::int64_t nbytes() const;
};

// Elements of a shape; empty when a size is negative or the bytes of such a tensor would not fit into int64.
std::optional<std::int64_t> checked_numel(std::span<const std::int64_t> shape);

// "[3, 4]"; "[]" for a scalar.
std::string shape_text(std::span<const std::int64_t> shape);

// The name PyTorch prints: "bfloat16", "float32", ... "unknown" for what no checkpoint holds.
std::string_view dtype_name(at::ScalarType dtype);

// safetensors' own names: "BF16", "F32", ...
std::optional<at::ScalarType> dtype_from_safetensors(std::string_view name);
std::optional<std::string_view> dtype_to_safetensors(at::ScalarType dtype);

// The storage classes of torch's pickles: "BFloat16Storage", "FloatStorage", ...
std::optional<at::ScalarType> dtype_from_storage_class(std::string_view name);
std::optional<std::string_view> dtype_to_storage_class(at::ScalarType dtype);

}  // namespace baichuan
