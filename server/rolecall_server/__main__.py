"""`python -m rolecall_server` is `rolecall`."""

import sys

from rolecall_server.cli import main

sys.exit(main())
