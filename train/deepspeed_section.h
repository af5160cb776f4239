// One object of a DeepSpeed file, checked against the table of keys: typed values with DeepSpeed's defaults, and errors
// that name file, key and value.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/json.h"

namespace baichuan {

class DeepSpeedObject {
 public:
  // `value` is the section `name` ("" is the whole file) of the file that messages call `origin`; it must outlive the
  // object. Throws UsageError for a value of the wrong type, for what is refused and, in closed sections, for unknown
  // keys; warns about other unknown keys and about what has no effect.
  DeepSpeedObject(const std::string& origin, std::string_view name, const OrderedJson& value);

  // Neither absent nor null nor "auto".
  bool given(std::string_view key) const;
  bool automatic(std::string_view key) const;

  // `fallback` where the key is not given.
  bool boolean(std::string_view key, bool fallback) const;
  std::int64_t integer(std::string_view key,
                       std::int64_t fallback,
                       std::int64_t min,
                       std::int64_t max = std::numeric_limits<std::int64_t>::max()) const;
  double number(std::string_view key, double fallback, double min) const;
  std::string text(std::string_view key, std::string_view fallback) const;
  // The value itself; only where it is given.
  const OrderedJson& at(std::string_view key) const;
  // The section below this one; an empty one where the key is not given.
  DeepSpeedObject section(std::string_view key) const;

  const std::string& origin() const { return origin_; }
  // "fp16.loss_scale"
  std::string path(std::string_view key) const;
  // Throws UsageError "ORIGIN: 'PATH' must be EXPECTED; found VALUE".
  [[noreturn]] void fail(std::string_view key, const std::string& expected) const;

 private:
  void check(const std::string& key, const OrderedJson& value) const;
  void report_unknown(const std::string& key) const;

  const std::string& origin_;
  std::string name_;
  const OrderedJson& value_;
};

// What a file and the flags say differently: collected, and reported in one error, as Hugging Face's trainer did.
class FlagDisagreements {
 public:
  void compare(const std::string& key, double found, const std::string& flag, double wanted);
  void compare(const std::string& key, bool found, const std::string& flag, bool wanted);
  void add(std::string sentence) { sentences_.push_back(std::move(sentence)); }
  // Throws UsageError when there is any.
  void report(const std::string& origin) const;

 private:
  std::vector<std::string> sentences_;
};

// "optimizer.params.lr", or, where the file leaves it to DeepSpeed, "optimizer.params.lr (DeepSpeed's default)".
std::string named_value(const DeepSpeedObject& object, std::string_view key);

// For messages: one line, cut where it is long.
std::string short_json(const OrderedJson& value);

}  // namespace baichuan
