"""Where a job stands still: asked on each host, judged in one sentence."""
