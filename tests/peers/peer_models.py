"""What the peer scripts share: running the program, a small 7B-shaped model, and Baichuan as the Python stack sees it.

A directory is loaded twice over: with its own tensor names by transformers' from_pretrained into a module of the same
shape, and as the Llama that a RoPE Baichuan is, W_pack split into its three projections.
"""

import json
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools" / "oracles"))

import torch  # noqa: E402
import transformers  # noqa: E402
from reference_model import hashed  # noqa: E402
from training_reference import Decoder, linear  # noqa: E402

TOKENIZER = ROOT / "configs" / "quickstart"
# RoPE, as max_position_embeddings without model_max_length says. Weights wide enough that no token is as likely as
# another.
SHAPE = dict(architectures=["BaiChuanForCausalLM"], model_type="baichuan", hidden_act="silu", hidden_size=48,
             intermediate_size=80, num_hidden_layers=3, num_attention_heads=4, vocab_size=2048,
             max_position_embeddings=256, rms_norm_eps=1e-6, initializer_range=0.2, bos_token_id=1, eos_token_id=2,
             pad_token_id=0, tie_word_embeddings=False)
LENGTHS = (1, 2, 17, 64, 200)

transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()


def run(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\nended with {done.returncode}:\n{done.stderr}")
    return done.stdout


def init(binary, folder, name, *more, **changed):
    """A randomly initialised model directory."""
    shape = folder / f"{name}.shape.json"
    shape.write_text(json.dumps({**SHAPE, **changed}))
    run(binary, "init", "--config", shape, "--tokenizer", TOKENIZER, "--output_dir", folder / name, "--seed", 5, *more)
    return folder / name


def rows():
    return [(hashed(40 + i, length) * SHAPE["vocab_size"]).long() for i, length in enumerate(LENGTHS)]


def score(binary, folder, *model):
    """Log-probabilities by the program, in float32: of each row's tokens after the first."""
    (folder / "rows.jsonl").write_text("".join(json.dumps(dict(ids=ids.tolist())) + "\n" for ids in rows()))
    run(binary, "score", "--input", folder / "rows.jsonl", "--output", folder / "scores.jsonl", "--dtype", "fp32",
        "--device", "cpu", *model)
    scored = [json.loads(line)["logprobs"] for line in (folder / "scores.jsonl").read_text().splitlines()]
    return [torch.tensor(logprobs[1:], dtype=torch.float32) for logprobs in scored]


def score_here(logits_of):
    """The same by a function from ids [T] to logits [T, V]."""
    with torch.no_grad():
        return [logits_of(ids).float().log_softmax(-1)[:-1].gather(1, ids[1:, None])[:, 0] for ids in rows()]


def largest_difference(ours, theirs):
    if [len(row) for row in ours] != [len(row) for row in theirs]:
        return float("inf")
    return max(float((a - b).abs().max()) for a, b in zip(ours, theirs) if len(a))


class BaichuanConfig(transformers.PretrainedConfig):
    model_type = "baichuan"


class BaichuanForCausalLM(transformers.PreTrainedModel, transformers.GenerationMixin):
    """The reference module under Baichuan's own names, for from_pretrained and PEFT."""

    config_class = BaichuanConfig
    base_model_prefix = "model"

    def __init__(self, config):
        super().__init__(config)
        self.model = Decoder({**config.to_dict(), "position": "rope"})
        self.lm_head = linear(config.hidden_size, config.vocab_size)
        self.post_init()

    def forward(self, input_ids):
        return self.lm_head(self.model(input_ids))


def load_baichuan(directory):
    """The model in the dtype that it is stored in; None when a tensor is missing, unknown or of another shape."""
    model, found = BaichuanForCausalLM.from_pretrained(directory, dtype="auto", output_loading_info=True)
    odd = [key for key in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs") if found.get(key)]
    return None if odd else model


def as_llama(model):
    """transformers' own LlamaForCausalLM with the same weights, in float32."""
    config = model.config
    llama = transformers.LlamaForCausalLM(transformers.LlamaConfig(
        vocab_size=config.vocab_size, hidden_size=config.hidden_size, intermediate_size=config.intermediate_size,
        num_hidden_layers=config.num_hidden_layers, num_attention_heads=config.num_attention_heads,
        max_position_embeddings=config.max_position_embeddings, rms_norm_eps=config.rms_norm_eps,
        hidden_act=config.hidden_act, tie_word_embeddings=False))
    weights = {}
    for name, value in model.state_dict().items():
        if name.endswith("self_attn.W_pack.weight"):
            for part, matrix in zip("qkv", value.float().chunk(3)):
                weights[name.replace("W_pack", f"{part}_proj")] = matrix
        else:
            weights[name] = value.float()
    llama.load_state_dict(weights)
    return llama.eval()
