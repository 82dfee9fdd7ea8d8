"""`python -m vae3d`; what torchrun starts."""

import sys

from vae3d.cli import main

if __name__ == "__main__":
    sys.exit(main())
