"""Networks that begin with pretrained weights."""
