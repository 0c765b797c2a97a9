"""`python -m lossboard` is the command `lossboard`."""

import sys

from lossboard.cli import main

if __name__ == "__main__":
    sys.exit(main())
