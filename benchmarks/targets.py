"""The project's targets, on this machine: ``python -m benchmarks.targets``.

Prints what each job takes, as a share of a float32 product of 2048 x 2048 matrices measured in
the same run, and how far it is from the machine's limits.  The exit status is 1 if one is missed.
"""

import sys

from ._limits import disturbed, measured, missed, table
from ._machine import described, machine


def main(arguments: list[str]) -> int:
    if arguments:
        print("usage: python -m benchmarks.targets", file=sys.stderr)
        return 2
    found = measured()
    print("\n".join([*described(machine()), *table(found)]))
    if disturbed(found):
        print("\nOthers use the processor (see cores): run this again when they do not.")
    return int(any(missed(row) for row in found["jobs"]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
