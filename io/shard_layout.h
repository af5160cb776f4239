// Where everything of one file of a checkpoint will lie, known before the first tensor is written; so tensors are
// written in any order, and what describes them (headers, checksums) at the end.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "io/tensor_spec.h"

namespace baichuan {

struct Patch {
  std::uint64_t offset = 0;
  std::string bytes;
};

class ShardLayout {
 public:
  virtual ~ShardLayout() = default;
  // Of the first byte of tensor i.
  virtual std::uint64_t tensor_offset(std::size_t i) const = 0;
  virtual std::uint64_t file_bytes() const = 0;
  // Everything but the tensors. `checksums` are the crc32 of the tensors' bytes; needed where needs_checksums().
  virtual std::vector<Patch> patches(const std::vector<std::uint32_t>& checksums) const = 0;
  virtual bool needs_checksums() const = 0;
};

class SafetensorsLayout : public ShardLayout {
 public:
  SafetensorsLayout(const std::vector<TensorSpec>& tensors, const std::map<std::string, std::string>& metadata);
  std::uint64_t tensor_offset(std::size_t i) const override { return offsets_[i]; }
  std::uint64_t file_bytes() const override { return file_bytes_; }
  std::vector<Patch> patches(const std::vector<std::uint32_t>& checksums) const override;
  bool needs_checksums() const override { return false; }

 private:
  std::string header_;
  std::vector<std::uint64_t> offsets_;
  std::uint64_t file_bytes_ = 0;
};

// The zip file of torch.save: <archive>/data.pkl, a stored record <archive>/data/<i> a tensor, aligned to 64 bytes.
class TorchArchiveLayout : public ShardLayout {
 public:
  TorchArchiveLayout(const std::vector<TensorSpec>& tensors, const std::string& archive);
  std::uint64_t tensor_offset(std::size_t i) const override { return records_[first_tensor_ + i].data; }
  std::uint64_t file_bytes() const override { return file_bytes_; }
  std::vector<Patch> patches(const std::vector<std::uint32_t>& checksums) const override;
  bool needs_checksums() const override { return true; }

 private:
  struct Record {
    std::string name;
    std::string contents;  // empty for tensors
    std::uint64_t size = 0;
    std::uint64_t header = 0;  // offset of the local header
    std::uint64_t data = 0;    // offset of the contents
  };
  void add(std::string name, std::string contents, std::uint64_t size);
  std::string local_header(const Record& record, std::uint32_t crc) const;
  std::string central_directory(const std::vector<std::uint32_t>& crcs) const;

  std::vector<Record> records_;
  std::size_t first_tensor_ = 0;
  std::size_t tensors_ = 0;
  std::uint64_t directory_ = 0;  // offset of the table of contents
  std::uint64_t file_bytes_ = 0;
};

}  // namespace baichuan
