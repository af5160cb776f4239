"""Full fine-tuning with DeepSpeed on the CPUs of this machine: one process a rank, gloo over loopback, nothing compiled.

The model is the Llama that a RoPE Baichuan is (peer_models.py). Rank r of N takes micro-batches r, r + N, … of a step, as
ours do; labels outside a row's end and under its padding are ignored, and a micro-batch's loss is the mean over its labels.

    write_config(file, dtype="fp32", batch=2, learning_rate=1e-3)      what `baichuan train --deepspeed` reads too
    figures = train(folder, model, file, steps)      steps: [step][micro-batch] -> dict(ids=[…], labels=[…])

usage: deepspeed_ranks.py JOB.json      one rank; `train` starts them
"""

import ctypes
import gc
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

IGNORED = -100
REPORT = "deepspeed_rank_{}.json"


def write_config(path, *, dtype, batch, learning_rate, stage=2, accumulation=1, weight_decay=0.0, gradient_clipping=1.0):
    """AdamW is PyTorch's (`torch_adam`): DeepSpeed's own is compiled at the first start."""
    optimizer = {"lr": learning_rate, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": weight_decay, "torch_adam": True}
    config = {"train_micro_batch_size_per_gpu": batch, "gradient_accumulation_steps": accumulation,
              "gradient_clipping": gradient_clipping, "zero_force_ds_cpu_optimizer": False,
              "optimizer": {"type": "AdamW", "params": optimizer}, "zero_optimization": {"stage": stage}}
    if dtype == "bf16":
        config["bf16"] = {"enabled": True}
    path.write_text(json.dumps(config, indent=2))


def train(folder, model, deepspeed_file, steps, ranks=2, threads=1):
    """Means over the ranks: `loss` and `grad_norm` of each step, `seconds` of each, the ranks' `peak_memory_bytes`."""
    (folder / "deepspeed_store").unlink(missing_ok=True)
    job = folder / "deepspeed_job.json"
    job.write_text(json.dumps(dict(model=str(model), deepspeed=str(deepspeed_file), steps=steps, folder=str(folder))))
    environment = {**os.environ, "DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": str(threads), "WORLD_SIZE": str(ranks),
                   "LOCAL_SIZE": str(ranks), "GLOO_SOCKET_IFNAME": "lo", "PYTHONWARNINGS": "ignore"}
    processes = []
    for rank in range(ranks):
        with open(folder / f"deepspeed_rank_{rank}.log", "w") as log:
            processes.append(subprocess.Popen(
                [sys.executable, os.path.abspath(__file__), str(job)], stdout=log, stderr=subprocess.STDOUT,
                env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)}))
    wait_for_all(processes, folder)
    reports = [json.loads((folder / REPORT.format(rank)).read_text()) for rank in range(ranks)]
    figures = {key: [statistics.fmean(values) for values in zip(*(report[key] for report in reports))]
               for key in ("loss", "grad_norm", "seconds")}
    return {**figures, "peak_memory_bytes": [report["peak_memory_bytes"] for report in reports]}


def wait_for_all(processes, folder):
    """The first rank that fails ends the others."""
    while any(process.poll() is None for process in processes) and not any(process.poll() for process in processes):
        time.sleep(0.1)
    failed = [rank for rank, process in enumerate(processes) if process.poll()]
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.wait()
    if failed:
        log = (folder / f"deepspeed_rank_{failed[0]}.log").read_text()
        sys.exit(f"rank {failed[0]} of DeepSpeed ended with {processes[failed[0]].returncode}:\n{log[-4000:]}")


def reset_peak_memory():
    """What loading needed does not count."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    pathlib.Path("/proc/self/clear_refs").write_text("5")


def peak_memory_bytes():
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def as_tensors(batch):
    """Padded on the right, which causal attention never sees; a row without padding needs no mask."""
    import torch

    longest = max(map(len, batch["ids"]))

    def pad(rows, value):
        return torch.tensor([row + [value] * (longest - len(row)) for row in rows])

    mask = pad([[1] * len(row) for row in batch["ids"]], 0)
    return dict(input_ids=pad(batch["ids"], 0), labels=pad(batch["labels"], IGNORED),
                attention_mask=None if mask.all() else mask)


def start_engine(job, rank, ranks):
    import deepspeed
    from peer_models import as_llama, load_baichuan
    from training_reference import parameter_groups

    # Its shared-memory kernels serve inference alone; without this they are compiled at the first start.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.init_distributed(dist_backend="gloo", auto_mpi_discovery=False, verbose=False, rank=rank, world_size=ranks,
                               init_method=f"file://{job['folder']}/deepspeed_store")
    config = json.loads(pathlib.Path(job["deepspeed"]).read_text())
    config["optimizer"]["params"]["fused"] = True  # PyTorch's fastest AdamW, as ours
    model = as_llama(load_baichuan(job["model"])).train()
    model.config.use_cache = False
    groups = parameter_groups(model, config["optimizer"]["params"]["weight_decay"])
    engine, *_ = deepspeed.initialize(model=model, model_parameters=groups, config=config)
    return engine


def run_rank(job):
    import torch

    rank, ranks = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    engine = start_engine(job, rank, ranks)
    steps = [[as_tensors(batch) for batch in step[rank::ranks]] for step in job["steps"]]
    reset_peak_memory()
    figures = dict(loss=[], grad_norm=[], seconds=[])
    for step in steps:
        began = time.perf_counter()
        losses = []
        for batch in step:
            loss = engine(**batch).loss
            engine.backward(loss)
            engine.step()
            losses.append(loss.item())
        figures["seconds"].append(time.perf_counter() - began)
        figures["loss"].append(statistics.fmean(losses))
        figures["grad_norm"].append(float(engine.get_global_grad_norm()))
    figures["peak_memory_bytes"] = peak_memory_bytes()
    (pathlib.Path(job["folder"]) / REPORT.format(rank)).write_text(json.dumps(figures))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    run_rank(json.loads(pathlib.Path(sys.argv[1]).read_text()))
