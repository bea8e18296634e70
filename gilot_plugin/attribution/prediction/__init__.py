"""What the model predicts after a prompt, with and without units: continuations, choices, answers."""
