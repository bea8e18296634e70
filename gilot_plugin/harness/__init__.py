"""Everything that knows lm-eval: attaching, recording requests, choosing samples, keeping records."""
