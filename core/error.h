// Errors that a user can cause and mend. The message is one line: what was expected; what was found (value,
// file, line, tensor); what to do. `app/` alone turns them into an exit status: UsageError 2, all others 1.
// Programming errors are not reported this way: they are assertions.
#pragma once

#include <stdexcept>
#include <string>

#include <fmt/format.h>

namespace baichuan {

class Error : public std::runtime_error {
 public:
  explicit Error(const std::string& message) : std::runtime_error(message) {}
  template <class... Args>
  explicit Error(fmt::format_string<Args...> format, Args&&... args)
      : std::runtime_error(fmt::format(format, std::forward<Args>(args)...)) {}
};

// Wrong flags or a contradiction among them: exit status 2.
class UsageError : public Error {
  using Error::Error;
};

// A config.json or a recipe that does not describe a model we can build.
class ConfigError : public Error {
  using Error::Error;
};

// Weights, adapters or training checkpoints that are damaged, missing or do not fit.
class CheckpointError : public Error {
  using Error::Error;
};

// Data sets, tokenizers and input text.
class DataError : public Error {
  using Error::Error;
};

// Training that cannot go on: a loss or a gradient that is not finite.
class TrainingError : public Error {
  using Error::Error;
};

// The machine does not allow it: disk, memory, driver, device.
class MachineError : public Error {
  using Error::Error;
};

}  // namespace baichuan
