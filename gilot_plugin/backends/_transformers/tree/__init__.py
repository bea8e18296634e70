"""Reading trees of tokens after shared prompts."""
