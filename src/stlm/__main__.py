"""``python -m stlm``."""

import sys

from stlm.cli import main

sys.exit(main())
