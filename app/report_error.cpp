#include "app/report_error.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "app/error_file.h"
#include "core/error.h"

namespace baichuan {

int report_error(const std::exception& error, std::string_view trace) {
  std::string line = error.what();
  std::replace(line.begin(), line.end(), '\n', ' ');
  // Our own launcher prints what it finds in the file, once for all ranks.
  const bool launcher_prints = write_error_file(line) && std::getenv("BAICHUAN_RUN_ID") != nullptr;
  if (!launcher_prints) fmt::print(stderr, "error: {}\n", line);
  if (!trace.empty()) fmt::print(stderr, "{}\n", trace);
  return dynamic_cast<const UsageError*>(&error) != nullptr ? 2 : 1;
}

}  // namespace baichuan
