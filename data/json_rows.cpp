#include "data/json_rows.h"

#include <algorithm>

#include "core/error.h"

namespace baichuan {

namespace {

constexpr std::string_view kBlanks = " \t\r\n";
constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";

}  // namespace

JsonRows::JsonRows(std::string_view contents, std::string origin) : all_(contents), origin_(std::move(origin)) {
  if (all_.starts_with(kByteOrderMark)) at_ = kByteOrderMark.size();
  skip_blanks();
  if (at_ == all_.size())
    throw DataError("{}: expected a JSON array or JSON lines; found an empty file; give a file with rows", origin_);
  if (all_[at_] != '[' && all_[at_] != '{')
    throw DataError(
        "{} line {}: expected a JSON array ('[') or JSON lines ('{{'); found byte 0x{:02X}; convert the file to JSON",
        origin_, line_of(all_.data() + at_), static_cast<unsigned char>(all_[at_]));
  is_array_ = all_[at_] == '[';
  if (!is_array_) return;
  ++at_;
  skip_blanks();
  if (at_ < all_.size() && all_[at_] == ']') {
    ++at_;
    done_ = true;
  }
}

void JsonRows::skip_blanks() {
  at_ = std::min(all_.find_first_not_of(kBlanks, at_), all_.size());
}

int64_t JsonRows::line_of(const char* place) const {
  return 1 + std::count(all_.data(), place, '\n');
}

void JsonRows::fail(std::size_t at, std::string_view found) const {
  throw DataError("{} line {}: expected valid JSON in row {}; found {}; mend the file or download it again", origin_,
                  line_of(all_.data() + std::min(at, all_.size())), index_, found);
}

std::optional<RowText> JsonRows::next() {
  return is_array_ ? next_element() : next_line();
}

std::optional<RowText> JsonRows::next_line() {
  skip_blanks();
  if (at_ == all_.size()) return std::nullopt;
  const std::size_t end = std::min(all_.find('\n', at_), all_.size());
  const std::string_view line = all_.substr(at_, end - at_);
  at_ = end;
  return RowText{line.substr(0, line.find_last_not_of(kBlanks) + 1), index_++};
}

std::optional<RowText> JsonRows::next_element() {
  skip_blanks();
  if (done_) {
    if (at_ < all_.size()) fail(at_, "text after the end of the array");
    return std::nullopt;
  }
  if (at_ == all_.size()) fail(at_, "the end of the file before the array's (an incomplete download?)");
  const std::size_t begin = at_;
  at_ = element_end(begin);
  const RowText row{all_.substr(begin, at_ - begin), index_};
  skip_blanks();
  if (at_ == all_.size()) fail(begin, "the end of the file before the array's (an incomplete download?)");
  const char after = all_[at_++];
  if (after == ']') {
    done_ = true;
  } else if (after != ',') {
    fail(at_ - 1,
         fmt::format("byte 0x{:02X} where a comma or the end of the array belongs", static_cast<unsigned char>(after)));
  }
  ++index_;
  return row;
}

// One past the last byte of the value that begins at `begin`.
std::size_t JsonRows::element_end(std::size_t begin) const {
  int64_t depth = 0;
  for (std::size_t i = begin; i < all_.size(); ++i) {
    switch (all_[i]) {
      case '"':
        i = string_end(i, begin);
        if (depth == 0) return i + 1;
        break;
      case '{':
      case '[':
        ++depth;
        break;
      case '}':
      case ']':
        if (depth == 0 && i == begin) fail(i, "a comma with no row after it");
        if (depth == 0) return i;
        if (--depth == 0) return i + 1;
        break;
      case ',':
        if (depth == 0 && i == begin) fail(i, "a comma with no row before it");
        if (depth == 0) return i;
        break;
      default:
        break;
    }
  }
  fail(begin, "the end of the file before the row's (an incomplete download?)");
}

// The closing quote of the string that opens at `begin`.
std::size_t JsonRows::string_end(std::size_t begin, std::size_t row_begin) const {
  for (std::size_t i = begin + 1; i < all_.size(); ++i) {
    const char byte = all_[i];
    if (byte == '"') return i;
    if (byte == '\\') ++i;
    if (byte == '\n') fail(i - 1, "a string that is not closed on its line");
  }
  fail(row_begin, "the end of the file inside a string (an incomplete download?)");
}

}  // namespace baichuan
