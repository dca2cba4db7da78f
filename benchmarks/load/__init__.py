"""A load generator for HTTP in a process of its own: ``python -m benchmarks.load`` reads a plan from stdin.

Raw sockets, one thread, and httptools as the parser, so that it leaves the server most of the machine.
"""
