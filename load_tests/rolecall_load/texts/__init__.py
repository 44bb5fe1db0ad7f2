"""Texts of a plausible kind and of real length, made up deterministically."""
