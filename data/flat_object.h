// A JSON object whose values are texts or null, as nearly all rows of instruction data are: read in one pass, several
// times faster than by a general parser.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace baichuan {

class FlatObject {
 public:
  struct Field {
    std::string_view name;
    std::string text;
    bool is_null = false;
  };

  // False when the text is anything else: another kind of value, a name with escapes, no valid JSON or UTF-8. The
  // general parser then tells what it is. `text` must outlive the fields.
  bool parse(std::string_view text);

  // Null when there is none; of several with one name the last, as in other parsers.
  Field* find(std::string_view name);

 private:
  bool parse_fields();
  bool parse_name(std::string_view& name);
  bool parse_text(std::string& text);
  bool parse_escape(std::string& text);
  bool parse_code_unit(uint32_t& unit);
  bool skip(char wanted);
  void skip_blanks();

  std::string_view rest_;
  std::vector<Field> fields_;
};

}  // namespace baichuan
