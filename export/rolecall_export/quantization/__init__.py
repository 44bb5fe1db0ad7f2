"""Ways to make a graph smaller and faster, each with what it costs in accuracy."""
