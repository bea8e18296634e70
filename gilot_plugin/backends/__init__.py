"""Model runtimes behind one small protocol."""
