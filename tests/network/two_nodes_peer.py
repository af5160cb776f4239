"""A run over two machines, started on each by torchrun, with the network between them cut while it trains.

The ranks on both machines must end by themselves soon, each machine's with the reason in a line, and leave no
checkpoint that is not whole. Resumed over the mended network, twice, the run must end with the bits of one that nobody
disturbed. The machines are network namespaces; they share the output directory. No variable tells the program which
interface to take.

usage: two_nodes_peer.py BAICHUAN [FOLDER]      exit status 0 when all holds, 77 where there are no network namespaces
FOLDER/two_nodes, which must not be there yet, keeps checkpoints and words of all runs.
"""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

import small_run
from machines import INTERFACE, Network, NoNamespaces, kill

sys.path.insert(0, str(small_run.ROOT / "tests" / "peers"))

from checks import check, wrong  # noqa: E402

RANKS_OF_A_NODE = 2
STEPS, SAVE_STEPS = 500, 20
STALL_SECONDS = 5    # --ddp_timeout
LONGEST_END = 30     # seconds from the cut to the end of the program's last process
LONGEST_RUN = 180
SHAPE = {**small_run.SHAPE, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
REASON = re.compile(r"^error: .*(no word comes from|is gone|the network between)", re.MULTILINE)
# How the network goes, how it comes back, and how the torchruns of that run meet. With c10d, the torchrun that does not
# keep the store waits for it until TCP gives up, a quarter of an hour, whatever it has started: that one may be killed.
CUTS = {
    "the cable of machine 1 is pulled": dict(cut=lambda network: network.cut(1), mend=lambda network: network.mend(1),
                                             rendezvous="static"),
    "the interface of machine 0 goes down": dict(
        cut=lambda network: network.machines[0].ip("link", "set", INTERFACE, "down"),
        mend=lambda network: network.machines[0].ip("link", "set", INTERFACE, "up"), rendezvous="c10d"),
}


def rendezvous_flags(rendezvous, machine, node, first):
    """Host names say nothing here: both machines have the same one."""
    if rendezvous == "static":
        return ["--master-addr", first.address, "--master-port", 29500, "--node-rank", node]
    return ["--rdzv-endpoint", f"{first.address}:29400", "--rdzv-id", "two_nodes", "--local-addr", machine.address,
            "--rdzv-conf", f"is_host={int(node == 0)}"]


class Run:
    """One torchrun on each machine."""

    count = 0

    def __init__(self, binary, folder, network, name, rendezvous, *more):
        Run.count += 1
        self.words = []
        self._started = []
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        for node, machine in enumerate(network.machines):
            self.words.append(folder / f"run{Run.count}.node{node}.log")
            command = [sys.executable, "-m", "torch.distributed.run", "--no-python", "--nnodes", len(network.machines),
                       "--nproc-per-node", RANKS_OF_A_NODE, "--rdzv-backend", rendezvous,
                       *rendezvous_flags(rendezvous, machine, node, network.machines[0]),
                       binary, "train", "--stage", "sft", "--do_train", "--model_name_or_path", folder / "model",
                       "--dataset", folder / "rows.json", "--dataset_cache_dir", folder / "cache",
                       "--template", "vanilla", "--finetuning_type", "full", "--zero_stage", 2, "--device", "cpu",
                       "--per_device_train_batch_size", 1, "--learning_rate", "1e-3", "--max_steps", STEPS,
                       "--logging_steps", 1, "--save_steps", SAVE_STEPS, "--deterministic_reduce",
                       "--ddp_timeout", STALL_SECONDS, "--report_to", "none", "--output_dir", folder / name, *more]
            with open(self.words[-1], "w", encoding="utf-8") as words:
                self._started.append(machine.start(command, env=environment, stdout=words, stderr=words))

    def wait(self, seconds):
        """The exit status of each node's torchrun; None for one that did not end within `seconds`, and is killed."""
        limit = time.monotonic() + seconds
        statuses = []
        for process in self._started:
            try:
                statuses.append(process.wait(max(0.1, limit - time.monotonic())))
            except subprocess.TimeoutExpired:
                statuses.append(None)
                process.kill()
                process.wait()
        return statuses

    def ended(self):
        return any(process.poll() is not None for process in self._started)

    def tails(self):
        return "\n".join(f"--- {path.name}\n{path.read_text(errors='replace')[-2000:]}" for path in self.words)


def checkpoints(output):
    """Steps of the whole checkpoints: those with a manifest."""
    return sorted(int(path.parent.name.split("-")[1]) for path in output.glob("checkpoint-*/manifest.json"))


def damaged_checkpoints(output):
    damaged = []
    for directory in output.glob("checkpoint-*"):
        try:
            files = json.loads((directory / "manifest.json").read_text())["files"]
            whole = all((directory / name).stat().st_size == file["bytes"] for name, file in files.items())
        except (OSError, ValueError):
            whole = False
        if not whole:
            damaged.append(directory.name)
    return damaged


def wait_for_processes(network, seconds, name=""):
    """Until no process whose command line begins with `name` is left; those that are after `seconds`."""
    limit = time.monotonic() + seconds
    while (left := {pid: what for machine in network.machines for pid, what in machine.processes().items()
                    if what.startswith(name)}) and time.monotonic() < limit:
        time.sleep(0.1)
    return left


def run_and_cut(binary, folder, network, cut, *more):
    """Trains until there are two more checkpoints, then takes the network away and looks at what is left."""
    before = len(checkpoints(folder / "disturbed"))
    run = Run(binary, folder, network, "disturbed", cut["rendezvous"], *more)
    limit = time.monotonic() + LONGEST_RUN
    while len(checkpoints(folder / "disturbed")) < before + 2 and not run.ended() and time.monotonic() < limit:
        time.sleep(0.02)
    trains = not run.ended() and time.monotonic() < limit
    check("  it trains", trains, "" if trains else run.tails())
    cut["cut"](network)
    since = time.monotonic()
    left = wait_for_processes(network, LONGEST_END, binary)
    check(f"  all ranks end within {LONGEST_END} s", not left, left or f"{time.monotonic() - since:.1f} s")
    statuses = run.wait(LONGEST_END if cut["rendezvous"] == "static" else 5)
    excused = cut["rendezvous"] == "c10d" and statuses == [1, None]
    check("  torchrun ends with 1", statuses == [1, 1] or excused, statuses)
    left = wait_for_processes(network, 2)
    check("  no process is left", not left, left or "")
    for pid in left:
        kill(pid)
    for node, path in enumerate(run.words):
        words = path.read_text(errors="replace")
        found = REASON.search(words)
        check(f"  node {node} says why", found, words[found.start():].splitlines()[0] if found else words[-2000:])
    damaged = damaged_checkpoints(folder / "disturbed")
    check("  every checkpoint is whole", not damaged, damaged or checkpoints(folder / "disturbed"))
    cut["mend"](network)


def go_through(binary, folder, network):
    print("undisturbed")
    whole = Run(binary, folder, network, "whole", "static")
    statuses = whole.wait(LONGEST_RUN)
    check("  both nodes end well", statuses == [0, 0], statuses if statuses == [0, 0] else whole.tails())
    if wrong:
        return

    resume = []
    for what, cut in CUTS.items():
        print(what)
        run_and_cut(binary, folder, network, cut, *resume)
        resume = ["--resume_from_checkpoint", "latest"]

    print("resumed to the end")
    output = folder / "disturbed"
    kept = {step: (output / f"checkpoint-{step}" / "manifest.json").stat().st_mtime_ns for step in checkpoints(output)}
    last = Run(binary, folder, network, "disturbed", "static", *resume)
    statuses = last.wait(LONGEST_RUN)
    check("  both nodes end well", statuses == [0, 0], statuses if statuses == [0, 0] else last.tails())
    again = [step for step, then in kept.items()
             if (output / f"checkpoint-{step}" / "manifest.json").stat().st_mtime_ns != then]
    check("  no step is done again that a checkpoint holds", not again, again or "")
    temporary = [path.name for path in output.glob(".*")]
    check("  nothing half-written is left", not temporary, temporary or "")
    same = [(folder / name / "model.safetensors") for name in ("whole", "disturbed")]
    good = all(path.exists() for path in same) and same[0].read_bytes() == same[1].read_bytes()
    check("  the weights are those of the undisturbed run, bit for bit", good)


def main():
    binary = os.path.abspath(sys.argv[1])
    try:
        network = Network(2)
    except NoNamespaces as reason:
        print(reason)
        return 77
    with network, tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(sys.argv[2] if len(sys.argv) > 2 else scratch) / "two_nodes"
        folder.mkdir(parents=True)
        small_run.prepare(binary, folder, "fp32", SHAPE)
        go_through(binary, folder, network)
    print(f"{len(wrong)} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
