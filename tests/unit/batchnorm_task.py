"""The trainer, for torchrun, with a task that has BatchNorm and dropout, and changes each sample by chance."""

from trainer_runs import Augmented, tiny

import training_code as trainer

trainer.build_task = lambda name, seed, hidden: tiny(seed, 2048, norm=True, dropout=0.2, data=Augmented)
trainer.main()
