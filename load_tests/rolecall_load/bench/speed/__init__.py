"""Texts a second of a gateway, of the bare graph and of peers, in one interleaved run."""
