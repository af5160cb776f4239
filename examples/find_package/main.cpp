// Loads a model, runs it forward once, and continues a text: continue_text MODEL_DIR "some text"
#include <cstdio>

#include <torch/torch.h>

#include "data/tokenizer.h"
#include "infer/generator.h"
#include "model/load_weights.h"

int main(int argc, char** argv) try {
  if (argc != 3) {
    std::fprintf(stderr, "usage: continue_text MODEL_DIR TEXT\n");
    return 2;
  }
  const torch::NoGradGuard no_grad;
  const baichuan::Tokenizer tokenizer(argv[1]);
  const auto model = baichuan::load_model(argv[1]);

  const std::vector<int32_t> prompt = tokenizer.encode_plain(argv[2]);
  const auto ids = torch::tensor(std::vector<int64_t>(prompt.begin(), prompt.end())).unsqueeze(0);  // [1, T]
  const auto logits = model->logits(model->hidden_states(ids));                                     // [1, T, V]
  const auto likeliest = static_cast<int32_t>(logits[0][-1].argmax().item<int64_t>());
  std::fprintf(stderr, "likeliest next piece: %s\n", tokenizer.piece(likeliest).c_str());

  const auto reply = baichuan::generate(*model, prompt, {.max_new_tokens = 32, .stop_ids = {tokenizer.eos_id()}});
  std::printf("%s\n", tokenizer.decode(reply.ids).c_str());
} catch (const std::exception& error) {
  std::fprintf(stderr, "error: %s\n", error.what());
  return 1;
}
