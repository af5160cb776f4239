// Small files for the tests of io/: a folder that goes away, damaged headers, hand-made zip files.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <ATen/core/Tensor.h>

namespace baichuan {

namespace fs = std::filesystem;

// A fresh folder for each test.
class IoTest : public testing::Test {
 protected:
  void SetUp() override;
  void TearDown() override;
  fs::path write(const std::string& name, std::string_view bytes) const;

  fs::path directory_;
};

// The message of the Error that `action` throws; "" when it throws none.
std::string message_of(const std::function<void()>& action);

// tests/data/io/<name>
fs::path committed(const std::string& name);
std::string bytes_of(const fs::path& file);

// Length, header, data.
std::string safetensors_bytes(std::string_view header, std::string_view data);

// A zip file of stored records, as the simplest zip program would write it.
std::string zip_bytes(const std::vector<std::pair<std::string, std::string>>& records);
// What torch.save would write around this pickle; data/0 holds `storage`.
std::string torch_bytes(std::string_view pickle, std::string_view storage = {});

// Row-major k / 8 - 2, as tools/make_io_fixtures.py makes it.
at::Tensor eighths(at::IntArrayRef shape);

}  // namespace baichuan
