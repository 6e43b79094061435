"""Fuzz for a while, or a fixed number of inputs: python -m tests.fuzz [--seconds S | --inputs N] [--seed N] [--target NAME]

A seed and a number of inputs name the same run on every machine; a seed and a time do not.

What fails is written to tests/fuzz/corpus, where the tests try it again, and ends the run with exit code 1.
"""

import argparse
import hashlib
import random
import sys
import time
import traceback
from pathlib import Path

from tests.fuzz.mutation import mutate
from tests.fuzz.targets import TARGETS, HalluguardError

CORPUS = Path(__file__).with_name("corpus")
SLOW = 10.0
"""Processor seconds after which an input of at most 200 kB is taken to be read in more than linear time."""


def attempt(name: str, data: bytes) -> str:
    """A sentence on the failure; empty without one."""
    started = time.process_time()
    try:
        TARGETS[name].run(data)
    except HalluguardError as error:
        if "\n" in str(error):
            return f"an error over several lines: {error}"
    except Exception:
        return traceback.format_exc()
    seconds = time.process_time() - started
    return f"took {seconds:.1f} s" if seconds > SLOW else ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--seconds", type=float, default=60)
    length.add_argument("--inputs", type=int)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--target", choices=sorted(TARGETS), action="append")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.randrange(2**32)
    rng, names = random.Random(seed), options.target or list(TARGETS)
    pools = {name: list(TARGETS[name].seeds) for name in names}
    started, tries, failures = time.monotonic(), 0, 0
    while tries < options.inputs if options.inputs else time.monotonic() < started + options.seconds:
        name = names[tries % len(names)]
        data = mutate(rng.choice(pools[name]), pools[name], rng)
        problem = attempt(name, data)
        tries += 1
        if problem:
            failures += 1
            file = CORPUS / f"{name}-{hashlib.blake2b(data, digest_size=6).hexdigest()}"
            file.write_bytes(data)
            print(f"{name}: {problem}\n  kept as {file}\n", file=sys.stderr)
        elif rng.random() < 0.02:
            pools[name].append(data)
    seconds = time.monotonic() - started
    print(f"{tries} inputs in {seconds:.0f} s over {len(names)} targets, {failures} failures (seed {seed})")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
