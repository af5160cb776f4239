// Where a model name points to: a directory, or a hub id in one of the local caches. Nothing is ever downloaded.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

namespace baichuan {

// The directory of `name`. A hub id such as "baichuan-inc/Baichuan-13B-Base" is looked for in `cache_dir`,
// HF_HUB_CACHE, HF_HOME/hub (~/.cache/huggingface/hub when unset), each as models--org--name/snapshots of `revision`,
// then in ModelScope's cache. Throws MachineError with every folder that was searched and the command that
// downloads the model.
std::filesystem::path resolve_model_directory(const std::string& name,
                                              const std::optional<std::string>& cache_dir = {},
                                              const std::string& revision = "main");

}  // namespace baichuan
