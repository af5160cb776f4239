// Zip as APPNOTE.TXT of PKWARE describes it, zip64 fields where a number needs them; pickle protocol 2.
#include <cstring>
#include <limits>

#include "io/crc32.h"
#include "io/shard_layout.h"

namespace baichuan {

namespace {

constexpr std::uint64_t kAlignment = 64;
constexpr std::uint64_t kIn64 = 0xffffffff;      // "the value stands in the zip64 field"
constexpr std::uint16_t kVersion64 = 45;         // of the format: zip64
constexpr std::uint16_t kFirstDay = 33;          // 1 January 1980, so that equal checkpoints are equal files
constexpr std::uint16_t kPaddingField = 0x4246;  // "FB", the field torch itself pads with

template <class T>
void put(std::string& bytes, T value) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
}

std::uint32_t narrow(std::uint64_t value) {
  return static_cast<std::uint32_t>(value < kIn64 ? value : kIn64);
}

void put_text(std::string& pickle, std::string_view text) {
  pickle += 'X';
  put(pickle, static_cast<std::uint32_t>(text.size()));
  pickle += text;
}

void put_integer(std::string& pickle, std::int64_t value) {
  if (value <= std::numeric_limits<std::int32_t>::max()) {
    pickle += 'J';
    put(pickle, static_cast<std::int32_t>(value));
  } else {
    pickle += "\x8a\x08";
    put(pickle, value);
  }
}

void put_tuple(std::string& pickle, const std::vector<std::int64_t>& values) {
  pickle += '(';
  for (const std::int64_t value : values) put_integer(pickle, value);
  pickle += 't';
}

// {name: torch._utils._rebuild_tensor_v2(storage, 0, size, stride, False, OrderedDict())}
std::string state_dict_pickle(const std::vector<TensorSpec>& tensors) {
  std::string pickle = "\x80\x02}(";
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const TensorSpec& spec = tensors[i];
    put_text(pickle, spec.name);
    pickle += "ctorch._utils\n_rebuild_tensor_v2\n((";
    put_text(pickle, "storage");
    pickle += "ctorch\n";
    pickle += *dtype_to_storage_class(spec.dtype);
    pickle += '\n';
    put_text(pickle, std::to_string(i));
    put_text(pickle, "cpu");
    put_integer(pickle, spec.numel());
    pickle += "tQ";
    put_integer(pickle, 0);
    put_tuple(pickle, spec.shape);
    std::vector<std::int64_t> strides(spec.shape.size());
    std::int64_t stride = 1;
    for (std::size_t d = strides.size(); d-- > 0; stride *= std::max<std::int64_t>(1, spec.shape[d]))
      strides[d] = stride;
    put_tuple(pickle, strides);
    pickle +=
        "\x89"
        "ccollections\nOrderedDict\n)RtR";
  }
  return pickle + "u.";
}

}  // namespace

TorchArchiveLayout::TorchArchiveLayout(const std::vector<TensorSpec>& tensors, const std::string& archive)
    : tensors_(tensors.size()) {
  const auto add_text = [&](const char* name, std::string contents) {
    const std::uint64_t size = contents.size();
    add(archive + "/" + name, std::move(contents), size);
  };
  add_text("data.pkl", state_dict_pickle(tensors));
  add_text("byteorder", "little");
  first_tensor_ = records_.size();
  for (std::size_t i = 0; i < tensors.size(); ++i)
    add(archive + "/data/" + std::to_string(i), "", static_cast<std::uint64_t>(tensors[i].nbytes()));
  add_text("version", "3\n");
  directory_ = file_bytes_;
  file_bytes_ += central_directory(std::vector<std::uint32_t>(records_.size())).size();
}

void TorchArchiveLayout::add(std::string name, std::string contents, std::uint64_t size) {
  Record record{std::move(name), std::move(contents), size, file_bytes_, 0};
  record.data = record.header + local_header(record, 0).size();
  file_bytes_ = record.data + size;
  records_.push_back(std::move(record));
}

std::string TorchArchiveLayout::local_header(const Record& record, std::uint32_t crc) const {
  std::string extra;
  if (record.size >= kIn64) {
    put<std::uint16_t>(extra, 1);
    put<std::uint16_t>(extra, 16);
    put<std::uint64_t>(extra, record.size);
    put<std::uint64_t>(extra, record.size);
  }
  const std::uint64_t fixed = record.header + 30 + record.name.size() + extra.size() + 4;
  const auto padding = static_cast<std::uint16_t>((kAlignment - fixed % kAlignment) % kAlignment);
  put<std::uint16_t>(extra, kPaddingField);
  put<std::uint16_t>(extra, padding);
  extra.append(padding, 'Z');

  std::string header;
  put<std::uint32_t>(header, 0x04034b50);
  put<std::uint16_t>(header, kVersion64);
  put<std::uint16_t>(header, 0x0800);  // names are UTF-8
  put<std::uint16_t>(header, 0);       // stored
  put<std::uint16_t>(header, 0);
  put<std::uint16_t>(header, kFirstDay);
  put<std::uint32_t>(header, crc);
  put<std::uint32_t>(header, narrow(record.size));
  put<std::uint32_t>(header, narrow(record.size));
  put<std::uint16_t>(header, static_cast<std::uint16_t>(record.name.size()));
  put<std::uint16_t>(header, static_cast<std::uint16_t>(extra.size()));
  return header + record.name + extra;
}

std::string TorchArchiveLayout::central_directory(const std::vector<std::uint32_t>& crcs) const {
  std::string table;
  for (std::size_t i = 0; i < records_.size(); ++i) {
    const Record& record = records_[i];
    std::string wide;
    if (record.size >= kIn64) {
      put<std::uint64_t>(wide, record.size);
      put<std::uint64_t>(wide, record.size);
    }
    if (record.header >= kIn64) put<std::uint64_t>(wide, record.header);
    std::string extra;
    if (!wide.empty()) {
      put<std::uint16_t>(extra, 1);
      put<std::uint16_t>(extra, static_cast<std::uint16_t>(wide.size()));
      extra += wide;
    }
    put<std::uint32_t>(table, 0x02014b50);
    put<std::uint16_t>(table, kVersion64);
    put<std::uint16_t>(table, kVersion64);
    put<std::uint16_t>(table, 0x0800);
    put<std::uint16_t>(table, 0);
    put<std::uint16_t>(table, 0);
    put<std::uint16_t>(table, kFirstDay);
    put<std::uint32_t>(table, crcs[i]);
    put<std::uint32_t>(table, narrow(record.size));
    put<std::uint32_t>(table, narrow(record.size));
    put<std::uint16_t>(table, static_cast<std::uint16_t>(record.name.size()));
    put<std::uint16_t>(table, static_cast<std::uint16_t>(extra.size()));
    table.append(12, '\0');  // no comment, disk 0, attributes 0
    table.resize(table.size() - 2);
    put<std::uint32_t>(table, narrow(record.header));
    table += record.name + extra;
  }
  const std::uint64_t bytes = table.size();
  const std::uint64_t end = directory_ + bytes;
  put<std::uint32_t>(table, 0x06064b50);
  put<std::uint64_t>(table, 44);
  put<std::uint16_t>(table, kVersion64);
  put<std::uint16_t>(table, kVersion64);
  put<std::uint64_t>(table, 0);  // disks
  put<std::uint64_t>(table, records_.size());
  put<std::uint64_t>(table, records_.size());
  put<std::uint64_t>(table, bytes);
  put<std::uint64_t>(table, directory_);
  put<std::uint32_t>(table, 0x07064b50);
  put<std::uint32_t>(table, 0);
  put<std::uint64_t>(table, end);
  put<std::uint32_t>(table, 1);
  const auto count = static_cast<std::uint16_t>(std::min<std::size_t>(records_.size(), 0xffff));
  put<std::uint32_t>(table, 0x06054b50);
  put<std::uint32_t>(table, 0);
  put<std::uint16_t>(table, count);
  put<std::uint16_t>(table, count);
  put<std::uint32_t>(table, narrow(bytes));
  put<std::uint32_t>(table, narrow(directory_));
  put<std::uint16_t>(table, 0);
  return table;
}

std::vector<Patch> TorchArchiveLayout::patches(const std::vector<std::uint32_t>& checksums) const {
  std::vector<std::uint32_t> crcs;
  std::vector<Patch> all;
  for (std::size_t i = 0; i < records_.size(); ++i) {
    const Record& record = records_[i];
    const bool tensor = i >= first_tensor_ && i < first_tensor_ + tensors_;
    crcs.push_back(tensor ? checksums[i - first_tensor_] : crc32(0, record.contents.data(), record.contents.size()));
    all.push_back({record.header, local_header(record, crcs.back()) + record.contents});
  }
  all.push_back({directory_, central_directory(crcs)});
  return all;
}

}  // namespace baichuan
