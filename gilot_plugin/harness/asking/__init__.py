"""From a sample to what is asked about it: the prompt as fed, the target, what is known already."""
