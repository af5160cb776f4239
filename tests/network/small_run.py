"""A small 7B-shaped model and a few rows, for runs over several machines."""

import json
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
SHAPE = dict(architectures=["BaiChuanForCausalLM"], model_type="baichuan", hidden_act="silu", vocab_size=2048,
             num_attention_heads=4, max_position_embeddings=256, rms_norm_eps=1e-6, initializer_range=0.02,
             bos_token_id=1, eos_token_id=2, pad_token_id=0, tie_word_embeddings=False)


def prepare(binary, folder, dtype, shape):
    """`folder`/model and `folder`/rows.json."""
    (folder / "shape.json").write_text(json.dumps(shape))
    (folder / "rows.json").write_text(json.dumps([dict(instruction="Say it.", output=str(i)) for i in range(64)]))
    subprocess.run([binary, "init", "--config", folder / "shape.json", "--tokenizer", ROOT / "configs" / "quickstart",
                    "--output_dir", folder / "model", "--dtype", dtype, "--log_level", "warning"], check=True)
