// The rows of a JSON file without reading it whole: an array of objects, or one object a line, whatever the file's
// name ends in. Rows are found by brackets and quotes alone; parsing them is the caller's.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace baichuan {

struct RowText {
  std::string_view text;
  int64_t index = 0;  // from 0
};

class JsonRows {
 public:
  // `contents` must outlive the rows; `origin` names it in messages. Throws DataError for what is neither form.
  JsonRows(std::string_view contents, std::string origin);

  // The next row; none at the end. Throws DataError naming the line when the array is damaged or cut short.
  std::optional<RowText> next();

  // Line of a place in the contents, from 1.
  int64_t line_of(const char* place) const;
  const std::string& origin() const { return origin_; }

 private:
  std::optional<RowText> next_line();
  std::optional<RowText> next_element();
  std::size_t element_end(std::size_t begin) const;
  std::size_t string_end(std::size_t begin, std::size_t row_begin) const;
  [[noreturn]] void fail(std::size_t at, std::string_view found) const;
  void skip_blanks();

  std::string_view all_;
  std::string origin_;
  std::size_t at_ = 0;
  int64_t index_ = 0;
  bool is_array_ = false;
  bool done_ = false;
};

}  // namespace baichuan
