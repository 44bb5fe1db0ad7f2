"""What stops a load test or a bench: said in one line, never as a traceback."""


class LoadError(Exception):
    """The test could not be run; the message says why and what to do."""
