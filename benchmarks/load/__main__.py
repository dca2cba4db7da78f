"""Reads a plan as JSON from stdin, keeps to it, and prints what it has measured as JSON."""

import gc
import sys

from benchmarks.load.generator import Generator
from benchmarks.load.plan import LoadPlan

if __name__ == "__main__":
    generator = Generator(LoadPlan.model_validate_json(sys.stdin.read()))
    # a collection would be taken for a slow answer
    gc.disable()
    sys.stdout.write(generator.run().model_dump_json())
