"""Import this before grpc, which reads its environment once: its own log repeats in C++ terms what ours says."""

import os

os.environ.setdefault("GRPC_VERBOSITY", "NONE")
