"""The prompt: its tokens as text, the units that it is cut into, and how they are taken away."""
