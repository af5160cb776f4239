// From the names in --dataset to files: dataset_info.json, or the path of a file.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "data/alpaca_row.h"
#include "data/data_options.h"

namespace baichuan {

struct DatasetSource {
  std::string name;
  std::vector<std::filesystem::path> files;
  ColumnNames columns;
  std::string system;               // of --system_prompt; a row's own wins
  std::optional<std::string> sha1;  // of the only file; a difference is a warning
};

// One source for each name in --dataset, in order. A name is looked up in <dataset_dir>/dataset_info.json; where
// --dataset_dir is the default `data`, in the installation's too. What is no such name may be a file. Throws DataError
// naming the data set and what to do; UsageError for flags that do not fit together.
std::vector<DatasetSource> find_datasets(const DataOptions& options);

// The installation's data folder, which holds a dataset_info.json; none when the program stands alone.
std::optional<std::filesystem::path> installed_data_directory();

}  // namespace baichuan
