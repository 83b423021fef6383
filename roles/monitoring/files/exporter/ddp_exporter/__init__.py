"""What the ranks on one host have written into their results directory, in Prometheus' text format.

It needs Python 3.9 and no other file, reads only, and asks no engine. What is read was written by a container that nobody trusts: of a record
only numbers are taken, of a name only what the launcher writes there.

- `records`: the files with metrics of these ranks, and the last number of each kind in them.
- `launcher`: which container the rank was started in, as its launcher has noted it.
- `text`: the names of the metrics, and how Prometheus reads them.
- `main`: answers a scrape.
"""
