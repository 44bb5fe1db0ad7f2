"""Generation measured: speed against peers, drafting, matching beside it, agreement with transformers."""
