"""How models of the transformers library are read: prefix trees, caches, masks, passes. Private."""
