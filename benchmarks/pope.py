"""`halluguard eval pope` as a script of a clone: python benchmarks/pope.py --help"""

from halluguard.evaluation.pope import options_parser, run
from halluguard.evaluation.running import main

if __name__ == "__main__":
    main(options_parser(), run)
