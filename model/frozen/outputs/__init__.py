"""From raw outputs to predictions: post-processing, views, second looks, decoding to native pixels."""
