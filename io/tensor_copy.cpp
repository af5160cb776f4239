#include "io/tensor_copy.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <memory>
#include <vector>

#include <sys/mman.h>
#include <unistd.h>

#include <ATen/Parallel.h>
#include <ATen/ops/from_blob.h>
#include <torch/torch.h>

#include "core/error.h"

namespace baichuan {

namespace {

// A piece is what a thread takes at a time. What must be converted goes through a buffer that stays in the cache;
// transfers to a device want longer ones.
constexpr std::int64_t kPieceBytes = 8 << 20;
constexpr std::int64_t kConvertBytes = 512 << 10;
constexpr std::uintptr_t kHugePage = 2 << 20;

// Part of one copy: elements of a contiguous destination, else rows of its first dimension.
struct Piece {
  const TensorCopy* copy = nullptr;
  std::int64_t begin = 0;
  std::int64_t end = 0;
};

class Staging {
 public:
  void* at_least(std::size_t bytes) {
    if (bytes > bytes_) {
      memory_.reset(new std::byte[bytes]);  // not initialised: it is read into
      bytes_ = bytes;
    }
    return memory_.get();
  }

 private:
  std::unique_ptr<std::byte[]> memory_;
  std::size_t bytes_ = 0;
};

// Read-only pages of a file; they belong to the page cache and count as nobody's memory.
class MappedRange {
 public:
  MappedRange(const InputFile& file, std::uint64_t offset, std::uint64_t bytes) {
    const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
    skip_ = offset % page;
    bytes_ = bytes + skip_;
    address_ = ::mmap(nullptr, bytes_, PROT_READ, MAP_SHARED, file.descriptor(), static_cast<off_t>(offset - skip_));
    if (address_ == MAP_FAILED) throw CheckpointError("cannot map {}: {}", file.name(), std::strerror(errno));
  }
  ~MappedRange() { ::munmap(address_, bytes_); }
  MappedRange(const MappedRange&) = delete;
  MappedRange& operator=(const MappedRange&) = delete;
  void* data() const { return static_cast<char*>(address_) + skip_; }

 private:
  void* address_ = nullptr;
  std::uint64_t skip_ = 0;
  std::uint64_t bytes_ = 0;
};

std::int64_t element_bytes(const at::Tensor& tensor) {
  return static_cast<std::int64_t>(tensor.element_size());
}

std::int64_t row_elements(const StoredTensor& tensor) {
  return tensor.spec.shape.empty() || tensor.spec.shape[0] == 0 ? 1 : tensor.spec.numel() / tensor.spec.shape[0];
}

// Fresh pages cost more time than the copy into them; huge ones cost a tenth of it.
void want_huge_pages(const at::Tensor& destination) {
  if (!destination.is_cpu() || !destination.is_contiguous()) return;
  auto* const start = static_cast<std::byte*>(destination.mutable_data_ptr());
  const auto address = reinterpret_cast<std::uintptr_t>(start);
  const std::uintptr_t before = (kHugePage - address % kHugePage) % kHugePage;  // bytes to the first whole page
  if (before >= destination.nbytes()) return;
  const std::uintptr_t pages = (destination.nbytes() - before) / kHugePage * kHugePage;
  if (pages > 0) (void)::madvise(start + before, pages, MADV_HUGEPAGE);
}

void add_pieces(const TensorCopy& copy, std::vector<Piece>& pieces) {
  const std::int64_t numel = copy.source.spec.numel();
  if (numel == 0) return;
  if (!copy.source.strides.empty()) {
    pieces.push_back({&copy, 0, numel});
    return;
  }
  const auto element = static_cast<std::int64_t>(c10::elementSize(copy.source.spec.dtype));
  const bool whole = copy.destination.is_contiguous();
  const std::int64_t units = whole ? numel : copy.source.spec.shape[0];
  const std::int64_t unit_bytes = whole ? element : element * row_elements(copy.source);
  const std::int64_t step = std::max<std::int64_t>(1, kPieceBytes / unit_bytes);
  for (std::int64_t begin = 0; begin < units; begin += step)
    pieces.push_back({&copy, begin, std::min(units, begin + step)});
}

void copy_strided(const TensorCopy& copy) {
  const auto element = c10::elementSize(copy.source.spec.dtype);
  const auto bytes = static_cast<std::uint64_t>(copy.source.span) * element;
  at::Tensor destination = copy.destination;
  const auto options = at::TensorOptions().dtype(copy.source.spec.dtype);
  if (copy.source.offset % element == 0) {
    const MappedRange range(*copy.file, copy.source.offset, bytes);
    destination.copy_(at::from_blob(range.data(), copy.source.spec.shape, copy.source.strides, options));
    return;
  }
  // No address for elements that lie askew in the file: they are read into one that is aligned.
  Staging staging;
  void* const aligned = staging.at_least(bytes);
  copy.file->read_at(copy.source.offset, aligned, bytes);
  destination.copy_(at::from_blob(aligned, copy.source.spec.shape, copy.source.strides, options));
}

void copy_rows(const Piece& piece, Staging& staging) {
  const auto& source = piece.copy->source;
  const std::int64_t rows = piece.end - piece.begin;
  const auto row_bytes = static_cast<std::uint64_t>(row_elements(source)) * c10::elementSize(source.spec.dtype);
  void* const buffer = staging.at_least(static_cast<std::uint64_t>(rows) * row_bytes);
  piece.copy->file->read_at(source.offset + static_cast<std::uint64_t>(piece.begin) * row_bytes, buffer,
                            static_cast<std::uint64_t>(rows) * row_bytes);
  std::vector<std::int64_t> shape = source.spec.shape;
  shape[0] = rows;
  piece.copy->destination.narrow(0, piece.begin, rows)
      .copy_(at::from_blob(buffer, shape, at::TensorOptions().dtype(source.spec.dtype)));
}

void copy_elements(const Piece& piece, Staging& staging) {
  const auto& source = piece.copy->source;
  const at::Tensor& destination = piece.copy->destination;
  const auto element = static_cast<std::int64_t>(c10::elementSize(source.spec.dtype));
  const auto file_offset = [&](std::int64_t at) { return source.offset + static_cast<std::uint64_t>(at * element); };
  if (destination.is_cpu() && destination.scalar_type() == source.spec.dtype) {
    auto* const to = static_cast<char*>(destination.mutable_data_ptr()) + piece.begin * element;
    piece.copy->file->read_at(file_offset(piece.begin), to,
                              static_cast<std::size_t>((piece.end - piece.begin) * element));
    return;
  }
  const std::int64_t step = (destination.is_cpu() ? kConvertBytes : kPieceBytes) / element;
  const auto stored = at::TensorOptions().dtype(source.spec.dtype);
  for (std::int64_t begin = piece.begin; begin < piece.end; begin += step) {
    const std::int64_t count = std::min(step, piece.end - begin);
    void* const buffer = staging.at_least(static_cast<std::size_t>(step * element));
    piece.copy->file->read_at(file_offset(begin), buffer, static_cast<std::size_t>(count * element));
    const at::Tensor read = at::from_blob(buffer, {count}, stored);
    if (destination.is_cpu()) {
      auto* const to = static_cast<char*>(destination.mutable_data_ptr()) + begin * element_bytes(destination);
      at::from_blob(to, {count}, at::TensorOptions().dtype(destination.scalar_type())).copy_(read);
    } else {
      destination.view({-1}).narrow(0, begin, count).copy_(read);
    }
  }
}

void copy_piece(const Piece& piece, Staging& staging) {
  if (!piece.copy->source.strides.empty())
    copy_strided(*piece.copy);
  else if (!piece.copy->destination.is_contiguous())
    copy_rows(piece, staging);
  else
    copy_elements(piece, staging);
}

}  // namespace

void copy_tensors(std::span<const TensorCopy> copies) {
  std::vector<Piece> pieces;
  for (const auto& copy : copies) {
    want_huge_pages(copy.destination);
    add_pieces(copy, pieces);
  }
  std::atomic<std::size_t> next{0};
  std::atomic<bool> failed{false};
  const auto work = [&](std::int64_t, std::int64_t) {
    const at::NoGradGuard no_grad;
    Staging staging;
    for (std::size_t i = next++; i < pieces.size() && !failed; i = next++) {
      try {
        copy_piece(pieces[i], staging);
      } catch (...) {
        failed = true;
        throw;
      }
    }
  };
  const auto threads = std::min<std::int64_t>(at::get_num_threads(), static_cast<std::int64_t>(pieces.size()));
  at::parallel_for(0, threads, 1, work);
}

StoredTensor stored_rows(const StoredTensor& tensor, std::int64_t first, std::int64_t count) {
  StoredTensor rows = tensor;
  rows.spec.shape[0] = count;
  const std::int64_t stride = tensor.strides.empty() ? row_elements(tensor) : tensor.strides[0];
  rows.offset += static_cast<std::uint64_t>(first * stride) * c10::elementSize(tensor.spec.dtype);
  rows.span = rows.spec.numel();
  if (!tensor.strides.empty() && rows.span > 0) {
    rows.span = 1;
    for (std::size_t i = 0; i < tensor.strides.size(); ++i) rows.span += (rows.spec.shape[i] - 1) * tensor.strides[i];
  }
  return rows;
}

}  // namespace baichuan
