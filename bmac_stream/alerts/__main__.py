"""`python -m bmac_stream.alerts CFG`: see bmac_stream.alerts.service. The collector starts it."""

import sys

from bmac_stream.alerts.service import main

if __name__ == "__main__":
    main(sys.argv[1:])
