"""``python -m gpuload`` is the command ``gpuload``."""

import sys

from gpuload.tools.cli import main

sys.exit(main())
