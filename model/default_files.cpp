#include "model/default_files.h"

namespace baichuan {

namespace {

OrderedJson token(const char* content) {
  return {{"content", content}, {"lstrip", false}, {"normalized", true}, {"rstrip", false}, {"single_word", true}};
}

}  // namespace

OrderedJson default_generation_config(const BaichuanConfig& config) {
  return {{"pad_token_id", config.pad_token_id},
          {"bos_token_id", config.bos_token_id},
          {"eos_token_id", config.eos_token_id},
          {"max_new_tokens", 2048},
          {"temperature", 0.3},
          {"top_k", 5},
          {"top_p", 0.85},
          {"repetition_penalty", config.norm_head ? 1.05 : 1.1},
          {"do_sample", true}};
}

OrderedJson default_tokenizer_config(const BaichuanConfig& config) {
  OrderedJson json = {{"add_bos_token", false},
                      {"add_eos_token", false},
                      {"clean_up_tokenization_spaces", false},
                      {"model_max_length", config.max_positions},
                      {"sp_model_kwargs", OrderedJson::object()},
                      {"tokenizer_class", "BaichuanTokenizer"}};
  const OrderedJson tokens = default_special_tokens_map();
  for (const auto& [name, value] : tokens.items()) {
    json[name] = value;
    json[name]["__type"] = "AddedToken";
  }
  return json;
}

OrderedJson default_special_tokens_map() {
  return {{"bos_token", token("<s>")},
          {"eos_token", token("</s>")},
          {"pad_token", token("<unk>")},
          {"unk_token", token("<unk>")}};
}

}  // namespace baichuan
