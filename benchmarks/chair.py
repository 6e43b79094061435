"""`halluguard eval chair` as a script of a clone: python benchmarks/chair.py --help"""

from halluguard.evaluation.chair import options_parser, run
from halluguard.evaluation.running import main

if __name__ == "__main__":
    main(options_parser(), run)
