#include "io/tensor_spec.h"

#include <array>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace baichuan {

namespace {

struct DtypeNames {
  at::ScalarType dtype;
  std::string_view name;
  std::string_view safetensors;
  std::string_view storage_class;  // empty: torch pickles it in a way that we neither read nor write
};

constexpr std::array kDtypes{
    DtypeNames{at::ScalarType::Float, "float32", "F32", "FloatStorage"},
    DtypeNames{at::ScalarType::BFloat16, "bfloat16", "BF16", "BFloat16Storage"},
    DtypeNames{at::ScalarType::Half, "float16", "F16", "HalfStorage"},
    DtypeNames{at::ScalarType::Double, "float64", "F64", "DoubleStorage"},
    DtypeNames{at::ScalarType::Long, "int64", "I64", "LongStorage"},
    DtypeNames{at::ScalarType::Int, "int32", "I32", "IntStorage"},
    DtypeNames{at::ScalarType::Short, "int16", "I16", "ShortStorage"},
    DtypeNames{at::ScalarType::Char, "int8", "I8", "CharStorage"},
    DtypeNames{at::ScalarType::Byte, "uint8", "U8", "ByteStorage"},
    DtypeNames{at::ScalarType::Bool, "bool", "BOOL", "BoolStorage"},
    DtypeNames{at::ScalarType::UInt16, "uint16", "U16", ""},
    DtypeNames{at::ScalarType::UInt32, "uint32", "U32", ""},
    DtypeNames{at::ScalarType::UInt64, "uint64", "U64", ""},
    DtypeNames{at::ScalarType::Float8_e4m3fn, "float8_e4m3fn", "F8_E4M3", ""},
    DtypeNames{at::ScalarType::Float8_e5m2, "float8_e5m2", "F8_E5M2", ""},
};

const DtypeNames* find(at::ScalarType dtype) {
  for (const auto& row : kDtypes)
    if (row.dtype == dtype) return &row;
  return nullptr;
}

}  // namespace

std::int64_t TensorSpec::numel() const {
  std::int64_t product = 1;
  for (const std::int64_t size : shape) product *= size;
  return product;
}

std::int64_t TensorSpec::nbytes() const {
  return numel() * static_cast<std::int64_t>(c10::elementSize(dtype));
}

std::optional<std::int64_t> checked_numel(std::span<const std::int64_t> shape) {
  constexpr std::int64_t kMost = std::int64_t{1} << 58;  // 16 bytes an element still fit
  std::int64_t product = 1;
  bool empty = false;
  for (const std::int64_t size : shape) {
    if (size < 0) return std::nullopt;
    if (size == 0) {
      empty = true;
      continue;
    }
    if (product > kMost / size) return std::nullopt;
    product *= size;
  }
  return empty ? 0 : product;
}

std::string shape_text(std::span<const std::int64_t> shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

std::string_view dtype_name(at::ScalarType dtype) {
  const auto* row = find(dtype);
  return row != nullptr ? row->name : "unknown";
}

std::optional<at::ScalarType> dtype_from_safetensors(std::string_view name) {
  for (const auto& row : kDtypes)
    if (row.safetensors == name) return row.dtype;
  return std::nullopt;
}

std::optional<std::string_view> dtype_to_safetensors(at::ScalarType dtype) {
  const auto* row = find(dtype);
  return row != nullptr ? std::optional(row->safetensors) : std::nullopt;
}

std::optional<at::ScalarType> dtype_from_storage_class(std::string_view name) {
  for (const auto& row : kDtypes)
    if (!row.storage_class.empty() && row.storage_class == name) return row.dtype;
  return std::nullopt;
}

std::optional<std::string_view> dtype_to_storage_class(at::ScalarType dtype) {
  const auto* row = find(dtype);
  return row != nullptr && !row->storage_class.empty() ? std::optional(row->storage_class) : std::nullopt;
}

}  // namespace baichuan
