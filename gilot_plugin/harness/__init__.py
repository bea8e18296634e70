"""Everything that knows lm-eval: attaching, watching requests, choosing samples, keeping records."""
