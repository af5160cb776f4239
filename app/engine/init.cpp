// `baichuan init`: a randomly initialised checkpoint of any size, streamed to disk.
#include <chrono>
#include <optional>

#include "app/engine/interrupt.h"
#include "app/engine/write_progress.h"
#include "app/init_options.h"
#include "core/error.h"
#include "core/files.h"
#include "core/log.h"
#include "core/parse_size.h"
#include "data/tokenizer.h"
#include "kernels/device.h"
#include "model/default_files.h"
#include "model/initial_checkpoint.h"

namespace baichuan {

namespace {

BaichuanConfig shape_of(const InitFileOptions& files, const std::optional<Tokenizer>& tokenizer) {
  BaichuanConfig config = files.preset ? preset_config(*files.preset) : load_baichuan_config(*files.config);
  if (!tokenizer) return config;
  if (config.vocab_size == 0) {  // tiny
    config.vocab_size = tokenizer->vocab_size();
    config.bos_token_id = tokenizer->bos_id();
    config.eos_token_id = tokenizer->eos_id();
    config.pad_token_id = tokenizer->pad_id();
  }
  if (tokenizer->vocab_size() > config.vocab_size)
    throw ConfigError(
        "expected a tokenizer of at most {} pieces, the model's vocab_size; {} has {}; give the "
        "tokenizer that belongs to the shape",
        config.vocab_size, tokenizer->path().string(), tokenizer->vocab_size());
  return config;
}

at::ScalarType dtype_of(const InitFileOptions& files, const BaichuanConfig& config) {
  if (const auto given = parse_dtype(files.dtype)) return *given;
  if (files.preset) return *files.preset == "tiny" ? at::kFloat : at::kBFloat16;
  const std::string named = config.source.contains("torch_dtype") ? config.source["torch_dtype"].dump() : "";
  if (named == "\"bfloat16\"") return at::kBFloat16;
  return named == "\"float16\"" ? at::kHalf : at::kFloat;
}

void require_free_directory(const InitFileOptions& files) {
  const fs::path directory = files.output_dir;
  if (fs::exists(directory) && !fs::is_directory(directory))
    throw MachineError("expected a directory for the new model; {} is a file; give another --output_dir",
                       files.output_dir);
  if (fs::exists(directory / "config.json") && !files.overwrite_output_dir)
    throw MachineError(
        "expected a directory without a model; {} holds one; give another --output_dir, or "
        "--overwrite_output_dir to replace it",
        files.output_dir);
}

void write_side_files(const fs::path& directory,
                      const BaichuanConfig& config,
                      const std::optional<Tokenizer>& tokenizer) {
  write_json_file(directory / "generation_config.json", default_generation_config(config));
  if (!tokenizer) {
    log::warning("without --tokenizer the model has no tokenizer.model: it cannot read or write text");
    return;
  }
  const auto bytes = tokenizer->model_bytes();
  write_file_atomically(directory / "tokenizer.model", {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  write_json_file(directory / "tokenizer_config.json", default_tokenizer_config(config));
  write_json_file(directory / "special_tokens_map.json", default_special_tokens_map());
}

}  // namespace

int run_init(const InitCommandOptions& options, const OptionTable& table) {
  (void)table;
  log::set_level(log::parse_level(options.run.log_level));
  const InitFileOptions& files = options.files;
  require_free_directory(files);
  std::optional<Tokenizer> tokenizer;
  if (files.tokenizer) tokenizer.emplace(*files.tokenizer);
  const BaichuanConfig config = shape_of(files, tokenizer);
  const at::ScalarType dtype = dtype_of(files, config);

  CheckpointWriteOptions writing;
  writing.max_shard_bytes = parse_size(files.max_shard_size);
  writing.format = files.format == "bin" ? CheckpointFormat::kBin : CheckpointFormat::kSafetensors;
  install_interrupt_handlers();
  const auto start = std::chrono::steady_clock::now();
  if (!write_initial_checkpoint(config, dtype, static_cast<std::uint64_t>(options.run.seed), files.output_dir, writing,
                                make_write_progress()))
    return interrupt_exit_status(interrupt_signal());
  write_side_files(files.output_dir, config, tokenizer);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  log::info("{}: {} parameters in {}, written in {:.1f} s", files.output_dir, config.num_parameters(),
            dtype_name(dtype), seconds);
  return 0;
}

}  // namespace baichuan
