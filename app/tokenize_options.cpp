#include "app/tokenize_options.h"

#include "core/error.h"

namespace baichuan {

void TokenizeCommandOptions::add_to(OptionTable& table) {
  table.add("Model", model);
  table.add("Tokenize", tokenize);
  table.add("Run", run);
}

void TokenizeCommandOptions::validate(const OptionTable& table) {
  (void)table;
  const int given = (tokenize.text ? 1 : 0) + (tokenize.file ? 1 : 0) + (tokenize.decode ? 1 : 0);
  if (given != 1)
    throw UsageError("tokenize needs one of --text, --file and --decode; found {}; give exactly one", given);
  if (tokenize.decode && tokenize.template_name)
    throw UsageError("--template goes with --text or --file; found it with --decode; leave one out");
}

}  // namespace baichuan
