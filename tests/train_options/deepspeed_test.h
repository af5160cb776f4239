#pragma once

#include <cstdint>
#include <string>

#include <gtest/gtest.h>

#include "core/error.h"
#include "train/deepspeed_config.h"

namespace baichuan {

// Reads texts as DeepSpeed files under flags_.
class DeepSpeedTest : public testing::Test {
 protected:
  DeepSpeedConfig load(const std::string& text, std::int64_t num_processes = 1) {
    return parse_deepspeed_config({text, path_}, flags_, num_processes);
  }

  // The message of the UsageError, without the file's name in front.
  std::string failure(const std::string& text, std::int64_t num_processes = 1) {
    try {
      load(text, num_processes);
    } catch (const UsageError& error) {
      const std::string message = error.what();
      return message.starts_with(path_) ? message.substr(path_.size()) : message;
    }
    return "nothing was thrown";
  }

  std::string disagreement(const std::string& text, std::int64_t num_processes = 1) {
    const std::string message = failure(text, num_processes);
    const std::string before = " disagrees with the flags: ";
    const std::string after = "; set these keys to \"auto\" or change the flags";
    if (!message.starts_with(before) || !message.ends_with(after)) return message;
    return message.substr(before.size(), message.size() - before.size() - after.size());
  }

  // What loading says on stderr, without the file's name.
  std::string said(const std::string& text) {
    testing::internal::CaptureStderr();
    load(text);
    std::string log = testing::internal::GetCapturedStderr();
    for (auto at = log.find(path_); at != std::string::npos; at = log.find(path_)) log.erase(at, path_.size());
    return log;
  }

  const std::string path_ = "ds.json";
  OptimizationOptions flags_;
};

}  // namespace baichuan
