"""Proves, from inside the training's container, that what DDP is about to use works.

One copy runs per rank, in the image, network, environment and mounts of the training. It needs Python 3.9 and torch,
no root and no other file. Whatever happens, it prints one line, `DDP_PROBE_REPORT {json}`, within PROBE_TIMEOUT
seconds, and exits 0 when it could.

Three kinds of work run side by side, so that no hang can swallow the report:
- the main thread only waits, prints and leaves (main.py);
- a worker thread does the checks (worker.py), and every rank answers the others through a listener of its own;
- torch lives in a child process (child.py, torch_process.py), which is killed when a collective hangs.

Ranks coordinate as little as possible: layers 5 to 9 need nobody's consent, so that every rank reports at the first
layer that fails, and the process group is only tried when every rank says that it is ready.
"""
