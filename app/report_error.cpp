#include "app/report_error.h"

#include <algorithm>
#include <cstdio>
#include <string>

#include "core/error.h"

namespace baichuan {

int report_error(const std::exception& error, std::string_view trace) {
  std::string line = error.what();
  std::replace(line.begin(), line.end(), '\n', ' ');
  fmt::print(stderr, "error: {}\n", line);
  if (!trace.empty()) fmt::print(stderr, "{}\n", trace);
  return dynamic_cast<const UsageError*>(&error) != nullptr ? 2 : 1;
}

}  // namespace baichuan
