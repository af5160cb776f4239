#include "io/safetensors_format.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <optional>
#include <set>

#include "core/error.h"
#include "core/json.h"

namespace baichuan {

namespace {

static_assert(std::endian::native == std::endian::little, "checkpoints are little-endian and are read as they are");

constexpr std::uint64_t kMostHeaderBytes = 100'000'000;  // the limit of the format itself
constexpr std::string_view kAsk = "incomplete download or corrupt file?";

struct Placed {
  StoredTensor tensor;
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
};

std::string read_header(const InputFile& file) {
  if (file.size() < 8)
    throw CheckpointError("{}: expected a safetensors file; it has {} bytes; {}", file.name(), file.size(), kAsk);
  std::uint64_t length = 0;
  file.read_at(0, &length, sizeof length);
  if (length > kMostHeaderBytes)
    throw CheckpointError("{}: expected a safetensors header of at most {} bytes; its length field says {}; {}",
                          file.name(), kMostHeaderBytes, length, kAsk);
  if (length > file.size() - 8)
    throw CheckpointError("{}: expected a safetensors header of {} bytes; the file has {} bytes; {}", file.name(),
                          length, file.size(), kAsk);
  return file.read_text(8, length);
}

// nlohmann keeps the last of two equal keys; a header with two is damaged, so they are looked for here.
Json parse_header(const InputFile& file, const std::string& text) {
  std::set<std::string> names;
  std::string twice;
  const auto watch = [&](int depth, Json::parse_event_t event, Json& parsed) {
    if (event == Json::parse_event_t::key && depth == 1 && !names.insert(parsed.get<std::string>()).second)
      twice = parsed.get<std::string>();
    return true;
  };
  Json header;
  try {
    header = Json::parse(text, watch);
  } catch (const Json::exception&) {
    throw CheckpointError("{}: expected a safetensors header in JSON; found something else; {}", file.name(), kAsk);
  }
  if (!header.is_object())
    throw CheckpointError("{}: expected a JSON object as safetensors header; found {}; {}", file.name(),
                          header.type_name(), kAsk);
  if (!twice.empty()) throw CheckpointError("{}: tensor '{}' stands twice in the header; {}", file.name(), twice, kAsk);
  return header;
}

std::optional<std::vector<std::int64_t>> whole_numbers(const Json& value) {
  if (!value.is_array()) return std::nullopt;
  std::vector<std::int64_t> numbers;
  for (const auto& item : value) {
    if (!item.is_number_unsigned() || item.get<std::uint64_t>() > (std::uint64_t{1} << 62)) return std::nullopt;
    numbers.push_back(item.get<std::int64_t>());
  }
  return numbers;
}

Placed parse_entry(const InputFile& file, const std::string& name, const Json& entry) {
  const auto field = [&](const char* key) -> const Json& {
    static const Json kNothing;
    return entry.is_object() && entry.contains(key) ? entry[key] : kNothing;
  };
  if (!field("dtype").is_string())
    throw CheckpointError("{}: tensor '{}': expected a dtype in the header; found {}; {}", file.name(), name,
                          field("dtype").dump(-1, ' ', false, Json::error_handler_t::replace), kAsk);
  const auto dtype = dtype_from_safetensors(field("dtype").get<std::string>());
  if (!dtype)
    throw CheckpointError("{}: tensor '{}' has dtype '{}', which cannot be read; convert it to F32, F16 or BF16 first",
                          file.name(), name, field("dtype").get<std::string>());
  const auto shape = whole_numbers(field("shape"));
  const auto numel = shape ? checked_numel(*shape) : std::nullopt;
  if (!numel)
    throw CheckpointError("{}: tensor '{}': expected a shape of whole numbers; found {}; {}", file.name(), name,
                          field("shape").dump(-1, ' ', false, Json::error_handler_t::replace), kAsk);
  const auto offsets = whole_numbers(field("data_offsets"));
  if (!offsets || offsets->size() != 2 || (*offsets)[0] > (*offsets)[1])
    throw CheckpointError("{}: tensor '{}': expected data_offsets [begin, end]; found {}; {}", file.name(), name,
                          field("data_offsets").dump(-1, ' ', false, Json::error_handler_t::replace), kAsk);

  Placed placed{{{name, *dtype, *shape}, 0, {}, *numel},
                static_cast<std::uint64_t>((*offsets)[0]),
                static_cast<std::uint64_t>((*offsets)[1])};
  const auto bytes = static_cast<std::uint64_t>(placed.tensor.spec.nbytes());
  if (placed.end - placed.begin != bytes)
    throw CheckpointError("{}: tensor '{}' of shape {} and dtype {} needs {} bytes; data_offsets give it {}; {}",
                          file.name(), name, shape_text(*shape), dtype_name(*dtype), bytes, placed.end - placed.begin,
                          kAsk);
  return placed;
}

void check_layout(const InputFile& file, std::vector<Placed>& placed, std::uint64_t data_bytes) {
  std::sort(placed.begin(), placed.end(), [](const Placed& a, const Placed& b) {
    return std::tie(a.begin, a.end, a.tensor.spec.name) < std::tie(b.begin, b.end, b.tensor.spec.name);
  });
  std::uint64_t at = 0;
  const Placed* before = nullptr;
  for (const auto& one : placed) {
    if (one.begin < at)
      throw CheckpointError("{}: tensors '{}' and '{}' overlap at byte {} of the data; {}", file.name(),
                            before->tensor.spec.name, one.tensor.spec.name, one.begin, kAsk);
    if (one.begin > at)
      throw CheckpointError("{}: bytes {} to {} of the data, before tensor '{}', belong to no tensor; {}", file.name(),
                            at, one.begin, one.tensor.spec.name, kAsk);
    at = one.end;
    before = &one;
  }
  if (at > data_bytes)
    throw CheckpointError(
        "{}: the header describes {} bytes of tensors, of which tensor '{}' is the last; the file has {}; {}",
        file.name(), at, before->tensor.spec.name, data_bytes, kAsk);
  if (at < data_bytes)
    throw CheckpointError("{}: the header describes {} bytes of tensors; the file has {}; {}", file.name(), at,
                          data_bytes, kAsk);
}

}  // namespace

StoredFile parse_safetensors(const InputFile& file) {
  const std::string text = read_header(file);
  const Json header = parse_header(file, text);
  const std::uint64_t data_start = 8 + text.size();

  StoredFile stored;
  std::vector<Placed> placed;
  for (const auto& [name, entry] : header.items()) {
    if (name != "__metadata__") {
      placed.push_back(parse_entry(file, name, entry));
      continue;
    }
    if (!entry.is_object())
      throw CheckpointError("{}: expected __metadata__ to be an object of texts; found {}; {}", file.name(),
                            entry.type_name(), kAsk);
    for (const auto& [key, value] : entry.items()) {
      if (!value.is_string())
        throw CheckpointError("{}: expected a text as __metadata__ '{}'; found {}; {}", file.name(), key,
                              value.type_name(), kAsk);
      stored.metadata[key] = value.get<std::string>();
    }
  }
  check_layout(file, placed, file.size() - data_start);
  for (auto& one : placed) {
    one.tensor.offset = data_start + one.begin;
    stored.tensors.push_back(std::move(one.tensor));
  }
  return stored;
}

std::string safetensors_header(const std::vector<TensorSpec>& tensors,
                               const std::map<std::string, std::string>& metadata) {
  OrderedJson header = OrderedJson::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::int64_t at = 0;
  for (const auto& spec : tensors) {
    const std::int64_t end = at + spec.nbytes();
    header[spec.name] = {
        {"dtype", *dtype_to_safetensors(spec.dtype)}, {"shape", spec.shape}, {"data_offsets", {at, end}}};
    at = end;
  }
  std::string text = header.dump(-1, ' ', false, OrderedJson::error_handler_t::replace);
  text.append((8 - text.size() % 8) % 8, ' ');
  const std::uint64_t length = text.size();
  std::string bytes(sizeof length, '\0');
  std::memcpy(bytes.data(), &length, sizeof length);
  return bytes + text;
}

}  // namespace baichuan
