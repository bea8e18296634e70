"""What can be set, where settings come from, and which can stand together."""
