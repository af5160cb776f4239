#include "data/sft_dataset.h"

#include <chrono>
#include <cstdlib>

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <fmt/ranges.h>
#include <xxhash.h>

#include "core/error.h"
#include "core/files.h"
#include "core/log.h"
#include "data/dataset_info.h"
#include "data/preprocess.h"
#include "data/sha1.h"
#include "data/split.h"

namespace baichuan {

namespace {

// Raised whenever the same data would become other ids or labels.
constexpr uint64_t kPreprocessingVersion = 1;
constexpr auto kUnusedFor = std::chrono::hours(24 * 30);

class KeyBuilder {
 public:
  KeyBuilder() : state_(XXH3_createState(), XXH3_freeState) { XXH3_128bits_reset(state_.get()); }

  // The length goes in too, so that neighbouring parts cannot trade bytes.
  KeyBuilder& add(std::string_view bytes) {
    add_number(bytes.size());
    XXH3_128bits_update(state_.get(), bytes.data(), bytes.size());
    return *this;
  }
  KeyBuilder& add_column(const std::optional<std::string>& name) {
    add_number(name ? 1 : 0);
    return name ? add(*name) : *this;
  }
  KeyBuilder& add_number(uint64_t number) {
    XXH3_128bits_update(state_.get(), &number, sizeof number);
    return *this;
  }
  CacheKey key() const {
    const XXH128_hash_t hash = XXH3_128bits_digest(state_.get());
    return {hash.low64, hash.high64};
  }

 private:
  std::unique_ptr<XXH3_state_t, XXH_errorcode (*)(XXH3_state_t*)> state_;
};

std::string_view as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

CacheKey key_of(std::span<const DatasetSource> sources, const Tokenizer& tokenizer, const PreprocessRules& rules) {
  KeyBuilder key;
  key.add_number(kPreprocessingVersion).add(as_text(tokenizer.model_bytes()));
  key.add(rules.template_name).add_number(static_cast<uint64_t>(rules.row.compat));
  key.add_number(rules.row.turn_limits ? 1 : 0);
  if (rules.row.turn_limits)
    key.add_number(static_cast<uint64_t>(rules.row.max_source_length))
        .add_number(static_cast<uint64_t>(rules.row.max_target_length));
  else
    key.add_number(static_cast<uint64_t>(rules.row.cutoff_len));
  key.add_number(rules.row.train_on_prompt ? 1 : 0).add_number(rules.skip_bad_rows ? 1 : 0);
  key.add_number(static_cast<uint64_t>(rules.max_samples)).add_number(sources.size());
  for (const DatasetSource& source : sources) {
    const ColumnNames& c = source.columns;
    for (const auto* const column : {&c.prompt, &c.query, &c.response, &c.history, &c.system}) key.add_column(*column);
    key.add(source.system).add_number(source.files.size());
    for (const fs::path& file : source.files) key.add(as_text(MappedFile(file).bytes()));
  }
  return key.key();
}

std::string fingerprint_of(const CacheKey& key) {
  return fmt::format("{:016x}{:016x}", key[1], key[0]);
}

fs::path cache_file_in(const fs::path& directory, const CacheKey& key) {
  return directory / (fingerprint_of(key) + ".sft");
}

fs::path default_cache_directory() {
  const auto from_environment = [](const char* name) {
    const char* const value = std::getenv(name);
    return value != nullptr && fs::path(value).is_absolute() ? fs::path(value) : fs::path();
  };
  fs::path base = from_environment("XDG_CACHE_HOME");
  if (base.empty() && !from_environment("HOME").empty()) base = from_environment("HOME") / ".cache";
  if (base.empty()) base = fs::temp_directory_path() / fmt::format("baichuan-{}", ::getuid());
  return base / "baichuan" / "datasets";
}

// Where tokenised rows go. A default folder that cannot be written to is no reason to stop.
fs::path cache_directory(const DataOptions& options) {
  const bool chosen = options.dataset_cache_dir.has_value();
  fs::path wanted = chosen ? fs::path(*options.dataset_cache_dir) : default_cache_directory();
  std::error_code failed;
  fs::create_directories(wanted, failed);
  if (!failed && ::access(wanted.c_str(), W_OK) == 0) return wanted;
  if (chosen)
    throw MachineError("cannot write to --dataset_cache_dir {}; choose a folder that you may write to",
                       wanted.string());
  fs::path other = fs::temp_directory_path() / fmt::format("baichuan-{}", ::getuid()) / "datasets";
  log::warning("cannot write to {}; tokenised rows are kept in {} (see --dataset_cache_dir)", wanted.string(),
               other.string());
  fs::create_directories(other);
  return other;
}

// Held while one process tokenises. Where locks do not work nothing is lost but time: files appear whole in any case.
class BuildLock {
 public:
  explicit BuildLock(const fs::path& path) : fd_(::open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0644)) {
    if (fd_ < 0) return;
    if (::flock(fd_, LOCK_EX | LOCK_NB) == 0) return;
    log::info("waiting for another process that tokenises the same data");
    while (::flock(fd_, LOCK_EX) != 0 && errno == EINTR) {
    }
  }
  ~BuildLock() {
    if (fd_ >= 0) ::close(fd_);
  }
  BuildLock(const BuildLock&) = delete;
  BuildLock& operator=(const BuildLock&) = delete;

 private:
  int fd_;
};

// Each change of data or flags leaves a file behind; those that nobody opened for a month go.
void remove_unused(const fs::path& directory) {
  std::error_code failed;
  for (const auto& entry : fs::directory_iterator(directory, failed)) {
    const auto extension = entry.path().extension();
    if (extension != ".sft" && extension != ".lock") continue;
    const auto used = fs::last_write_time(entry.path(), failed);
    if (!failed && fs::file_time_type::clock::now() - used > kUnusedFor) fs::remove(entry.path(), failed);
  }
}

void check_sha1(std::span<const DatasetSource> sources) {
  for (const DatasetSource& source : sources) {
    if (!source.sha1 || source.files.size() != 1) continue;
    const std::string found = sha1_hex(as_text(MappedFile(source.files.front()).bytes()));
    if (found != *source.sha1)
      log::warning("{}: dataset_info.json expects SHA-1 {}; found {}; going on with the file as it is",
                   source.files.front().string(), *source.sha1, found);
  }
}

void write_cache(const fs::path& file,
                 const CacheKey& key,
                 std::span<const DatasetSource> sources,
                 const Tokenizer& tokenizer,
                 const PreprocessRules& rules) {
  const auto begin = std::chrono::steady_clock::now();
  SftCacheWriter writer(file, key, tokenizer.vocab_size());
  const RowCounts counts = preprocess(sources, tokenizer, rules, [&](const SftRow& row) { writer.add(row); });
  writer.finish(counts);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  log::info("tokenised {} rows in {:.2f} s with {} threads; kept in {}", counts.read, seconds.count(), rules.threads,
            file.string());
}

void report_counts(const RowCounts& counts) {
  if (counts.empty > 0) log::info("{} of {} rows dropped: no instruction or no output", counts.empty, counts.read);
  if (counts.bad > 0) log::warning("{} of {} rows skipped: unreadable", counts.bad, counts.read);
  if (counts.unlabelled > 0)
    log::warning("{} of {} rows dropped: nothing is left of the answer at this length", counts.unlabelled, counts.read);
  if (counts.truncated > 0) log::info("{} of {} rows cut to the length limit", counts.truncated, counts.kept);
}

std::shared_ptr<const SftCache> open_or_build(const DataOptions& options,
                                              const fs::path& file,
                                              const CacheKey& key,
                                              std::span<const DatasetSource> sources,
                                              const Tokenizer& tokenizer,
                                              const PreprocessRules& rules) {
  auto state = SftCache::State::kMissing;
  const auto open = [&] { return SftCache::open(file, key, &state); };
  std::shared_ptr<const SftCache> cache = options.overwrite_cache ? nullptr : open();
  if (!cache) {
    if (state == SftCache::State::kDamaged) log::warning("{} is damaged; tokenising again", file.string());
    const BuildLock lock(fs::path(file).replace_extension(".lock"));
    cache = options.overwrite_cache ? nullptr : open();
    if (cache) return cache;
    check_sha1(sources);
    remove_unused(file.parent_path());
    write_cache(file, key, sources, tokenizer, rules);
    cache = open();
    if (!cache) throw MachineError("{} is damaged right after it was written; check the disk", file.string());
    return cache;
  }
  std::error_code ignored;
  fs::last_write_time(file, fs::file_time_type::clock::now(), ignored);
  log::info("{} tokenised rows taken from {}", cache->rows(), file.string());
  return cache;
}

void take_split(const std::shared_ptr<const SftCache>& cache,
                const DataOptions& options,
                uint64_t seed,
                SftSplits& splits) {
  Split split = split_rows(cache->rows(), options.val_size, seed);
  splits.train = SftDataset(cache, std::move(split.train));
  splits.eval = SftDataset(cache, std::move(split.eval));
}

}  // namespace

SftExample SftDataset::example(int64_t i) const {
  SftExample example;
  cache_->read_ids(row(i), example.ids);
  example.labels.assign(example.ids.size(), kNoLabel);
  for (const LabelSpan& span : cache_->labels(row(i)))
    for (uint32_t at = span.begin; at < span.end; ++at)
      example.labels[at] = span.label == LabelSpan::kSameAsIds ? example.ids[at] : span.label;
  return example;
}

std::optional<SftSplits> find_tokenised_sft(const DataOptions& options, const Tokenizer& tokenizer, uint64_t seed) {
  const auto sources = find_datasets(options);
  const CacheKey key = key_of(sources, tokenizer, PreprocessRules::from(options));
  const fs::path directory = options.dataset_cache_dir.value_or(default_cache_directory().string());
  SftSplits splits;
  splits.fingerprint = fingerprint_of(key);
  splits.cache_file = cache_file_in(directory, key);
  const auto cache = SftCache::open(splits.cache_file, key);
  if (!cache || cache->rows() == 0) return std::nullopt;
  splits.counts = cache->counts();
  take_split(cache, options, seed, splits);
  return splits;
}

SftSplits prepare_sft(const DataOptions& options, const Tokenizer& tokenizer, uint64_t seed) {
  options.validate();
  const auto sources = find_datasets(options);
  const PreprocessRules rules = PreprocessRules::from(options);
  const CacheKey key = key_of(sources, tokenizer, rules);
  SftSplits splits;
  splits.fingerprint = fingerprint_of(key);
  splits.cache_file = cache_file_in(cache_directory(options), key);
  const auto cache = open_or_build(options, splits.cache_file, key, sources, tokenizer, rules);
  splits.counts = cache->counts();
  report_counts(splits.counts);
  if (cache->rows() == 0)
    throw DataError(
        "--dataset {}: expected rows to train on; found {} rows of which none can be used; look at the data",
        options.dataset, splits.counts.read);
  take_split(cache, options, seed, splits);
  return splits;
}

std::string describe_example(const Tokenizer& tokenizer, const SftExample& example) {
  std::vector<int32_t> learnt;
  for (const int32_t label : example.labels)
    if (label != kNoLabel) learnt.push_back(label);
  return fmt::format("input ids: [{}]\ntext: {}\nlabel ids: [{}]\ntext of the labels: {}", fmt::join(example.ids, ", "),
                     tokenizer.decode(example.ids, /*skip_special=*/false), fmt::join(example.labels, ", "),
                     tokenizer.decode(learnt, /*skip_special=*/false));
}

}  // namespace baichuan
