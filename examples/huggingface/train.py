"""Hugging Face's Trainer trains a tiny GPT-2, made here, to count. Nothing is downloaded.

Run it with torchrun. Rank 0 saves; every rank resumes from the last checkpoint if there is one.
"""

import argparse
import os
import zlib
from typing import Any

import torch
from torch.utils.data import Dataset
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

LENGTH, NUMBERS = 16, 64


class Counting(Dataset[dict[str, torch.Tensor]]):
    """Rows of numbers, each larger than the one before by the same step."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        start, step = index % NUMBERS, 1 + index // NUMBERS % 4
        row = (start + step * torch.arange(LENGTH)) % NUMBERS
        return {"input_ids": row, "labels": row}


class TellingTrainer(Trainer):
    """Logs a digest of this rank's batches since the last line: the same in a run that resumes and in one that nothing disturbs."""

    data = 0

    def training_step(self, model: torch.nn.Module, inputs: dict[str, torch.Tensor], *rest: Any) -> torch.Tensor:
        self.data = zlib.crc32(bytes(inputs["input_ids"].flatten().tolist()), self.data)
        loss: torch.Tensor = super().training_step(model, inputs, *rest)
        return loss

    def log(self, logs: dict[str, Any], *rest: Any) -> None:
        super().log({**logs, "data": f"#{self.data:08x}"}, *rest)
        self.data = 0


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--save_steps", type=int, default=20)
    parser.add_argument("--output_dir", default="/snapshots/out")
    args = parser.parse_args()

    torch.manual_seed(0)
    size = GPT2Config(
        vocab_size=NUMBERS, n_positions=LENGTH, n_embd=64, n_layer=2, n_head=4, bos_token_id=0, eos_token_id=0
    )
    trainer = TellingTrainer(
        model=GPT2LMHeadModel(size),
        train_dataset=Counting(4096),
        args=TrainingArguments(
            output_dir=args.output_dir,
            max_steps=args.steps,
            per_device_train_batch_size=16,
            learning_rate=3e-3,
            logging_steps=10,
            save_steps=args.save_steps,
            save_total_limit=2,
            report_to=[],
            disable_tqdm=True,
            use_cpu=not torch.cuda.is_available(),
        ),
    )
    last = get_last_checkpoint(args.output_dir) if os.path.isdir(args.output_dir) else None
    print(f"rank {trainer.args.process_index} of {trainer.args.world_size} begins with {last or 'nothing'}", flush=True)
    done = trainer.train(resume_from_checkpoint=last)
    print(f"rank {trainer.args.process_index} is at step {done.global_step}", flush=True)


if __name__ == "__main__":
    main()
