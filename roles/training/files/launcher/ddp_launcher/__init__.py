"""What a rank's container starts: it starts torchrun, or another command, and the script never knows.

It needs Python 3.9 and no other file, runs as the container's user and asks no engine.

- `inside`, `stacks`: where each process of the rank is, and its collectives; `verdict`: one sentence of what all ranks told; `stall`: when nothing moves;
  `pace`, `clock`: whom the others wait for again and again;
  `ras`, `nccl`: what NCCL says of itself.
- `child`: the command, its signals, its exit code, and what it writes, also into a log in the volume (`log`).
- `first_step`: when the rank has made a first step, whatever its script writes.
- `room`, `growth`: whether there is room where results lie, and how fast it goes.
- `origin`: which container this is, and of which deployment of the job.
- `files`: names and content of what a script saves, as a manifest. Nothing in it leads out of the results directory.
- `store`: what a launcher keeps in the volume: the book of what lies there, and the second copy, whole or not at all.
- `source`: rank 0 notices what is saved, and counts. The count, not a clock, says which copy is the newest.
- `wire`, `peers`: how launchers talk: authenticated by a secret of the job, content verified by SHA-256.
- `notify`: whom the job's user names is told how it goes (`post`), by what they report
  to each other (`reports`) and what a command writes (`progress`).
- `ranks`: what rank 0 and the others do before the command starts, beside it, and at its end: who waits for whom.
"""
