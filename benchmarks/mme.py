"""`halluguard eval mme` as a script of a clone: python benchmarks/mme.py --help"""

from halluguard.evaluation.mme import options_parser, run
from halluguard.evaluation.running import main

if __name__ == "__main__":
    main(options_parser(), run)
