"""What is kept of a run: its files, their locks, going on with them, and what is told at the end."""
