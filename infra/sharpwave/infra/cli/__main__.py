"""Runs the command as `python -m sharpwave.infra.cli`."""

import sys

from sharpwave.infra.cli import main

sys.exit(main())
