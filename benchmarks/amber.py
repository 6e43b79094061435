"""`halluguard eval amber` as a script of a clone: python benchmarks/amber.py --help"""

from halluguard.evaluation.amber import options_parser, run
from halluguard.evaluation.running import main

if __name__ == "__main__":
    main(options_parser(), run)
