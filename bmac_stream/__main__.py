"""`python -m bmac_stream`: see bmac_stream.cli."""

import sys

from bmac_stream.cli import main

sys.exit(main())
