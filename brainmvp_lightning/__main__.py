"""Entry point of ``python -m brainmvp_lightning``."""

import sys

from brainmvp_lightning.cli import main

sys.exit(main())
