"""What a host is, in one look: its distribution, engine, packages, settings and GPUs."""
