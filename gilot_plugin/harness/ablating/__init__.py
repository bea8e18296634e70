"""Score a task without parts of its prompts: lm-eval asks again, with its own filters and metrics."""
