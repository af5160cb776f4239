#include "train/memory_terms.h"

#include <algorithm>
#include <string_view>

namespace baichuan {

namespace {

constexpr std::int64_t kFloatBytes = 4;
constexpr std::int64_t kDoubleBytes = 8;
constexpr std::int64_t kFoldColumns = 8;            // model/alibi.h
constexpr std::int64_t kAlibiChunk = 1024;          // queries at a time on CPU, model/flash_attention_cpu.cpp
constexpr std::int64_t kScores = 4 << 20;           // elements of a chunk, model/plain_attention.cpp
constexpr std::int64_t kScoreCopies = 4;            // scores, biased, softmax and a gradient, float32
constexpr std::int64_t kFlashSequenceBlock = 128;   // the CUDA kernel rounds sequences up to it
constexpr std::int64_t kFlashColumnBlock = 32;      // and head sizes to this, up to 192
constexpr std::int64_t kFlashLargestColumns = 256;  // and beyond that to this
constexpr std::int64_t kHostRuntimeBytes = 2'000'000'000;
constexpr std::int64_t kHostLoadingBytes = 1'000'000'000;

bool has_target(const RunShape& run, std::string_view name) {
  return std::find(run.lora_targets.begin(), run.lora_targets.end(), name) != run.lora_targets.end();
}

std::int64_t ceil_div(std::int64_t a, std::int64_t b) {
  return (a + b - 1) / b;
}

std::int64_t rounded_up(std::int64_t value, std::int64_t step) {
  return ceil_div(value, step) * step;
}

bool sliced(const RunShape& run) {
  return run.sharding == Sharding::kStage1 || run.sharding == Sharding::kStage2;
}

std::int64_t padded_unit(const RunShape& run, std::int64_t elements) {
  return run.sharding == Sharding::kPlain ? elements : rounded_up(elements, run.ranks * kShardBlock);
}

// Trained elements of the three kinds of unit.
struct Units {
  std::int64_t embedding, layer, head;
};

Units trained_units(const RunShape& run) {
  if (!run.full) return {0, adapter_elements_of_layer(run), 0};
  return {embedding_elements(run.model), layer_elements(run.model), head_elements(run.model)};
}

// Stages 0 and 1, unless gradients are to be added in one order.
bool reduces_once_a_step(const RunShape& run) {
  const bool may = run.sharding == Sharding::kStage0 || run.sharding == Sharding::kStage1;
  return may && !run.deterministic_reduce;
}

// Gradients travel: neither plain nor alone.
bool exchanges_gradients(const RunShape& run) {
  return run.sharding != Sharding::kPlain && run.ranks > 1;
}

// Elements of trained state that one rank holds under masters and moments.
std::int64_t owned_elements(const RunShape& run) {
  const std::int64_t all = padded_trained_elements(run);
  return sliced(run) ? all / run.ranks : all;
}

bool masters_are_weights(const RunShape& run) {
  return !run.full || run.compute_bytes == kFloatBytes;
}

// Flash kernels: on CPU every type, on GPUs 16 bits; --alibi_mode official has neither.
bool flash(const RunShape& run) {
  return !run.official_alibi && (!run.on_gpu || run.compute_bytes == 2);
}

// Bytes while one weight's gradient of `elements` is there. On CPU a 16-bit gradient is widened before it is added to
// the float32 one (ATen's add of two types copies); what is reduced at once is copied into the wire buffer as it is.
std::int64_t weight_gradient_bytes(const RunShape& run, std::int64_t elements) {
  if (!run.full) return 0;
  const bool widened =
      !run.on_gpu && run.compute_bytes != kFloatBytes && (!exchanges_gradients(run) || reduces_once_a_step(run));
  return elements * (run.compute_bytes + (widened ? kFloatBytes : 0));
}

// Frozen weights of another type are converted for each product.
std::int64_t converted_weight_bytes(const RunShape& run, std::int64_t elements) {
  return !run.full && run.frozen_bytes != run.compute_bytes ? run.compute_bytes * elements : 0;
}

// Beside the gradient of qkv: what the attention kernels make in their backward pass.
std::int64_t attention_backward_bytes(const RunShape& run) {
  const auto& m = run.model;
  const std::int64_t e = run.compute_bytes;
  const std::int64_t wide = 3 * kFloatBytes * m.hidden_size * run.tokens();  // sums of dq, dk, dv in float32
  const std::int64_t narrow = 3 * e * m.hidden_size * run.tokens();          // a kernel's dq, dk, dv
  if (!flash(run)) return wide + kScoreCopies * kFloatBytes * kScores;
  const bool alibi = m.position == PositionEmbedding::kAlibi;
  if (!run.on_gpu) return alibi && run.longest > kAlibiChunk ? narrow + wide : narrow;
  const std::int64_t columns = m.head_dim() + (alibi ? kFoldColumns : 0);
  const std::int64_t row_columns = columns * m.num_heads;  // of a folded row
  // ALiBi: q, k, v, the output and its gradient with the fold's columns; then dq, dk, dv.
  const std::int64_t folded = (alibi ? 5 : 0) * e * row_columns * run.tokens() + 3 * e * row_columns * run.tokens();
  const std::int64_t kernel_columns = columns <= 192 ? rounded_up(columns, kFlashColumnBlock) : kFlashLargestColumns;
  const std::int64_t rows = run.batch * rounded_up(run.longest, kFlashSequenceBlock) * m.num_heads;
  return folded + kFloatBytes * rows * (kernel_columns + 1);  // dq in float32, and the kernel's row sums
}

}  // namespace

std::int64_t layer_elements(const BaichuanConfig& m) {
  return 4 * m.hidden_size * m.hidden_size + 3 * m.hidden_size * m.intermediate_size + 2 * m.hidden_size;
}

std::int64_t embedding_elements(const BaichuanConfig& m) {
  return m.vocab_size * m.hidden_size;
}

std::int64_t head_elements(const BaichuanConfig& m) {
  return m.vocab_size * m.hidden_size + m.hidden_size;
}

std::int64_t adapter_elements_of_layer(const RunShape& run) {
  const std::int64_t d = run.model.hidden_size;
  const std::int64_t i = run.model.intermediate_size;
  std::int64_t sides = 0;
  for (const auto& target : run.lora_targets) {
    if (target == "W_pack") sides += d + 3 * d;
    if (target == "o_proj") sides += d + d;
    if (target == "gate_proj" || target == "up_proj" || target == "down_proj") sides += d + i;
  }
  return run.lora_rank * sides;
}

std::int64_t trained_elements(const RunShape& run) {
  const Units units = trained_units(run);
  return units.embedding + run.model.num_layers * units.layer + units.head;
}

std::int64_t padded_trained_elements(const RunShape& run) {
  const Units units = trained_units(run);
  return padded_unit(run, units.embedding) + run.model.num_layers * padded_unit(run, units.layer) +
         padded_unit(run, units.head);
}

std::int64_t largest_unit_elements(const RunShape& run) {
  const Units units = trained_units(run);
  return padded_unit(run, std::max({units.embedding, units.layer, units.head}));
}

std::int64_t weight_bytes(const RunShape& run) {
  if (run.full) return run.compute_bytes * padded_trained_elements(run);
  return run.frozen_bytes * run.model.num_parameters() + kFloatBytes * padded_trained_elements(run);
}

std::int64_t gradient_bytes(const RunShape& run) {
  const std::int64_t all = kFloatBytes * padded_trained_elements(run);
  if (!exchanges_gradients(run)) return all;
  const std::int64_t reduced = sliced(run) ? all / run.ranks : all;
  return reduces_once_a_step(run) ? all + reduced : reduced;
}

std::int64_t master_bytes(const RunShape& run) {
  return masters_are_weights(run) ? 0 : kFloatBytes * owned_elements(run);
}

std::int64_t moment_bytes(const RunShape& run) {
  return 2 * kFloatBytes * owned_elements(run);
}

std::int64_t trained_element_bytes(const RunShape& run) {
  return run.full ? run.compute_bytes : kFloatBytes;
}

std::int64_t wire_element_bytes(const RunShape& run) {
  return run.wire_bytes.value_or(trained_element_bytes(run));
}

std::int64_t wire_buffer_bytes(const RunShape& run) {
  if (!exchanges_gradients(run)) return 0;
  return 2 * kWireBuffers * wire_element_bytes(run) * largest_unit_elements(run);
}

std::int64_t layer_bytes_per_token(const RunShape& run) {
  const std::int64_t e = run.compute_bytes;
  const std::int64_t d = run.model.hidden_size;
  const std::int64_t i = run.model.intermediate_size;
  const auto wants = [&](std::string_view target) { return run.full || has_target(run, target); };
  std::int64_t elements = d + 3 * d + d + d + 2 * i;  // x, qkv, attention's output, residual sum, gate and up
  if (wants("W_pack")) elements += d;
  if (wants("gate_proj") || wants("up_proj")) elements += d;
  if (wants("down_proj")) elements += i;
  if (!run.full) elements += run.lora_rank * static_cast<std::int64_t>(run.lora_targets.size());
  const std::int64_t sums = 2 + (flash(run) ? run.model.num_heads : 0);
  return e * elements + kFloatBytes * sums;
}

std::int64_t heap_hole_bytes_of_layer(const RunShape& run) {
  if (run.on_gpu || run.full) return 0;
  const auto hole = [&](std::int64_t elements) {
    const std::int64_t bytes = run.compute_bytes * elements * run.tokens();
    return bytes < kLargestHeapBlock ? bytes : 0;
  };
  std::int64_t bytes = 0;
  if (!has_target(run, "W_pack")) bytes += hole(run.model.hidden_size);
  if (!has_target(run, "gate_proj") && !has_target(run, "up_proj")) bytes += hole(run.model.hidden_size);
  if (!has_target(run, "down_proj")) bytes += hole(run.model.intermediate_size);
  return bytes;
}

std::int64_t recomputed_layer_bytes_per_token(const RunShape& run) {
  return run.compute_bytes * run.model.hidden_size;
}

std::int64_t final_norm_bytes(const RunShape& run) {
  return run.tokens() * (2 * run.compute_bytes * run.model.hidden_size + kFloatBytes);
}

std::int64_t logit_chunk_bytes(const RunShape& run) {
  const std::int64_t most = std::max<std::int64_t>(16, kLogitElements / run.model.vocab_size);
  const std::int64_t rows = ceil_div(run.tokens(), ceil_div(run.tokens(), most));
  return run.compute_bytes * rows * run.model.vocab_size;
}

std::int64_t loss_working_bytes(const RunShape& run) {
  const std::int64_t e = run.compute_bytes;
  const std::int64_t matrix = embedding_elements(run.model);
  const std::int64_t chunk = logit_chunk_bytes(run) + run.tokens() * (2 * e * run.model.hidden_size + kFloatBytes);
  const std::int64_t normalised = run.model.norm_head ? e * matrix : 0;
  std::int64_t forward = chunk + normalised + converted_weight_bytes(run, matrix);
  if (!run.full) return forward;
  forward += kFloatBytes * matrix + (e == kFloatBytes ? 0 : e * matrix);
  // Backward: the gradient; on a GPU once more, times the incoming gradient; the gradient of NormHead's division, with
  // three temporaries of its formula.
  const std::int64_t without_norm = run.on_gpu ? 2 : 1;
  const std::int64_t copies = run.model.norm_head ? 5 : without_norm;
  return std::max(forward, copies * e * matrix);
}

// The stations of a layer's backward pass, elements a token of the compute type:
//   SwiGLU     gradients of the layer's output, of the product, of gate and up     D + 3 I
//   up_proj    gradients of the layer's output, gate, up, input; of up's weight    2 D + 2 I, and D I
//   attention  residual's, output's and qkv's gradient; what the kernel makes      5 D, and attention_backward_bytes
//   W_pack     residual's, qkv's and input's gradient; of its weight               5 D, and 3 D^2
// An adapter's backward pass also makes its dropped input once more (D, or I for down_proj).
std::int64_t layer_backward_working_bytes(const RunShape& run) {
  const std::int64_t d = run.model.hidden_size;
  const std::int64_t i = run.model.intermediate_size;
  const auto activations = [&](std::int64_t elements) { return run.compute_bytes * elements * run.tokens(); };
  const auto dropped = [&](std::string_view target, std::int64_t elements) {
    return !run.full && has_target(run, target) ? elements : 0;
  };
  const std::int64_t swiglu = activations(d + 3 * i);
  const std::int64_t up = activations(2 * d + 2 * i + dropped("up_proj", d)) + weight_gradient_bytes(run, d * i) +
                          converted_weight_bytes(run, d * i);
  const std::int64_t down = activations(d + i + dropped("down_proj", i)) + weight_gradient_bytes(run, d * i) +
                            converted_weight_bytes(run, d * i);
  const std::int64_t attention = activations(5 * d) + attention_backward_bytes(run);
  const std::int64_t w_pack = activations(5 * d + dropped("W_pack", d)) + weight_gradient_bytes(run, 3 * d * d) +
                              converted_weight_bytes(run, 3 * d * d);
  return std::max({swiglu, up, down, attention, w_pack});
}

std::int64_t evaluation_working_bytes(const RunShape& run) {
  const std::int64_t tokens = run.eval_batch * run.longest;
  return run.compute_bytes * tokens * 3 * (run.model.hidden_size + run.model.intermediate_size);
}

std::int64_t embedding_backward_working_bytes(const RunShape& run) {
  return run.compute_bytes * run.model.hidden_size * run.tokens() +
         weight_gradient_bytes(run, embedding_elements(run.model));
}

std::int64_t optimizer_working_bytes(const RunShape& run) {
  if (run.sharding != Sharding::kPlain) return kDoubleBytes * largest_unit_elements(run) / run.ranks;
  const std::int64_t d = run.model.hidden_size;
  const std::int64_t i = run.model.intermediate_size;
  const std::int64_t largest =
      run.full ? std::max({embedding_elements(run.model), 3 * d * d, d * i}) : run.lora_rank * std::max(3 * d, i);
  return kDoubleBytes * largest;
}

std::int64_t communication_bytes_per_step(const RunShape& run) {
  if (run.ranks == 1) return 0;
  const std::int64_t reductions = reduces_once_a_step(run) ? 1 : run.accumulation;
  // The other pass is of updated weights, or of summed gradients in stage 0, which are float32.
  const std::int64_t gathered = run.sharding == Sharding::kStage0 ? kFloatBytes : trained_element_bytes(run);
  const std::int64_t bytes = reductions * wire_element_bytes(run) + gathered;
  return bytes * (padded_trained_elements(run) / run.ranks) * (run.ranks - 1);
}

std::int64_t final_model_bytes(const RunShape& run) {
  return (run.full ? run.stored_bytes : kFloatBytes) * trained_elements(run);
}

std::int64_t checkpoint_bytes(const RunShape& run) {
  const bool rounded = run.full && run.stored_bytes != kFloatBytes;
  return final_model_bytes(run) + (rounded ? 12 : 8) * trained_elements(run);
}

std::int64_t host_runtime_bytes() {
  return kHostRuntimeBytes;
}

std::int64_t host_loading_bytes() {
  return kHostLoadingBytes;
}

std::int64_t host_checkpoint_copy_bytes(const RunShape& run) {
  if (run.sharding == Sharding::kPlain) return 0;
  return 3 * kFloatBytes * padded_trained_elements(run) / run.ranks;
}

std::int64_t host_bytes(const RunShape& run) {
  return host_runtime_bytes() + std::max(host_loading_bytes(), host_checkpoint_copy_bytes(run));
}

}  // namespace baichuan
