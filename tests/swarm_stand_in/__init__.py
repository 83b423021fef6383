"""A strict stand-in for docker and the swarm behind it: its words, its answers, and time that nobody waits for.

`Swarm` keeps what a swarm keeps and does what a swarm does by itself; `Docker` is the command line of one of its hosts;
`fixtures` puts them in the place of the process that module_utils/docker_cli.py starts. It is held against real
engines by tests/integration/test_stand_in.py, whose recordings tests/unit/test_docker_stand_in.py replays. What it does
not play, it refuses with NotPlayed, and never answers by a guess.
"""
