// Every formula of `baichuan plan` that counts bytes, one function a term, so that each can be held against a
// measurement. Bytes are of one rank unless the name says otherwise.
//
// D hidden size, I feed-forward size, V vocabulary, H heads, L layers; P trained elements, N ranks, G micro-batches of
// a step; T tokens of the largest micro-batch (rows x longest row, padding included); e bytes of an element of
// the compute type.
#pragma once

#include <cstdint>

#include "distributed/shard_layout.h"
#include "train/run_shape.h"

namespace baichuan {

// ---- Elements ------------------------------------------------------------------------------------------------------
// A unit is what is reduced and gathered at once: the embedding, a layer, the final norm with the output matrix. Each
// rank owns one slice of every unit, so that a unit is padded to a multiple of kShardBlock a rank.

std::int64_t layer_elements(const BaichuanConfig& model);      // 4 D^2 + 3 D I + 2 D
std::int64_t embedding_elements(const BaichuanConfig& model);  // V D
std::int64_t head_elements(const BaichuanConfig& model);       // V D + D
// rank (in + out), summed over the targets of one layer.
std::int64_t adapter_elements_of_layer(const RunShape& run);
std::int64_t trained_elements(const RunShape& run);
// Trained elements as they lie in memory: units padded for the ranks (unpadded on the plain path).
std::int64_t padded_trained_elements(const RunShape& run);
std::int64_t largest_unit_elements(const RunShape& run);

// ---- State: weights, gradients, masters, moments -------------------------------------------------------------------
// Full: e P, the same on every rank. LoRA: the frozen model in its own type, and adapters in float32.
std::int64_t weight_bytes(const RunShape& run);
// float32. Plain: 4 P. What is reduced: 4 P in stage 0, 4 P / N in stages 1 and 2. Stages 0 and 1 reduce once a step
// unless told otherwise, and have 4 P more to accumulate in.
std::int64_t gradient_bytes(const RunShape& run);
// float32. None where trained weights are float32 themselves (masters are the same tensors): fp32 runs, adapters.
// Plain and stage 0: 4 P. Stages 1 and 2: 4 P / N.
std::int64_t master_bytes(const RunShape& run);
// Two in float32. Plain and stage 0: 8 P. Stages 1 and 2: 8 P / N.
std::int64_t moment_bytes(const RunShape& run);
// kWireBuffers units on the way to other ranks, each of the size of the largest; and as much for what comes in.
// None of one rank.
std::int64_t wire_buffer_bytes(const RunShape& run);
std::int64_t wire_element_bytes(const RunShape& run);     // what gradients travel in: e, but 4 for adapters, or as told
std::int64_t trained_element_bytes(const RunShape& run);  // e, but 4 for adapters

// ---- Activations of one micro-batch --------------------------------------------------------------------------------
// What autograd keeps of one layer for its backward pass, bytes a token (model/decoder_layer.cpp):
//
//   tensor                     kept by                          full   LoRA
//   x, the layer's input       input norm                       e D    e D
//   1 / rms of x, float32      input norm                       4      4
//   normed x                   W_pack, for its weight           e D    where W_pack has an adapter
//   q, k, v (rotated)          attention                        3 e D  3 e D
//   attention's output         attention; o_proj (same tensor)  e D    e D
//   log-sum-exp, float32       flash attention                  4 H    4 H
//   x + attention              second norm                      e D    e D
//   1 / rms of it, float32     second norm                      4      4
//   normed                     gate_proj, up_proj               e D    where either has an adapter
//   gate, up                   SwiGLU                           2 e I  2 e I
//   silu(gate) * up            down_proj, for its weight        e I    where down_proj has an adapter
//   x A^T                      an adapter                       -      e rank for each target
//
// Residual sums, views and dropout (a function of counters) keep nothing. Plain attention keeps no log-sum-exp.
// Full, with flash attention: e (8 D + 3 I) + 4 H + 8; 164,264 for 13B in 16 bits.
std::int64_t layer_bytes_per_token(const RunShape& run);
// A recomputed layer keeps its input alone (model/recompute.cpp): e D.
std::int64_t recomputed_layer_bytes_per_token(const RunShape& run);
// After the last layer: the final norm's input, its output (alive until the step ends) and 1 / rms.
std::int64_t final_norm_bytes(const RunShape& run);

// On CPU: what a layer makes between kept tensors and does not keep, where it stays below the size that the C library
// maps by itself. Such a block comes from the heap and leaves a hole that the next layer's tensors do not fit into.
// LoRA: the normed input and the product of a projection without an adapter. Full training keeps them anyway.
inline constexpr std::int64_t kLargestHeapBlock = std::int64_t{32} << 20;  // glibc's DEFAULT_MMAP_THRESHOLD_MAX
std::int64_t heap_hole_bytes_of_layer(const RunShape& run);

// ---- Working memory, on top of what is kept ------------------------------------------------------------------------
// The loss (kernels/linear_cross_entropy.cpp), every row labelled: labelled rows copied, their gradient, a chunk of
// logits, losses; a full run also has the output matrix's gradient in float32 and once more in the compute type
// (product of a chunk, later the converted gradient); NormHead makes a normalised copy of the matrix, a frozen matrix
// of another type than the compute type a converted one. Or, where that is more, what its backward pass makes.
std::int64_t loss_working_bytes(const RunShape& run);
// Elements of a chunk of logits; the constant of kernels/linear_cross_entropy.cpp.
inline constexpr std::int64_t kLogitElements = std::int64_t{64} << 20;
std::int64_t logit_chunk_bytes(const RunShape& run);

// Largest working set of one layer's backward pass beside what the layer keeps: the largest of its stations
// (see memory_terms.cpp), with the gradient of one weight matrix, which is added to the float32 gradient or handed to
// the wire as soon as it is there.
std::int64_t layer_backward_working_bytes(const RunShape& run);
// A batch of evaluation: the widest place of one layer, 3 D + 3 I, nothing kept.
std::int64_t evaluation_working_bytes(const RunShape& run);
// The embedding's gradient, made after all layers are done.
std::int64_t embedding_backward_working_bytes(const RunShape& run);
// The optimiser's step: the norm of the largest gradient, or of a rank's slice of the largest unit, is taken of a
// float64 copy.
std::int64_t optimizer_working_bytes(const RunShape& run);

// ---- Communication and disk ----------------------------------------------------------------------------------------
// Bytes that one rank sends in one optimiser step, ring algorithms, w bytes of an element on the wire:
//   stage 2  G reduce-scatters and one all-gather   (G + 1) w P (N - 1) / N
//   stage 1  one reduce-scatter and one all-gather        2 w P (N - 1) / N
//   stage 0  one all-reduce                               2 w P (N - 1) / N
std::int64_t communication_bytes_per_step(const RunShape& run);

// A checkpoint: weights as the final model has them, moments 8 P, and masters 4 P where the stored weights round them.
// 14 P for a 16-bit model: 186 GB for 13B. Adapters are stored in float32: 12 P.
std::int64_t checkpoint_bytes(const RunShape& run);
std::int64_t final_model_bytes(const RunShape& run);

// ---- The host's memory, of one rank that computes on a GPU ---------------------------------------------------------
// Libraries and the CUDA driver's part; the staging buffers through which weights are read; the copy from which a
// checkpoint is written in the background (sliced runs: masters and moments of the rank's slices).
std::int64_t host_runtime_bytes();
std::int64_t host_loading_bytes();
std::int64_t host_checkpoint_copy_bytes(const RunShape& run);
// Loading is over before anything is saved.
std::int64_t host_bytes(const RunShape& run);

}  // namespace baichuan
