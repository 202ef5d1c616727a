"""Trains nothing, and fails as trainings do: memory, a hang, a bug. It goes on from its checkpoint."""

import json
import os
import pathlib
import sys
import time

CONFIG = json.loads(pathlib.Path("config.json").read_text())
CHECKPOINT = pathlib.Path("checkpoint.json")
HUNG = pathlib.Path("hung-once")


def forward(step, batch):
    if step >= 4 and batch > 32:
        sys.exit(f"CUDA out of memory: a batch of {batch} does not fit")
    return {"loss": 1.0 / (1 + step)}


def report(step, metrics):
    # The bug: from step 14 on it asks for a metric that nobody computes.
    name = "accuracy" if step >= 14 else "loss"
    print(f"step {step}/{CONFIG['steps']} {name} {metrics[name]:.3f}", flush=True)


def main():
    batch = int(os.environ.get("BATCH_SIZE", "64"))
    first = json.loads(CHECKPOINT.read_text())["step"] if CHECKPOINT.exists() else 0
    for step in range(first, CONFIG["steps"] + 1):
        if step == 9 and not HUNG.exists():
            HUNG.touch()
            time.sleep(3600)  # A worker that never answers.
        report(step, forward(step, batch))
        CHECKPOINT.write_text(json.dumps({"step": step}))
        time.sleep(0.3)


main()
